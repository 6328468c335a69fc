"""python -m training: from a labelled folder to a published version.

Exit code 0 done, 1 a fault in the data or model, 2 wrong usage, 130 stopped by Ctrl-C.
"""

import argparse
import errno
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path

from tqdm import tqdm

from model.errors import SteelsightError
from model.interrupt import EXIT_INTERRUPTED
from model.network import DEFAULT_PRESET, PRESETS
from model.registry import Registry, models_folder
from synthetic import synthesize
from training import train_command
from training.checks.report import summary, write_report
from training.compare import write_comparison
from training.config import load_experiment
from training.errors import DataFault, UsageFault
from training.group_pattern import GROUP_PATTERN_HELP, by_pattern
from training.importers import FORMATS, import_source
from training.run import compare_versions, evaluate_version
from training.scan import Record, scan
from training.terminal import EXIT_DONE, EXIT_FAULT, EXIT_USAGE, FILES_SHOWN, say, tell, tell_outcome
from training.validate import check
from training.wording import figure

# How to ask for less, told where there was too little.
LESS_MEMORY = "close other programs, or state a larger stride, a smaller batch_size, fewer filters or dense_units"
LESS_DISK = "make room, or cut fewer tiles: state a larger stride (left out, it is half a tile)"
# What the system calls a lack of either: of room on the disk, in a quota, or in one file.
LESS = {errno.ENOMEM: LESS_MEMORY} | dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), LESS_DISK)


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

    importer = commands.add_parser("import", parents=[shared], help="turn a public data set into a data folder")
    importer.add_argument("format", metavar="FORMAT", choices=sorted(FORMATS), help=", ".join(sorted(FORMATS)))
    importer.add_argument("source", metavar="SOURCE", type=Path, help="the unpacked data set")
    importer.add_argument("data", metavar="DATA", type=Path, help="an empty or new folder")
    importer.set_defaults(run=run_import)

    check = commands.add_parser("check", parents=[shared], help="find what would make a training unsound; exit 1 if so")
    check.add_argument("data", metavar="DATA", type=Path)
    check.add_argument("--report", type=Path, metavar="DIR", help="write the findings there, with thumbnails")
    check.add_argument("--group-pattern", metavar="REGEX", help=GROUP_PATTERN_HELP)
    check.set_defaults(run=run_check)

    train_command.add_command(commands, shared)

    evaluate = commands.add_parser("evaluate", parents=[shared], help="score a version on a labelled folder")
    evaluate.add_argument("version", metavar="VERSION", help="a version's name, or `active`")
    evaluate.add_argument("data", metavar="DATA", type=Path)
    evaluate.add_argument("--report", type=Path, metavar="DIR", help="write the report there: HTML, JSON, model card")
    evaluate.add_argument("--unseen", action="store_true", help="leave out groups the version was fitted or tuned on")
    evaluate.set_defaults(run=run_evaluate)

    compare = commands.add_parser("compare", parents=[shared], help="two versions on one folder: what really differs")
    compare.add_argument("a", metavar="A", help="a version's name, or `active`")
    compare.add_argument("b", metavar="B", help="another one's")
    compare.add_argument("data", metavar="DATA", type=Path)
    compare.add_argument("--report", type=Path, metavar="DIR", help="write comparison.html and comparison.json there")
    compare.add_argument("--unseen", action="store_true", help="leave out groups either was fitted or tuned on")
    compare.set_defaults(run=run_compare)

    explain = commands.add_parser("explain", parents=[shared], help="show what a version saw in one image: a page")
    explain.add_argument("version", metavar="VERSION", help="a version's name, or `active`")
    explain.add_argument("image", metavar="IMAGE", type=Path)
    explain.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="new folder for explain.html and its PNGs"
    )
    explain.set_defaults(run=run_explain)

    preview = commands.add_parser("preview", parents=[shared], help="show what would be trained on: contact sheets")
    preview.add_argument("data", metavar="DATA", type=Path)
    preview.add_argument("--config", type=Path, metavar="FILE", help="experiment file (TOML)")
    preview.add_argument("--preset", choices=sorted(PRESETS), metavar="NAME", help=f"default: {DEFAULT_PRESET}")
    preview.add_argument("--seed", type=int, metavar="S")
    preview.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="new folder for preview.html and its PNGs"
    )
    preview.set_defaults(run=run_preview)
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


def run_import(arguments: argparse.Namespace) -> int:
    """Write a data folder from a public format; what stays behind is said on stderr."""
    with tqdm(unit="image", disable=not sys.stderr.isatty()) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        summary = import_source(arguments.format, arguments.source, arguments.data, show)
    for reason, files in (summary.left_out | summary.remarks).items():
        verb = "left out" if reason in summary.left_out else "imported, but look at"
        shown = ", ".join(files[:FILES_SHOWN]) + (", ..." if len(files) > FILES_SHOWN else "")
        print(f"{verb}: {len(files)} {reason}: {shown}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(asdict(summary)))
    else:
        print(f"{summary.images} images in {arguments.data}: {summary.ok} ok, {summary.defect} defect")
    return EXIT_DONE


def run_check(arguments: argparse.Namespace) -> int:
    """Print findings; exit 1 if one of them makes a training unsound."""
    records = _scanned(arguments)
    with tqdm(total=len(records), desc="reading", unit="image", disable=not sys.stderr.isatty()) as bar:
        verdict = check(records, bar.update, data=arguments.data)
    for finding in verdict.findings:
        tell(finding)
    told = summary(verdict.records, verdict.findings, verdict.shortcuts, verdict.sound)
    if arguments.report:
        page = write_report(arguments.report, arguments.data.resolve(), told, verdict.records)
        print(f"report: {page}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(told))
    else:
        soundness = "sound" if verdict.sound else "training would be unsound"
        print(f"{len(records)} images of {verdict.groups} groups: {soundness}")
    return EXIT_DONE if verdict.sound else EXIT_FAULT


def _scanned(arguments: argparse.Namespace) -> list[Record]:
    """The records to check. With --json, a folder that cannot be scanned is told there too."""
    try:
        return by_pattern(scan(arguments.data), arguments.group_pattern)
    except ValueError as error:
        raise UsageFault(str(error)) from error
    except DataFault as error:
        if arguments.json:
            print(json.dumps({"sound": False, "error": str(error)}))
        raise


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Score a published version on a labelled folder."""
    _require_folder(arguments.report)
    outcome = evaluate_version(
        _version(arguments.version, arguments.models),
        arguments.data,
        arguments.models,
        report=arguments.report,
        unseen=arguments.unseen,
    )
    tell_outcome(outcome, arguments.json)
    return EXIT_DONE


def run_compare(arguments: argparse.Namespace) -> int:
    """Print how two versions differ on one folder; write the page if a folder for it is given."""
    _require_folder(arguments.report)
    a, b = (_version(named, arguments.models) for named in (arguments.a, arguments.b))
    found = compare_versions(a, b, arguments.data, arguments.models, unseen=arguments.unseen)
    if arguments.report:
        write_comparison(arguments.report, found)
    for name, each in found.metrics.items():
        difference = each.difference
        span = "" if difference.low is None else f"  ({difference.low:+.3f} to {difference.high:+.3f})"
        shown = f"  b is {each.shown}" if each.shown else ""
        values = f"{figure(each.a.value)} {figure(each.b.value)} {difference.value:+.3f}"
        print(f"{name:>27}: {values}{span}{shown}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(found.summary()))
    return EXIT_DONE


def run_preview(arguments: argparse.Namespace) -> int:
    """Write contact sheets of drawn and augmented tiles, and a page of them; print where the page is."""
    from training.preview import write_preview

    experiment = load_experiment(arguments.config, {"preset": arguments.preset, "seed": arguments.seed})
    written = write_preview(arguments.data.resolve(), experiment, arguments.out, arguments.models)
    print(json.dumps({"page": str(written.page), "sheets": written.sheets}) if arguments.json else written.page)
    return EXIT_DONE


def run_explain(arguments: argparse.Namespace) -> int:
    """Write pictures and a page of what a version saw in one image; print where the page is."""
    from training.explain import explain_image

    explanation = explain_image(arguments.version, arguments.image, arguments.out, arguments.models)
    page = str(arguments.out / "explain.html")
    inspection, (y, x, height, width) = explanation.inspection, explanation.box
    if arguments.json:
        tile = {"x": x, "y": y, "width": width, "height": height}
        told = {"page": page, "verdict": inspection.verdict, "defect_probability": inspection.defect_probability}
        print(json.dumps({**told, "defect_class": explanation.defect_class, "tile": tile}))
    else:
        print(page)
    return EXIT_DONE


def _version(named: str, models: Path) -> str:
    """A version's name, also for `active`. Raises `SteelsightError` (no_active_model)."""
    return Registry(models).require_active() if named == "active" else named


def _require_folder(report: Path | None) -> None:
    """Raises `UsageFault` before the work of minutes, not after it."""
    try:
        if report:
            report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageFault(f"--report {report} cannot be made a folder ({error.strerror}); name another") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a fault is one line on stderr."""
    # TensorFlow's own start-up lines tell a plant engineer nothing; set before it is first imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = parser().parse_args(argv)
    # A path is told as the bytes it is made of, which need not be UTF-8.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        exit_code: int = arguments.run(arguments)
    except UsageFault as error:
        say(f"error: {error}")
        return EXIT_USAGE
    except (DataFault, SteelsightError) as error:
        say(f"error: {error}")
        return EXIT_FAULT
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        # A folder that cannot be read or written, or a full disk: the system's own words name the file.
        advice = f"; {LESS[error.errno]}" if error.errno in LESS else ""
        say(f"error: {error}{advice}")
        return EXIT_FAULT
    except _memory_errors() as error:
        # TensorFlow's own words are many lines about its graph.
        told = f" ({error})" if isinstance(error, MemoryError) and str(error) else ""
        print(f"error: memory ran out{told}; {LESS_MEMORY}", file=sys.stderr)
        return EXIT_FAULT
    return exit_code


def _memory_errors() -> tuple[type[Exception], ...]:
    """What a lack of memory is raised as; TensorFlow has an error of its own, in commands that have imported it."""
    tensorflow = sys.modules.get("tensorflow")
    return (MemoryError, tensorflow.errors.ResourceExhaustedError) if tensorflow else (MemoryError,)


def leave(exit_code: int) -> None:
    """End the process. After Ctrl-C at once: TensorFlow's threads may still wait for Python's lock, which one
    that is ending never gives back, and it waits for them. Everything worth keeping is on the disk by then.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if exit_code == EXIT_INTERRUPTED:
        os._exit(exit_code)
    sys.exit(exit_code)
