"""python -m training train: from a labelled folder, or a run that was stopped, to a published version."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from model import signing
from model.artifact import new_version
from model.interrupt import EXIT_INTERRUPTED
from model.network import DEFAULT_PRESET, PRESETS
from model.registry import Registry
from training.blend import require_blends
from training.checkpoint import Checkpoint, Run
from training.checks.files import column_findings, file_findings
from training.checks.finding import Severity
from training.config import Experiment, load_experiment
from training.cross_validation import finished_folds
from training.dataset import choose_fit
from training.errors import UsageFault
from training.group_pattern import GROUP_PATTERN_HELP
from training.grouping import with_groups
from training.operating_point import tell_uncertifiable
from training.prepare import named_records, require_binary
from training.run import train
from training.scan import Record, as_text, fingerprint, scan
from training.start import require_start
from training.teacher import require_teacher
from training.terminal import EXIT_DONE, say, tell, tell_outcome
from training.threshold import EscapeOf
from training.validate import check

# What of an experiment can be said on the command line.
EXPERIMENT_FLAGS = (
    "preset",
    "epochs",
    "seed",
    "max_escape",
    "confidence",
    "escape_of",
    "escape_cost",
    "overkill_cost",
    "review_cost",
    "line_defect_share",
    "group_pattern",
    "folds",
    "figures_only",
)


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", shared: argparse.ArgumentParser
) -> None:
    """Add `train` to the commands of `python -m training`. shared: the flags that all of them have."""
    train = commands.add_parser("train", parents=[shared], help="train, evaluate and publish a version")
    train.add_argument("data", metavar="DATA", type=Path, nargs="?", help="data folder; not needed with --resume")
    train.add_argument("--config", type=Path, metavar="FILE", help="experiment file (TOML)")
    train.add_argument(
        "--preset", choices=sorted(PRESETS), metavar="NAME", help=f"{', '.join(PRESETS)} (default: {DEFAULT_PRESET})"
    )
    train.add_argument("--epochs", type=int, metavar="N")
    train.add_argument("--seed", type=int, metavar="S")
    train.add_argument("--max-escape", type=float, metavar="SHARE", help="escape budget that `review` is to certify")
    train.add_argument("--confidence", type=float, metavar="C", help="with which it is to be kept (default: 0.95)")
    train.add_argument(
        "--escape-of",
        choices=[each.value for each in EscapeOf],
        help="of what it is a share (default: tile)",
    )
    train.add_argument("--escape-cost", type=float, metavar="COST", help="of a defect passed: thresholds from costs")
    train.add_argument("--overkill-cost", type=float, metavar="COST", help="of an ok tile called a defect")
    train.add_argument(
        "--review-cost", type=float, metavar="COST", help="of a tile a person looks at (default: no review)"
    )
    train.add_argument(
        "--line-defect-share", type=float, metavar="SHARE", help="of defect tiles on the line (default: as in the data)"
    )
    train.add_argument("--group-pattern", metavar="REGEX", help=GROUP_PATTERN_HELP)
    train.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="cross-fitting: figures from K networks, one fitted on all groups published",
    )
    train.add_argument(
        "--figures-only", action="store_true", default=None, help="with --folds: measure the recipe, publish nothing"
    )
    train.add_argument("--activate", action="store_true", help="make the new version the active one")
    train.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run that was stopped")
    train.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, or resume a training; print the version."""
    # Found out now and not after hours of training.
    arguments.models.mkdir(parents=True, exist_ok=True)
    signing.configured_signing_key()
    signing.configured_keys()
    checkpoint, run = _resumed(arguments) if arguments.resume else _started(arguments)
    try:
        with checkpoint.held():
            outcome = train(run, checkpoint, arguments.models)
    except KeyboardInterrupt:
        print(f"\n{_where_it_stands(checkpoint, run, arguments)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    tell_outcome(outcome, arguments.json)
    if arguments.activate and outcome.version:
        Registry(arguments.models).activate(outcome.version)
    return EXIT_DONE


def _started(arguments: argparse.Namespace) -> tuple[Checkpoint, Run]:
    if arguments.data is None:
        raise UsageFault("DATA is needed: the folder of labelled images (or --resume RUN)")
    overrides = {name: getattr(arguments, name) for name in EXPERIMENT_FLAGS}
    experiment = load_experiment(arguments.config, overrides)
    require_binary(experiment)
    _require_publishing(experiment, arguments.activate)

    data = arguments.data.resolve()
    if as_text(data) != data.as_posix():
        raise UsageFault(f"{as_text(data)} has bytes that are not UTF-8, so no run can name it; rename that folder")
    named = named_records(data, experiment)
    records = with_groups(named)
    run = Run(
        version=new_version(experiment.preset), data=data, fingerprint=fingerprint(records), experiment=experiment
    )
    fit = choose_fit(records, experiment.fit)
    require_blends(experiment, fit)
    require_teacher(run, fit, arguments.models)
    require_start(run, arguments.models)
    for finding in (*file_findings(data, scan(data)), *column_findings(data, named)):
        tell(finding)
    run = run.model_copy(update={"faults": _faults(named)})
    _tell_faults(run)
    tell_uncertifiable(experiment, records)
    checkpoint = Checkpoint(arguments.models.parent / "runs" / run.version)
    checkpoint.start(run)
    return checkpoint, run


def _require_publishing(experiment: Experiment, activate: bool) -> None:
    """Raises `UsageFault` where nothing will be published that could be made active: now, not after all folds."""
    if experiment.figures_only and activate:
        raise UsageFault("figures_only publishes nothing that --activate could make active; leave out one of them")


# Warnings of `check` that are repeated here: where copies cannot be told the split may part them, and masks that mean
# something else teach something else.
DOUBTFUL = {"all_alike", "masks_mostly_white", "mask_boxes"}


def _faults(records: Sequence[Record]) -> tuple[str, ...]:
    """What makes a training on these records doubtful. It goes on, for what cannot be used is left out.

    records: without the groups of near-duplicates, which no person gave.
    """
    found = check(records).findings
    return tuple(
        f"{finding.kind}: {finding.message}"
        for finding in found
        if finding.severity is Severity.ERROR or finding.kind in DOUBTFUL
    )


def _tell_faults(run: Run) -> None:
    """Whoever signs the figures must have been told; the report and the card say so again."""
    for fault in run.faults:
        say(f"warning: {fault}; see python -m training check {run.data}")


def _resumed(arguments: argparse.Namespace) -> tuple[Checkpoint, Run]:
    given = [name for name in ("data", "config", *EXPERIMENT_FLAGS) if getattr(arguments, name) is not None]
    if given:
        raise UsageFault(f"--resume goes on with the run as it was started; leave out {', '.join(given)}")
    checkpoint = Checkpoint(arguments.resume)
    run = checkpoint.run()
    _require_publishing(run.experiment, arguments.activate)
    if run.version in Registry(arguments.models).versions():
        raise UsageFault(
            f"{run.version} is trained and published; make it active: python -m model activate {run.version}"
        )
    _tell_faults(run)
    return checkpoint, run


def _where_it_stands(checkpoint: Checkpoint, run: Run, arguments: argparse.Namespace) -> str:
    command = ["python", "-m", "training", "train", "--resume", checkpoint.folder, "--models", arguments.models]
    command += ["--activate"] * arguments.activate
    goes_on = f"resume with: {shlex.join(map(str, command))}"
    if run.experiment.folds:
        done = finished_folds(checkpoint, run.experiment.folds)
        return f"stopped after {done} of {run.experiment.folds} folds; {goes_on}"
    state = checkpoint.state()
    kept = "no epoch was finished"
    if state.finished:
        kept = f"best so far: epoch {state.best.number}, {state.best.told}"
    return f"stopped after {state.finished} epochs ({kept}); {goes_on}"
