"""python -m model: look at, sign, verify, activate and use published versions.

Exit code 0 done, 1 a fault in the data or model, 2 wrong usage, 130 stopped by Ctrl-C.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from model import precision, shadow
from model.artifact import Manifest, manifest_bytes, verify
from model.choices import EngineChoice, MaxPixels, MinSide, Stride
from model.errors import SteelsightError
from model.image import DEFAULT_LIMITS, Limits, decode
from model.inspector import Inspector
from model.interrupt import EXIT_INTERRUPTED
from model.precision import AUTO
from model.registry import Registry, models_folder
from model.reply import told
from model.signing import (
    PUBLIC_KEYS,
    SIGNATURE,
    SIGNING_KEY,
    key_id,
    keygen,
    public_keys,
    public_path,
    sign,
    signing_key,
)
from model.trial import process as trial

EXIT_DONE, EXIT_FAULT, EXIT_USAGE = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """All commands of `python -m model`."""
    top = argparse.ArgumentParser(prog="python -m model", description="Inspect images with published model versions.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--models", type=Path, default=models_folder(), metavar="DIR", help="folder of versions (default: %(default)s)"
    )
    commands = top.add_subparsers(dest="command", required=True)
    engines = ", ".join(get_args(EngineChoice))

    inspect = commands.add_parser("inspect", parents=[shared], help="judge images: one JSON line each")
    inspect.add_argument("version", metavar="VERSION", help="a version's name, or `active`")
    inspect.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    _as_served(inspect, "engine", EngineChoice, AUTO, f"runtime that computes logits: {engines}")
    _as_served(inspect, "stride", Stride, None, "pixels between tiles")
    _as_served(inspect, "max_pixels", MaxPixels, DEFAULT_LIMITS.max_pixels, "largest image, as it is and as scored")
    _as_served(inspect, "min_side", MinSide, DEFAULT_LIMITS.min_side, "shortest side of an image in pixels")
    inspect.set_defaults(run=run_inspect)

    listing = commands.add_parser("list", parents=[shared], help="all versions, the active one marked *")
    listing.set_defaults(run=run_list)

    activate = commands.add_parser("activate", parents=[shared], help="make a version the active one")
    activate.add_argument("version", metavar="VERSION")
    activate.set_defaults(run=run_activate)

    rollback = commands.add_parser("rollback", parents=[shared], help="return to the version before the active one")
    rollback.set_defaults(run=run_rollback)

    keys = commands.add_parser("keygen", help="make a key pair to sign versions with")
    keys.add_argument("file", metavar="FILE", type=Path, help="the private key; the public one is FILE.pub")
    keys.set_defaults(run=run_keygen, models=None)

    signing = commands.add_parser("sign", parents=[shared], help="vouch for a version")
    signing.add_argument("version", metavar="VERSION")
    signing.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        default=os.environ.get(SIGNING_KEY),
        help=f"the private key (default: ${SIGNING_KEY})",
    )
    signing.set_defaults(run=run_sign)

    verifying = commands.add_parser(
        "verify", parents=[shared], help="check a version whole: signature, hashes, contents, and a trial"
    )
    verifying.add_argument("version", metavar="VERSION")
    verifying.add_argument(
        "--public-keys",
        metavar="FILES",
        default=os.environ.get(PUBLIC_KEYS),
        help=f"who may vouch for it, separated by commas (default: ${PUBLIC_KEYS})",
    )
    _as_served(verifying, "engine", EngineChoice, AUTO, f"runtime that the version is tried with: {engines}")
    verifying.set_defaults(run=run_verify)

    shadowing = commands.add_parser(
        "shadow", parents=[shared], help="let a version score a share of the frames beside the active one"
    )
    which = shadowing.add_mutually_exclusive_group(required=True)
    which.add_argument("version", metavar="VERSION", nargs="?")
    which.add_argument("--off", action="store_true", help="let nothing shadow any more")
    shadowing.add_argument("--share", type=_share, default=0.1, help="above 0, at most 1 (default: %(default)s)")
    shadowing.set_defaults(run=run_shadow)
    return top


def _as_served(command: argparse.ArgumentParser, name: str, kind: Any, default: object, what: str) -> None:
    """A flag for one of the server's settings. Its default is the server's variable: what a command says of an image is
    what the server would say in the same environment. kind: of `model.choices`.
    """
    variable = f"STEELSIGHT_{name.upper()}"
    accepted: TypeAdapter[Any] = TypeAdapter(kind)

    def value(given: str) -> Any:
        try:
            return accepted.validate_python(given)
        except ValidationError as error:
            expected = error.errors()[0]["msg"]
            raise argparse.ArgumentTypeError(
                f"received {given!r}, from the flag or {variable}; {expected[0].lower()}{expected[1:]}"
            ) from None

    command.add_argument(
        f"--{name.replace('_', '-')}",
        type=value,
        default=os.environ.get(variable) or default,
        metavar=name.rpartition("_")[2].upper(),
        help=f"{what} (default: ${variable}, else {default or 'as published'})",
    )


def run_inspect(arguments: argparse.Namespace) -> int:
    """Print one JSON line per image: `file`, and what the server answers for it.

    An image that is refused gets a line with `error`, `code` and `detail` as in a problem document, and the rest go on.
    """
    registry = Registry(arguments.models)
    version = arguments.version
    if version == "active":
        version = registry.require_active()
    limits = Limits(arguments.max_pixels, arguments.min_side)
    inspector = Inspector.load(registry, version, arguments.engine, stride=arguments.stride, limits=limits)
    exit_code = EXIT_DONE
    for path in arguments.images:
        try:
            line = {"file": str(path)} | told(inspector, inspector.inspect(decode(path.read_bytes(), limits)))
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
    """One line per version: name, when it was made, and AUROC with interval: on test groups, or of the recipe.

    A damaged version, or an active one that is gone, has its line on stderr and exit code 1: nobody can serve it.
    """
    registry = Registry(arguments.models)
    active, versions = registry.active(), registry.versions()
    exit_code = EXIT_DONE
    for version in versions:
        mark = "*" if version == active else " "
        try:
            manifest = registry.manifest(version)
        except SteelsightError as error:
            exit_code = EXIT_FAULT
            print(f"{mark} {version}  damaged")
            print(f"error: {error.message}", file=sys.stderr)
        else:
            print(f"{mark} {version}  {manifest.created_at:%Y-%m-%d %H:%M}  {_auroc(manifest)}")
    if active is not None and active not in versions:
        exit_code = EXIT_FAULT
        print(
            f"error: the active version {active} is not in {arguments.models}; put its folder back, or use `rollback` "
            "or `activate VERSION`",
            file=sys.stderr,
        )
    elif not versions:
        print(f"no versions in {arguments.models}; train one with `python -m training train DATA`", file=sys.stderr)
    return exit_code


def run_activate(arguments: argparse.Namespace) -> int:
    """Make VERSION active."""
    Registry(arguments.models).activate(arguments.version)
    print(f"active: {arguments.version}")
    return EXIT_DONE


def run_rollback(arguments: argparse.Namespace) -> int:
    """Make the version before the active one active."""
    change = Registry(arguments.models).rollback()
    print(f"active: {change.active}")
    if change.skipped:
        print(f"skipped: {', '.join(change.skipped)}, not in {arguments.models} any more", file=sys.stderr)
    return EXIT_DONE


def run_keygen(arguments: argparse.Namespace) -> int:
    """Write a private key, and its public key beside it."""
    public = keygen(arguments.file)
    print(f"key {key_id(public)}: private {arguments.file}, public {public_path(arguments.file)}")
    return EXIT_DONE


def run_sign(arguments: argparse.Namespace) -> int:
    """Vouch for VERSION: only for one whose files are those of its manifest."""
    if arguments.key is None:
        print(f"error: name the private key with --key FILE, or in {SIGNING_KEY}", file=sys.stderr)
        return EXIT_USAGE
    key = signing_key(Path(arguments.key))
    folder = Registry(arguments.models, keys=()).folder(arguments.version)
    content = manifest_bytes(folder)
    verify(folder)
    print(f"signed: {arguments.version} by {key_id(sign(folder, content, key))}")
    return EXIT_DONE


def run_verify(arguments: argparse.Namespace) -> int:
    """Say what holds of VERSION."""
    registry = Registry(arguments.models, public_keys(arguments.public_keys))
    manifest = registry.verified(arguments.version)
    signed = (registry.folder(arguments.version) / SIGNATURE).exists()
    passed = trial.require(registry, arguments.version, precision.chosen(arguments.engine, manifest))
    unchecked = "signed, but no public key is configured to check it by" if signed else "not signed"
    print(f"{arguments.version}: {len(manifest.files)} files as published")
    print(f"signature: {'of a trusted key' if registry.keys else unchecked}")
    print(f"trial: passed, {'scores as recorded' if passed.known else 'no scores recorded to compare with'}")
    print(f"confined by: {', '.join(passed.confined)}")
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
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our lines has seen enough, as `head` does; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAULT
    except OSError as error:
        where = arguments.models or arguments.file.parent
        print(f"error: {error}; check that the folder {where} can be read and written", file=sys.stderr)
        return EXIT_FAULT
    return exit_code
