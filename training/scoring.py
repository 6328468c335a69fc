"""Tiles scored by the files that are served, not by the network in memory."""

from collections.abc import Sequence

from model.artifact import Fitting
from model.calibration import Calibrator, IdentityCalibrator
from model.engine import Engine
from model.inspector import Inspector
from model.verdict import Thresholds


def unpublished(
    engine: Engine, fitting: Fitting, classes: Sequence[str], calibrator: Calibrator | None = None
) -> Inspector:
    """Scores tiles exactly as a server will; there are no thresholds to ask for yet, and before it, no calibrator."""
    never = Thresholds(review=1, defect=1)
    return Inspector("unpublished", engine, calibrator or IdentityCalibrator(), never, fitting, tuple(classes))
