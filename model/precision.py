"""Which engines a version offers: those whose verdicts were measured against the Keras model's and found the same.

A reduced precision changes probabilities, and near a threshold a verdict. Publishing measures by how many, and a
budget accepts or refuses; what was refused or never measured is not offered by a server either.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.artifact import Manifest, Parity
from model.engine import ENGINES, KerasEngine, OnnxEngine
from model.errors import ErrorCode, SteelsightError
from model.tiling import Probabilities
from model.verdict import Thresholds

AUTO = "auto"
# Written by NVIDIA's driver where there is a GPU; looking at it costs nothing.
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Budget:
    """How many verdicts an engine may change.

    flips: share of all tiles. margin: a tile whose probability is further than this from both thresholds may not flip
    at all.
    """

    flips: float = 0.001
    margin: float = 0.02


BUDGET = Budget()


def judge(
    reference: Probabilities,
    engine: Probabilities,
    thresholds: Thresholds,
    defect: npt.NDArray[np.bool_],
    class_difference: float = 0.0,
    budget: Budget = BUDGET,
) -> Parity:
    """Compare an engine's probabilities with the Keras model's on the same tiles, all of shape (n,).

    defect: the tiles' labels. class_difference: largest difference of a class's probability, where there are classes.

    >>> ours = np.array([0.1, 0.5, 0.9])
    >>> judge(ours, ours, Thresholds(review=0.3, defect=0.7), ours > 0.6).accepted
    True
    >>> judge(ours, ours[::-1], Thresholds(review=0.3, defect=0.7), ours > 0.6).reason
    '2 of 3 verdicts changed, and a budget of 0.1 % allows 0; 2 of these tiles were further than 0.02 from a threshold'
    """
    levels = np.array([[thresholds.review], [thresholds.defect]])
    flipped = ((reference >= levels) != (engine >= levels)).any(axis=0)
    far = flipped & (np.abs(reference - levels) > budget.margin).all(axis=0)
    # `maximum` hands a probability that is none (NaN) on, as `max` may not.
    difference = float(np.maximum(np.abs(reference - engine).max(), class_difference))
    reason = _complaint(difference, int(flipped.sum()), int(far.sum()), len(engine), budget)
    return Parity(
        tiles=len(engine),
        # A manifest holds no NaN; 1 is the largest difference there can be.
        max_probability_difference=difference if np.isfinite(difference) else 1.0,
        verdict_flips=int(flipped.sum()),
        flips_outside_margin=int(far.sum()),
        auroc_change=_auroc_change(reference, engine, defect),
        accepted=reason is None,
        reason=reason,
    )


def _complaint(difference: float, flips: int, far: int, tiles: int, budget: Budget) -> str | None:
    if not np.isfinite(difference):
        return "it gives probabilities that are none (NaN)"
    allowed = int(budget.flips * tiles)
    complaints = []
    if flips > allowed:
        complaints.append(
            f"{flips} of {tiles} verdicts changed, and a budget of {100 * budget.flips:g} % allows {allowed}"
        )
    if far:
        complaints.append(f"{far} of these tiles were further than {budget.margin:g} from a threshold")
    return "; ".join(complaints) or None


def _auroc_change(reference: Probabilities, engine: Probabilities, defect: npt.NDArray[np.bool_]) -> float | None:
    """None where one label is missing, or a probability is none."""
    if defect.all() or not defect.any() or not np.isfinite(engine).all():
        return None
    return _auroc(engine, defect) - _auroc(reference, defect)


def _auroc(probabilities: Probabilities, defect: npt.NDArray[np.bool_]) -> float:
    """Share of pairs of a defect and an ok tile in which the defect ranks higher; ties count half (Mann-Whitney)."""
    # Of publishing alone: a server would wait half of its start for this import, and keep its memory.
    from scipy.stats import rankdata

    ranks = rankdata(probabilities)
    defects, pairs = int(defect.sum()), int(defect.sum()) * int((~defect).sum())
    return float((ranks[defect].sum() - defects * (defects + 1) / 2) / pairs)


def refusal(manifest: Manifest, name: str) -> str | None:
    """Why this version does not offer the engine of that name; None if it does."""
    if _accepted(manifest, name):
        return None
    parity = manifest.parity.get(name)
    if parity is None:
        return (
            f"version {manifest.version} was published without measuring the {name} engine (by an earlier release, on "
            "a machine that cannot run it, or of a network that has no such form), so it is not offered; train it "
            f"anew with `python -m training train` on a machine that can, or use {' or '.join(offered(manifest))}"
        )
    if not parity.accepted:
        return (
            f"version {manifest.version} does not offer the {name} engine: {parity.reason or 'it was refused'}; use "
            f"{' or '.join(offered(manifest))}"
        )
    return None


def offered(manifest: Manifest) -> list[str]:
    """Names of the engines this version may be served with.

    Whether the machine at hand can run them shows when they are opened.
    """
    return [name for name in ENGINES if _accepted(manifest, name)]


def chosen(name: str, manifest: Manifest) -> str:
    """The engine to open where `name` is asked for: itself, or what `auto` is for this version on this machine.

    It follows from the manifest and the machine alone: all processes of a server choose the same.
    Raises `SteelsightError` (engine_unavailable) if the version does not offer it.
    """
    if name != AUTO:
        if reason := refusal(manifest, name):
            raise SteelsightError(ErrorCode.ENGINE_UNAVAILABLE, reason)
        return name
    if on_gpu := _gpu_engine():
        return on_gpu
    # Fastest first; without a measurement ONNX Runtime, which every version has.
    rates = {each: parity.tiles_per_second or 0.0 for each, parity in manifest.parity.items()}
    raced = [each for each, rate in rates.items() if rate and _accepted(manifest, each)]
    for fastest in sorted(raced, key=rates.__getitem__, reverse=True):
        if ENGINES[fastest].runs_here():
            return fastest
    return OnnxEngine.name


def _accepted(manifest: Manifest, name: str) -> bool:
    """Of Keras, by which the others are measured, and of ONNX Runtime, without which nothing is published, always."""
    parity = manifest.parity.get(name)
    return name in ENGINES and (parity.accepted if parity else name in (KerasEngine.name, OnnxEngine.name))


def _gpu_engine() -> str | None:
    """The engine that computes on this machine's GPU, if there is one and a runtime for it is installed."""
    if not NVIDIA_DRIVER.exists() or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    return next((engine.name for engine in (OnnxEngine, KerasEngine) if engine.finds_gpu()), None)
