"""python -m training: from a labelled folder to a published version.

Exit code 0 done, 1 a fault in the data or model, 2 wrong usage, 130 stopped by Ctrl-C.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from model.artifact import new_version
from model.errors import SteelsightError
from model.network import DEFAULT_PRESET, PRESETS
from model.registry import Registry, models_folder
from training.checkpoint import Checkpoint, Run
from training.config import load_experiment
from training.errors import DataFault, UsageFault
from training.grouping import with_groups
from training.run import Outcome, evaluate_version, labelled_records, require_binary, train
from training.scan import fingerprint, scan
from training.synthetic import synthesize
from training.validate import Finding, Severity, validate

EXIT_DONE, EXIT_FAULT, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

# Enough to see what a finding is about without scrolling past the others.
FILES_SHOWN = 5


def parser() -> argparse.ArgumentParser:
    """All commands of `python -m training`."""
    top = argparse.ArgumentParser(
        prog="python -m training", description="Train inspection models from labelled folders."
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--models", type=Path, default=models_folder(), metavar="DIR", help="folder of versions (default: %(default)s)"
    )
    shared.add_argument("--json", action="store_true", help="end with one line of JSON on standard output")
    commands = top.add_subparsers(dest="command", required=True)

    synthesize = commands.add_parser("synthesize", parents=[shared], help="write procedural rolled steel with masks")
    synthesize.add_argument("data", metavar="DATA", type=Path)
    synthesize.add_argument(
        "--tiles", type=int, default=2000, metavar="N", help="images to write (default: %(default)s)"
    )
    synthesize.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    synthesize.set_defaults(run=run_synthesize)

    check = commands.add_parser("check", parents=[shared], help="find what would make a training unsound; exit 1 if so")
    check.add_argument("data", metavar="DATA", type=Path)
    check.set_defaults(run=run_check)

    train = commands.add_parser("train", parents=[shared], help="train, evaluate and publish a version")
    train.add_argument("data", metavar="DATA", type=Path, nargs="?", help="data folder; not needed with --resume")
    train.add_argument("--config", type=Path, metavar="FILE", help="experiment file (TOML)")
    train.add_argument(
        "--preset", choices=sorted(PRESETS), metavar="NAME", help=f"{', '.join(PRESETS)} (default: {DEFAULT_PRESET})"
    )
    train.add_argument("--epochs", type=int, metavar="N")
    train.add_argument("--seed", type=int, metavar="S")
    train.add_argument("--activate", action="store_true", help="make the new version the active one")
    train.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run that was stopped")
    train.set_defaults(run=run_train)

    evaluate = commands.add_parser("evaluate", parents=[shared], help="score a version on a labelled folder")
    evaluate.add_argument("version", metavar="VERSION")
    evaluate.add_argument("data", metavar="DATA", type=Path)
    evaluate.set_defaults(run=run_evaluate)
    return top


def run_synthesize(arguments: argparse.Namespace) -> int:
    """Write a synthetic data folder."""
    with tqdm(total=arguments.tiles, unit="image", disable=not sys.stderr.isatty()) as bar:
        try:
            summary = synthesize(
                arguments.data, arguments.tiles, arguments.seed, on_progress=lambda done: bar.update(done - bar.n)
            )
        except ValueError as error:
            raise UsageFault(str(error)) from error
    if arguments.json:
        print(json.dumps(asdict(summary)))
    else:
        print(f"{summary.tiles} images of {summary.groups} groups in {arguments.data}")
    return EXIT_DONE


def run_check(arguments: argparse.Namespace) -> int:
    """Print findings; exit 1 if one of them makes a training unsound."""
    records = with_groups(scan(arguments.data))
    with tqdm(total=len(records), unit="image", disable=not sys.stderr.isatty()) as bar:
        findings = validate(records, bar.update)
    for finding in findings:
        _tell(finding)
    groups = len({record.group for record in records})
    unsound = any(finding.severity is Severity.ERROR for finding in findings)
    if arguments.json:
        listed = [asdict(finding) for finding in findings]
        print(json.dumps({"images": len(records), "groups": groups, "sound": not unsound, "findings": listed}))
    else:
        print(f"{len(records)} images of {groups} groups: {'training would be unsound' if unsound else 'sound'}")
    return EXIT_FAULT if unsound else EXIT_DONE


def run_train(arguments: argparse.Namespace) -> int:
    """Train, or resume a training; print the version."""
    checkpoint, run = _resumed(arguments) if arguments.resume else _started(arguments)
    try:
        outcome = train(run, checkpoint, arguments.models)
    except KeyboardInterrupt:
        print(f"\n{_where_it_stands(checkpoint)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    if arguments.activate:
        Registry(arguments.models).activate(outcome.version)
    _report(outcome, arguments.json)
    return EXIT_DONE


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Score a published version on a labelled folder."""
    _report(evaluate_version(arguments.version, arguments.data, arguments.models), arguments.json)
    return EXIT_DONE


def _tell(finding: Finding) -> None:
    print(f"{finding.severity}: {finding.kind}: {finding.message}", file=sys.stderr)
    for file in finding.files[:FILES_SHOWN]:
        print(f"    {file}", file=sys.stderr)
    if len(finding.files) > FILES_SHOWN:
        print(f"    and {len(finding.files) - FILES_SHOWN} more (all of them with --json)", file=sys.stderr)


def _report(outcome: Outcome, as_json: bool) -> None:
    print(f"on {outcome.tiles} tiles of {outcome.groups} groups:", file=sys.stderr)
    for name, interval in outcome.metrics.items():
        span = "" if interval.low is None else f"  ({interval.low:.3f} to {interval.high:.3f})"
        print(f"{name:>27}: {interval.value:.3f}{span}", file=sys.stderr)
    print(json.dumps(outcome.summary()) if as_json else outcome.version)


def _started(arguments: argparse.Namespace) -> tuple[Checkpoint, Run]:
    if arguments.data is None:
        raise UsageFault("DATA is needed: the folder of labelled images (or --resume RUN)")
    overrides = {name: getattr(arguments, name) for name in ("preset", "epochs", "seed")}
    experiment = load_experiment(arguments.config, overrides)
    require_binary(experiment)

    data = arguments.data.resolve()
    records = labelled_records(data, experiment)
    run = Run(
        version=new_version(experiment.preset), data=data, fingerprint=fingerprint(records), experiment=experiment
    )
    checkpoint = Checkpoint(arguments.models.parent / "runs" / run.version)
    checkpoint.start(run)
    return checkpoint, run


def _resumed(arguments: argparse.Namespace) -> tuple[Checkpoint, Run]:
    given = [name for name in ("data", "config", "preset", "epochs", "seed") if getattr(arguments, name) is not None]
    if given:
        raise UsageFault(f"--resume goes on with the run as it was started; leave out {', '.join(given)}")
    checkpoint = Checkpoint(arguments.resume)
    return checkpoint, checkpoint.run()


def _where_it_stands(checkpoint: Checkpoint) -> str:
    state = checkpoint.state()
    kept = "no epoch was finished"
    if state.finished:
        kept = f"best so far: epoch {state.best.number}, validation AUROC {state.best.validation_auroc:.3f}"
    return (
        f"stopped after {state.finished} epochs ({kept}); "
        f"resume with: python -m training train --resume {checkpoint.folder}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a fault is one line on stderr."""
    # TensorFlow's own start-up lines tell a plant engineer nothing; set before it is first imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = parser().parse_args(argv)
    try:
        exit_code: int = arguments.run(arguments)
    except UsageFault as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (DataFault, SteelsightError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAULT
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
