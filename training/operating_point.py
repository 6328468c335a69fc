"""Which thresholds an experiment asks for: from an escape budget, from costs, or from tolerated overkill."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.tiling import Probabilities
from model.verdict import Thresholds
from training.config import Experiment
from training.costs import Prices, from_costs
from training.scan import Record
from training.threshold import Groups, Labels, certify, from_overkill, groups_needed, require_scored
from training.wording import percent

UNSTATED = (
    "Neither an escape budget (--max-escape) nor costs (--escape-cost, --overkill-cost) were stated, so that the "
    "thresholds are to call 5 % of the good tiles at most, 1 % as defects. Of the good tiles that chose them {review} "
    "are called, {defect} as defects. Nothing is promised about escapes."
)


def certifying_part(experiment: Experiment) -> float:
    """Of a folder's groups, the share that an escape budget is certified on.

    In folds every group is scored by a network that has not seen it, and all of them count.
    """
    return 1.0 if experiment.folds else experiment.split.threshold


def tell_uncertifiable(experiment: Experiment, records: Sequence[Record]) -> None:
    """Say on stderr, before hours of training, where the folder has too few defects for the escape budget.

    records: each with its group.
    """
    if experiment.max_escape is None:
        return
    needed, part = groups_needed(experiment.max_escape, experiment.confidence), certifying_part(experiment)
    there = len({record.group for record in records if record.label == "defect"})
    if there * part < needed:
        budget = f"{percent(experiment.max_escape)} of escapes at {percent(experiment.confidence)} confidence"
        print(
            f"{budget} will not be certified: {needed} independent defects are needed, and of the {there} in the "
            f"folder about {round(there * part)} count",
            file=sys.stderr,
        )


def prices(experiment: Experiment, defect: Labels) -> Prices | None:
    """What errors cost where that is to choose the thresholds.

    defect: of both labels; its share stands for that on the line where none is stated, mostly far too large, because
    defects are collected.
    """
    if experiment.escape_cost is None or experiment.overkill_cost is None:
        return None
    return Prices(
        escape_cost=experiment.escape_cost,
        overkill_cost=experiment.overkill_cost,
        review_cost=experiment.review_cost,
        defect_share=experiment.line_defect_share or float(defect.mean()),
    )


def operating_point(
    probabilities: Probabilities, defect: Labels, group: Groups, frame: npt.NDArray[np.intp], experiment: Experiment
) -> tuple[Thresholds, dict[str, Any]]:
    """Thresholds, and what can be said for them: a record for the manifest whose `sentence` is for a reader.

    probabilities: calibrated. frame: number of the image each tile is from. All arrays are of shape (n,): tiles that
    the network was not fitted on. Raises `DataFault` where a label is missing or a probability is not a number.
    """
    if experiment.max_escape is not None:
        budget = experiment.max_escape, experiment.confidence
        part = certifying_part(experiment)
        certified = certify(
            probabilities, defect, group, *budget, escape_of=experiment.escape_of, frame=frame, part=part
        )
        return certified.thresholds, certified.model_dump(mode="json")
    require_scored(probabilities, defect)
    if found := prices(experiment, defect):
        cheapest = from_costs(probabilities, defect, group, found, stated=experiment.line_defect_share is not None)
        return cheapest.thresholds, cheapest.model_dump(mode="json")
    thresholds = from_overkill(probabilities, defect)
    review, as_defect = (
        percent(float((probabilities[~defect] >= level).mean())) for level in (thresholds.review, thresholds.defect)
    )
    return thresholds, {"sentence": UNSTATED.format(review=review, defect=as_defect)}
