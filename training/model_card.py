"""The model card: one Markdown page on what a version is for, what it was measured on, and where it ends.

Follows the headings of Mitchell et al. 2019, "Model Cards for Model Reporting", as far as they apply to steel.
"""

import html
import re
from collections.abc import Mapping
from typing import Any

from model.artifact import Manifest
from training.wording import figure, percent, probability, words

# Below so many groups showing defects, the interval of an escape rate of 0 reaches past 6 %.
FEW_GROUPS = 60


def model_card(manifest: Manifest, found: Mapping[str, Any]) -> str:
    """Markdown; `found` is what `report.examine` returns."""
    parts = [
        _head(manifest),
        _use(manifest),
        _data(manifest, found),
        _figures(found),
        *([_classes(found["classes"])] if found["classes"] else []),
        _limits(found),
    ]
    return "\n\n".join(parts) + "\n"


def cell(text: object) -> str:
    r"""Text that stays text in a Markdown table, also where a name holds markup.

    >>> print(cell("roll|mark <b>_1_"))
    roll\|mark &lt;b&gt;\_1\_
    """
    escaped = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", escaped)


def _head(manifest: Manifest) -> str:
    network = manifest.network
    blocks = ", ".join(f"{block.filters} filters of {block.kernel} x {block.kernel}" for block in network.blocks)
    return "\n".join(
        [
            f"# Model card: {cell(manifest.version)}",
            "",
            f"A convolutional network for {network.input_size} x {network.input_size} px grey tiles: {blocks}; "
            f"{network.dense_units} dense units. Published {manifest.created_at:%Y-%m-%d}. "
            f"Classes: {', '.join(map(cell, manifest.classes))}.",
        ]
    )


def _use(manifest: Manifest) -> str:
    fitting, thresholds = manifest.fitting, manifest.thresholds
    larger = (
        f"Larger frames are cut into tiles every {fitting.stride} px"
        if fitting.fit == "tile"
        else "Frames are resized whole"
    )
    return "\n".join(
        [
            "## Intended use",
            "Finding surface defects of steel on frames from line cameras, and sorting frames into `ok`, `review` and "
            f"`defect`. {larger}. A tile is for review from a defect probability of {probability(thresholds.review)} "
            f"and a defect from {probability(thresholds.defect)}.",
            *(["", cell(said)] if (said := manifest.training.get("thresholds", {}).get("sentence")) else []),
            "",
            "Not intended: other materials, cameras, resolutions or lighting than those of the data below; measuring "
            "a defect's size; releasing product without the plant having accepted the figures below.",
        ]
    )


def _data(manifest: Manifest, found: Mapping[str, Any]) -> str:
    lines = ["## Data", "| part | tiles | of them defect |", "|---|---|---|"]
    tiles, defects = manifest.data.get("tiles", {}), manifest.data.get("defect_tiles", {})
    lines += [f"| {cell(part)} | {count} | {defects.get(part, 'not counted')} |" for part, count in tiles.items()]
    lines += [
        "",
        f"Fitted on the folder {cell(manifest.data.get('folder', 'unknown'))}, split by group: no group is on two "
        f"sides. Measured below: {found['tiles']} tiles of {found['groups']} groups from {cell(found['data'])}, "
        f"{found['defect_tiles']} of them defect.",
    ]
    if found["faults"]:
        lines += [
            "",
            "**That folder had faults when the training began. Where images of one surface lie in several groups, or "
            "are labelled both ways, the figures and the certificate are not those of new surfaces:**",
            "",
            *(f"- {cell(fault)}" for fault in found["faults"]),
        ]
    lines += _learned_from(manifest.training.get("experiment", {}))
    if found["out_of_fold"]:
        lines += ["", f"**{cell(found['out_of_fold'])}**", "", *_folds(manifest.training.get("cross_validation", {}))]
    if found["known_groups"] is None:
        lines += [
            "",
            "**The version was published without a list of the images it was fitted or tuned on, and names of groups "
            "do not tell: the figures may be flattering.**",
        ]
    elif found["known_groups"]:
        lines += [
            "",
            f"**{found['known_groups']} of these groups hold images that the version was fitted or tuned on, or others "
            "of their groups: the figures are flattering and say nothing about new surfaces.**",
        ]
    return "\n".join(lines)


def _learned_from(experiment: Mapping[str, Any]) -> list[str]:
    """Other versions whose data have come down to this one: whoever asks where it is from must ask of them too."""
    told = {"start": "Its convolutions began as those of", "teacher": "It was taught, too, by"}
    said = [f"{words} {cell(version)}." for name, words in told.items() if (version := experiment.get(name))]
    return ["", " ".join(said)] if said else []


def _folds(crossed: Mapping[str, Any]) -> list[str]:
    """How far the figures of single folds lie apart."""
    lines = ["| figure | mean of the folds | standard deviation of a fold |", "|---|---|---|"]
    spread = crossed.get("spread", {})
    return lines + [
        f"| {cell(name)} | {mean:.3f} | {spread[name]:.3f} |" for name, mean in crossed.get("mean", {}).items()
    ]


def _figures(found: Mapping[str, Any]) -> str:
    lines = ["## Figures", "| figure | value | 95 % interval |", "|---|---|---|"]
    for name, each in found["metrics"].items():
        lines.append(f"| {cell(name)} | {figure(each['value'], name)} | {_span(each, name)} |")
    lines += [
        "",
        "Counted over tiles; intervals over groups.",
        "",
        "| defect class | tiles | groups | AUROC | escapes |",
    ]
    lines += ["|---|---|---|---|---|"]
    for row in found["by_defect_class"]:
        auroc, escape = (figure(row["metrics"][name]["value"]) for name in ("auroc", "escape_rate"))
        lines.append(
            f"| {cell(row['name'])} | {row['tiles']} | {row['groups']} | {auroc} ({_span(row['metrics']['auroc'])}) "
            f"| {escape} ({_span(row['metrics']['escape_rate'])}) |"
        )
    return "\n".join(lines)


def _classes(classes: Mapping[str, Any]) -> str:
    """Recall and precision of each class, and what was taken for what."""
    lines = ["## Classes", "A tile is named after its most probable class.", ""]
    lines += ["| class | tiles | groups | recall | precision |", "|---|---|---|---|---|"]
    for row in classes["table"]:
        told = (row["metrics"].get(name) for name in ("recall", "precision"))
        shares = " | ".join(f"{figure(each['value'])} ({_span(each)})" if each else "none" for each in told)
        lines.append(f"| {cell(row['name'])} | {row['tiles']} | {row['groups']} | {shares} |")
    names = list(classes["confusion"])
    lines += ["", f"| the tile is | {' | '.join(f'named {cell(name)}' for name in names)} |"]
    lines += ["|---" * (len(names) + 1) + "|"]
    lines += [f"| {cell(name)} | {' | '.join(map(str, row.values()))} |" for name, row in classes["confusion"].items()]
    if classes["unknown"]:
        lines += ["", f"{classes['unknown']} tiles show defect types that this version has no class for: not counted."]
    return "\n".join(lines)


def _limits(found: Mapping[str, Any]) -> str:
    lines = ["## Limits"]
    metrics = found["metrics"]
    if metrics["escape_rate"]["value"]:
        weakest = max(found["by_defect_class"], key=lambda row: row["metrics"]["escape_rate"]["value"])
        all_of_them, its = (percent(each["metrics"]["escape_rate"]["value"]) for each in (found, weakest))
        lines.append(
            f"- {all_of_them} of all defect tiles escape; {cell(weakest['name'])} is passed most often: {its} of its "
            f"{weakest['tiles']} tiles."
        )
    else:
        lines.append(f"- None of the {found['defect_tiles']} defect tiles escapes.")
    lines.append(_under_changes(found["tiles"], *found["robustness"]))
    showing = sum(1 for row in found["by_group"] if row["defects"])
    if showing < FEW_GROUPS:
        lines.append(
            f"- Only {showing} groups show defects. Even without one escape among them, the share of groups with an "
            f"escape could be {_upper_without_escape(showing):.0%} (95 % limit)."
        )
    lines.append(
        "- Defect classes that are not in the table above were not measured. Nothing here is known about them."
    )
    return "\n".join(lines)


def _under_changes(tiles: int, unchanged: Mapping[str, Any], *changed: Mapping[str, Any]) -> str:
    """What becomes of each figure under the change that costs it most: one that ranks as before may pass everything.

    tiles: of the figures above; those that were changed may be fewer, and then have figures of their own.
    """
    told = []
    for figure_of, worst in (("auroc", min), ("escape_rate", max), ("overkill_rate", max)):
        values = [row["metrics"][figure_of]["value"] for row in changed]
        row = changed[values.index(worst(values))]
        before, after = (figure(each["metrics"][figure_of]["value"]) for each in (unchanged, row))
        told.append(f"{words(figure_of)} {before} becomes {after} ({row['change']}, {row['level']})")
    tried = unchanged["tiles"]
    fewer = f" on {tried} of the tiles, of whole groups drawn at random" if tried < tiles else ""
    return f"- At worst, under the changes tried{fewer}: {'; '.join(told)}."


def _upper_without_escape(groups: int) -> float:
    """One-sided 95 % Clopper-Pearson limit after `groups` trials without a hit.

    >>> round(_upper_without_escape(59), 3)
    0.05
    """
    return float(1 - 0.05 ** (1 / max(groups, 1)))


def _span(interval: Mapping[str, Any], name: str = "") -> str:
    if interval["low"] is None:
        return "too few groups"
    return f"{figure(interval['low'], name)} to {figure(interval['high'], name)}"
