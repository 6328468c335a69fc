"""python -m model: look at, activate and use published versions.

Exit code 0 done, 1 a fault in the data or model, 2 wrong usage.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from model import shadow
from model.artifact import Manifest
from model.engine import ENGINES
from model.errors import SteelsightError
from model.image import decode
from model.inspector import Inspector
from model.precision import AUTO
from model.registry import Registry, models_folder
from model.reply import told

EXIT_DONE, EXIT_FAULT = 0, 1


def parser() -> argparse.ArgumentParser:
    """All commands of `python -m model`."""
    top = argparse.ArgumentParser(prog="python -m model", description="Inspect images with published model versions.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--models", type=Path, default=models_folder(), metavar="DIR", help="folder of versions (default: %(default)s)"
    )
    commands = top.add_subparsers(dest="command", required=True)

    inspect = commands.add_parser("inspect", parents=[shared], help="judge images: one JSON line each")
    inspect.add_argument("version", metavar="VERSION", help="a version's name, or `active`")
    inspect.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    inspect.add_argument("--engine", choices=[AUTO, *sorted(ENGINES)], default=AUTO, help="default: %(default)s")
    inspect.set_defaults(run=run_inspect)

    listing = commands.add_parser("list", parents=[shared], help="all versions, the active one marked *")
    listing.set_defaults(run=run_list)

    activate = commands.add_parser("activate", parents=[shared], help="make a version the active one")
    activate.add_argument("version", metavar="VERSION")
    activate.set_defaults(run=run_activate)

    rollback = commands.add_parser("rollback", parents=[shared], help="return to the version before the active one")
    rollback.set_defaults(run=run_rollback)

    shadowing = commands.add_parser(
        "shadow", parents=[shared], help="let a version score a share of the frames beside the active one"
    )
    which = shadowing.add_mutually_exclusive_group(required=True)
    which.add_argument("version", metavar="VERSION", nargs="?")
    which.add_argument("--off", action="store_true", help="let nothing shadow any more")
    shadowing.add_argument("--share", type=_share, default=0.1, help="above 0, at most 1 (default: %(default)s)")
    shadowing.set_defaults(run=run_shadow)
    return top


def run_inspect(arguments: argparse.Namespace) -> int:
    """Print one JSON line per image: `file`, and what the server answers for it.

    An image that is refused gets a line with `error`, `code` and `detail` as in a problem document, and the rest go on.
    """
    registry = Registry(arguments.models)
    version = arguments.version
    if version == "active":
        version = registry.require_active()
    inspector = Inspector.load(registry, version, arguments.engine)
    exit_code = EXIT_DONE
    for path in arguments.images:
        try:
            line = {"file": str(path)} | told(inspector, inspector.inspect(decode(path.read_bytes())))
        except SteelsightError as error:
            line = {"file": str(path), "error": {"code": error.code, "detail": error.message}}
        except OSError as error:
            line = {"file": str(path), "error": {"code": "file_unreadable", "detail": f"{path}: {error.strerror}"}}
        if "error" in line:
            exit_code = EXIT_FAULT
        print(json.dumps(line), flush=True)
    return exit_code


def _auroc(manifest: Manifest) -> str:
    auroc = manifest.metrics.get("auroc")
    if auroc is None:
        return "AUROC not measured"
    interval = "" if auroc.low is None or auroc.high is None else f" ({auroc.low:.3f} to {auroc.high:.3f})"
    # A version fitted on all groups after a cross-validation was not measured itself.
    measured = "AUROC of the recipe" if "cross_validation" in manifest.training else "AUROC"
    return f"{measured} {auroc.value:.3f}{interval}"


def run_list(arguments: argparse.Namespace) -> int:
    """One line per version: name, when it was made, and AUROC with interval: on test groups, or of the recipe."""
    registry = Registry(arguments.models)
    active = registry.active()
    exit_code = EXIT_DONE
    for version in registry.versions():
        mark = "*" if version == active else " "
        try:
            manifest = registry.manifest(version)
        except SteelsightError as error:
            exit_code = EXIT_FAULT
            print(f"{mark} {version}  damaged")
            print(f"error: {error.message}", file=sys.stderr)
        else:
            print(f"{mark} {version}  {manifest.created_at:%Y-%m-%d %H:%M}  {_auroc(manifest)}")
    if not registry.versions():
        print(f"no versions in {arguments.models}; train one with `python -m training train DATA`", file=sys.stderr)
    return exit_code


def run_activate(arguments: argparse.Namespace) -> int:
    """Make VERSION active."""
    Registry(arguments.models).activate(arguments.version)
    print(f"active: {arguments.version}")
    return EXIT_DONE


def run_rollback(arguments: argparse.Namespace) -> int:
    """Make the version before the active one active."""
    print(f"active: {Registry(arguments.models).rollback().active}")
    return EXIT_DONE


def run_shadow(arguments: argparse.Namespace) -> int:
    """Let VERSION shadow, or nothing."""
    registry = Registry(arguments.models)
    if arguments.off:
        shadow.stop(registry)
        print("shadow: none")
    else:
        shadow.choose(registry, arguments.version, arguments.share)
        print(f"shadow: {arguments.version}, {arguments.share:g} of the frames")
    return EXIT_DONE


def _share(given: str) -> float:
    """argparse says what is wrong of a ValueError and of its own error alone."""
    share = float(given)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"received {given}; expected a share above 0 and at most 1")
    return share


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a refusal is one line on stderr."""
    arguments = parser().parse_args(argv)
    try:
        exit_code: int = arguments.run(arguments)
    except SteelsightError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return EXIT_FAULT
    except BrokenPipeError:
        # Whoever read our lines has seen enough, as `head` does; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAULT
    except OSError as error:
        print(f"error: {error}; check that the folder {arguments.models} can be read and written", file=sys.stderr)
        return EXIT_FAULT
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
