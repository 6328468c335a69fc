"""The commands of `python -m app`."""

import argparse
import os
import sys
from collections.abc import Sequence

from app.access import command as keys
from app.access import people_command as people
from app.backup import command as backup
from app.dashboard import command as dashboard
from app.lasting import lasting
from app.review import command as export
from app.settings import Settings, SettingsError, load
from app.simulate import command as simulate
from model.interrupt import EXIT_INTERRUPTED

EXIT_DONE, EXIT_FAULT, EXIT_USAGE = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """All commands of `python -m app`."""
    top = argparse.ArgumentParser(prog="python -m app", description="Serve verdicts on steel surfaces.")
    commands = top.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="the HTTP API",
        epilog="Every setting is also a STEELSIGHT_ variable; a flag wins. See docs/api.md.",
    )
    for name, metavar in {"host": "ADDRESS", "port": "N", "workers": "N", "models": "DIR"}.items():
        serve.add_argument(f"--{name}", metavar=metavar, help=Settings.model_fields[name].description)
    serve.set_defaults(run=run_serve)
    for room in (keys, people, dashboard, simulate, export, backup):
        room.add_command(commands)
    return top


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    # No other command needs what this brings.
    with lasting():
        from app.process import StartError, serve  # noqa: PLC0415

    flags = {name: getattr(arguments, name) for name in ("host", "port", "workers", "models")}
    try:
        settings = load(os.environ, flags)
    except SettingsError as error:
        return _fail(error, EXIT_USAGE)
    try:
        serve(settings)
    except StartError as error:
        return _fail(error, EXIT_FAULT)
    return EXIT_DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a failure is one line on stderr."""
    arguments = parser().parse_args(argv)
    try:
        exit_code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    return exit_code


def _fail(error: Exception, exit_code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return exit_code
