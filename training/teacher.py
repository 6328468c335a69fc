"""A teacher: a published version, as large as one likes, whose probabilities a small network learns from as well.

What is served stays small; the teacher is needed while training only. Its probabilities on the very images that the
student sees are mixed into the targets, without a temperature: a loss that is linear in its target, such as the cross
entropy, then is the weighted sum of the losses against label and teacher (Hinton, Vinyals and Dean 2015, "Distilling
the Knowledge in a Neural Network").

A teacher hands on what it was fitted on. If that were the student's test groups, their labels would reach the student
through it, and its figures would flatter. So the student takes over the teacher's split, which needs the same data.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from model.artifact import Fitting, Manifest
from model.engine import KerasEngine
from model.registry import Registry
from model.tiling import Fit
from training.checkpoint import Run
from training.config import Experiment
from training.errors import DataFault, UsageFault
from training.split import Part

Images = npt.NDArray[np.float32]
Targets = npt.NDArray[np.float32]


class Teacher:
    """Mixes a version's probabilities into targets; may be called from several threads at once.

    weight: share of the target, 0 to 1, that is the teacher's.
    """

    def __init__(self, engine: KerasEngine, weight: float) -> None:
        self._engine, self._weight = engine, weight

    def soften(self, images: Images, targets: Targets) -> Targets:
        """Targets with the teacher's share, float32 of the shape given: (n, 1) for one output, (n, outputs) for more.

        images: as the student sees them, 0 to 255, (n, size, size, channels), all channels the same grey.
        """
        logits = self._engine.logits(images[..., 0])
        taught = expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)
        return np.asarray((1 - self._weight) * targets + self._weight * taught, np.float32)


def require_teacher(run: Run, fit: Fit, models: Path) -> None:
    """Everything that can be known of a run's teacher before a pixel is read; nothing where it has none.

    fit: how the run's images reach the network. Raises `SteelsightError` (model_unknown, artifact_invalid),
    `UsageFault` where the teacher's input or output is another, `DataFault` where it knows what the student must not.
    """
    if run.experiment.teacher is None:
        return
    teachers_split(run, models)
    manifest = Registry(models).verified(run.experiment.teacher)
    _require_same_fit(manifest, fit)


def teachers_split(run: Run, models: Path) -> dict[str, Part] | None:
    """Group -> part as the run's teacher has them; None where it has no teacher. Raises as `require_teacher` does."""
    if run.experiment.teacher is None:
        return None
    manifest = Registry(models).manifest(run.experiment.teacher)
    _require_same_input(manifest, run.experiment)
    if manifest.data.get("fingerprint") != run.fingerprint:
        raise DataFault(
            f"the teacher {manifest.version} was trained on other data than {run.data}, so it may know groups that the "
            "student is tested on; train the teacher on this folder as it is now, with the same defect_types"
        )
    parts: dict[str, str] = manifest.data.get("split", {})
    if set(parts.values()) != set(Part):
        raise DataFault(
            f"the teacher {manifest.version} was fitted on all groups (folds) and leaves none to test a student on; "
            "train a teacher without folds"
        )
    return {group: Part(part) for group, part in parts.items()}


def open_teacher(experiment: Experiment, classes: tuple[str, ...], fitting: Fitting, models: Path) -> Teacher | None:
    """The teacher of an experiment, ready; None where it has none.

    classes: the student's, ok first. Raises `SteelsightError` (model_unknown, artifact_invalid), `UsageFault` where
    the teacher tells other classes apart or has another input.
    """
    if experiment.teacher is None:
        return None
    manifest = Registry(models).verified(experiment.teacher)
    _require_same_input(manifest, experiment)
    _require_same_fit(manifest, fitting.fit)
    if manifest.classes != classes:
        raise UsageFault(
            f"the teacher {manifest.version} tells {', '.join(manifest.classes)} apart and the student "
            f"{', '.join(classes)}; both must have the same classes"
        )
    engine = KerasEngine(Registry(models).folder(experiment.teacher), threads=0)
    # The first call compiles; a data loader's thread then only computes.
    engine.logits(np.zeros((1, manifest.network.input_size, manifest.network.input_size), np.uint8))
    return Teacher(engine, experiment.teacher_weight)


def _require_same_input(manifest: Manifest, experiment: Experiment) -> None:
    student, teacher = experiment.resolved_network(), manifest.network
    sizes = [(network.input_size, network.channels) for network in (teacher, student)]
    if sizes[0] != sizes[1]:
        (its, its_channels), (own, own_channels) = sizes
        raise UsageFault(
            f"the teacher {manifest.version} sees {its} x {its} px in {its_channels} channels, and the student {own} x "
            f"{own} px in {own_channels}; both must have the same input"
        )
    if (teacher.outputs == 1) != (experiment.heads == "binary"):
        raise UsageFault(
            f'the teacher {manifest.version} has {teacher.outputs} outputs, which does not fit heads = "'
            f'{experiment.heads}"; both must have the same heads'
        )


def _require_same_fit(manifest: Manifest, fit: Fit) -> None:
    if manifest.fitting.fit is not fit:
        raise UsageFault(
            f'the teacher {manifest.version} was trained with fit = "{manifest.fitting.fit}" and the student would be '
            f'with "{fit}"; both must see the same tiles'
        )
