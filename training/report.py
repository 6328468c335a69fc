"""One examination -> report.html, report.json and model-card.md: what a quality engineer signs and hands on.

The page stands alone: styles, curves and pictures are inside it, and it loads nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model.artifact import Interval
from model.files import replace_text
from training import galleries
from training.class_figures import Named
from training.evaluate import (
    Examination,
    by_class,
    by_group,
    by_size,
    class_rows,
    confusion,
)
from training.model_card import model_card
from training.reliability import Reliability, reliability
from training.resampling import Draws
from training.robustness import robustness
from training.wording import COST, figure, percent, probability, words

PAGE, FIGURES, CARD = "report.html", "report.json", "model-card.md"
# Groups without errors fill a page and say nothing; the JSON lists every group.
GROUPS_SHOWN = 40

ESCAPES = "Defects passed as ok, the least probable first, one tile a group."
FALSE_CALLS = "Ok tiles called for review or worse, the most probable first, one tile a group."

# What every figure is, for a reader who has not seen the code.
MEANINGS = {
    "auroc": "probability that a defect tile gets a higher score than an ok tile; 0.5 is chance",
    "average_precision": "area under the precision-recall curve; chance is the share of defects",
    "recall_at_5pct_false_calls": "share of defects found at the threshold that calls 5 % of the ok tiles",
    "recall_at_1pct_false_calls": "share of defects found at the threshold that calls 1 % of the ok tiles",
    "escape_rate": "share of defect tiles passed as ok (below the review threshold)",
    "overkill_rate": "share of ok tiles called review or defect",
    "escape_rate_at_defect": "share of defect tiles below the defect threshold: escapes if nobody reviews",
    "overkill_rate_at_defect": "share of ok tiles called defect",
    "groups_with_escape": "share of the groups showing defects in which at least one defect tile escaped",
    "groups_with_overkill": "share of the groups showing ok surface in which at least one ok tile was called",
    "class_accuracy": "share of tiles whose most probable class is the right one, ok among them",
    "balanced_class_accuracy": "mean over the classes of the share of their tiles that is named rightly",
    "defect_class_accuracy": "share of defect tiles whose most probable defect class is the right one",
    "cost_per_tile": "mean cost of a tile, for the costs and the share of defects that chose the thresholds",
    "expected_calibration_error": "how far told probabilities lie from the shares of defects found, on average",
}


def write_report(folder: Path, examination: Examination) -> dict[str, Any]:
    """Write the three files into `folder`, which is made if needed; returns what the JSON holds.

    Takes as long as scoring at most `robustness.MAX_TILES` tiles some 16 times.
    """
    found = examine(examination)
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / FIGURES, json.dumps(found, indent=1, allow_nan=False) + "\n")
    replace_text(folder / CARD, model_card(examination.manifest, found))
    replace_text(folder / PAGE, _page(examination, found))
    return found


def examine(examination: Examination) -> dict[str, Any]:
    """Every figure of the report, as JSON holds it. The first four keys are those of `evaluate --json`."""
    # Imported here, for matplotlib takes half a second and most commands draw nothing.
    from training import curves

    scores, tiles = examination.scores, examination.tiles
    draws = Draws.of(scores.group, examination.seed)
    named = examination.named
    hardness = robustness(tiles.tiles, scores, examination.rescore, examination.seed)
    return {
        "version": examination.manifest.version,
        "tiles": len(tiles),
        "groups": tiles.groups,
        "metrics": _plain(examination.metrics),
        "data": examination.data,
        "defect_tiles": int(tiles.defect.sum()),
        "faults": examination.manifest.data.get("faults", []),
        "known_groups": examination.known_groups,
        "out_of_fold": examination.out_of_fold.sentence if examination.out_of_fold else None,
        "thresholds": scores.thresholds.model_dump(),
        "confusion": confusion(scores),
        "classes": _classes(named, examination.seed) if named else None,
        "by_defect_class": [_row(row) for row in by_class(scores, examination.defect_class, draws)],
        "by_defect_size": [_row(row) for row in by_size(scores, tiles.masked, draws)],
        "by_group": [asdict(row) for row in by_group(scores)],
        "robustness": [_row(row) for row in hardness],
        "roc": _points(curves.thinned(*curves.roc(scores))),
        "precision_recall": _points(curves.thinned(*curves.precision_recall(scores))),
        "reliability": _reliability(examination).model_dump(mode="json"),
        "worst_escapes": _listed(examination, galleries.worst_escapes(examination)),
        "worst_false_calls": _listed(examination, galleries.worst_false_calls(examination)),
    }


def environment() -> Environment:
    """Templates beside this file; every value is escaped, and a name that is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"figure": figure, "percent": percent, "probability": probability}
    made.filters["words"] = words
    return made


def _page(examination: Examination, found: Mapping[str, Any]) -> str:
    from training import curves

    scores, manifest = examination.scores, examination.manifest
    galleries_shown = [
        ("Worst escapes", ESCAPES, *_gallery(examination, galleries.worst_escapes(examination))),
        ("Worst false calls", FALSE_CALLS, *_gallery(examination, galleries.worst_false_calls(examination))),
    ]
    pictures = [
        ("ROC", curves.roc_picture(scores)),
        ("Precision and recall", curves.precision_recall_picture(scores)),
        ("Probabilities", curves.histogram_picture(scores)),
        ("Reliability", curves.reliability_picture(_reliability(examination))),
    ]
    page = (
        environment()
        .get_template("report.html")
        .render(
            found=found,
            manifest=manifest,
            created=manifest.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            meanings=MEANINGS,
            cost=COST,
            pictures=pictures,
            galleries=galleries_shown,
            learning=curves.learning_picture(manifest.training.get("history", ()), manifest.training.get("best_epoch")),
            groups_shown=GROUPS_SHOWN,
        )
    )
    return page + "\n"


def _reliability(examination: Examination) -> Reliability:
    tiles = examination.tiles
    return reliability(examination.probabilities, tiles.defect, tiles.group, examination.seed)


def _classes(named: Named, seed: int) -> dict[str, Any]:
    """What was taken for what. unknown: tiles of defect types that the version has no class for; no figure has them."""
    table = [_row(row) for row in class_rows(named, seed)]
    return {"table": table, "confusion": named.confusion(), "unknown": named.unknown}


def _gallery(examination: Examination, ordered: npt.NDArray[np.intp]) -> tuple[list[galleries.Exhibit], int]:
    """One tile a group, for tiles of one surface show the same thing again; and how many groups there are."""
    chosen = galleries.first_of_each(ordered, examination.tiles.group)
    return galleries.exhibits(examination, chosen, heat=True), len(chosen)


def _plain(metrics: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: interval.model_dump() for name, interval in metrics.items()}


def _row(row: Any) -> dict[str, Any]:
    """A dataclass with `metrics`, ready for JSON."""
    return {**asdict(row), "metrics": _plain(row.metrics)}


def _points(curve: tuple[Any, Any]) -> list[list[float]]:
    return [[round(x, 6), round(y, 6)] for x, y in zip(*(axis.tolist() for axis in curve), strict=True)]


def _listed(examination: Examination, ordered: npt.NDArray[np.intp]) -> list[dict[str, Any]]:
    """Every image among these tiles, with its first tile's probability."""
    chosen = galleries.first_of_each(ordered, examination.tiles.file)
    return [
        {
            "file": examination.records[int(examination.tiles.file[index])].file,
            "defect_probability": float(examination.probabilities[index]),
        }
        for index in chosen
    ]
