"""How good the network is after an epoch, on tiles it was not fitted to: the figure that early stopping goes by.

A group with a hundred tiles must not outvote ten groups with ten: the plant's next coil is a group, not a tile. So all
tiles of a group weigh together as much as those of any other group with the same label.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from model.calibration import defect_logit
from training.classes import class_numbers
from training.crops import Kinds
from training.dataset import TileSet

Values = npt.NDArray[np.float64]


def validation_figures(
    logits: npt.NDArray[np.floating], tiles: TileSet, kinds: Kinds | None, classes: Sequence[str]
) -> dict[str, float]:
    """`validation_auroc` where both labels occur, and `validation_accuracy` where there are several outputs.

    logits: (n, outputs). kinds: defect type of each tile, "none" for ok, (n,), needed where there are several outputs.
    """
    found = {}
    if tiles.defect.any() and not tiles.defect.all():
        found["validation_auroc"] = group_auroc(defect_logit(logits), tiles.defect, tiles.group)
    if logits.shape[1] > 1 and kinds is not None:
        right = logits.argmax(axis=1) == class_numbers(kinds, classes)
        found["validation_accuracy"] = float(np.average(right, weights=group_weights(tiles.group, kinds)))
    if not found:
        raise ValueError("validation tiles of one label need several outputs and the class of every tile")
    return found


def group_auroc(scores: Values, defect: npt.NDArray[np.bool_], group: npt.NDArray[np.str_]) -> float:
    """The chance that a defect of a group drawn at random scores above an ok tile of a group drawn at random.

    >>> scores, defect = np.array([0.9, 0.8, 0.1, 0.5]), np.array([True, True, True, False])
    >>> group_auroc(scores, defect, np.array(["a", "a", "b", "c"]))
    0.5
    """
    return float(roc_auc_score(defect, scores, sample_weight=group_weights(group, defect)))


def group_weights(group: npt.NDArray[np.str_], label: npt.NDArray[np.bool_] | Kinds) -> Values:
    """Weight of each tile, float64 (n,): those of one group with one label add up to 1.

    >>> group_weights(np.array(["a", "a", "b", "b"]), np.array([True, True, True, False])).tolist()
    [0.5, 0.5, 1.0, 1.0]
    """
    _, group_number = np.unique(group, return_inverse=True)
    _, label_number = np.unique(label, return_inverse=True)
    _, pair, count = np.unique(np.stack([group_number, label_number]), axis=1, return_inverse=True, return_counts=True)
    return np.asarray(1 / count[pair.ravel()], np.float64)
