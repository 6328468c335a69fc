"""python -m app simulate: a synthetic coil, or a folder of frames, played to the API as the cameras of a line.

Exit code 0 every frame has a verdict, 1 one has none or the server cannot be played to, 2 wrong usage, 130 stopped
by Ctrl-C.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # argparse has no public name for what `add_subparsers` returns.
    from argparse import _SubParsersAction

EPILOG = """\
Sequence numbers count what the strip's movement calls for: a stopped camera leaves a gap in them, as lost frames do.
Example: a roll of 600 mm with a mark, a camera that stops for 12 s, three frames lost:
  python -m app simulate --period-mm 1885 --stop top-1:20:12 --lose 3
"""


def add_command(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `simulate` to the commands of `python -m app`."""
    simulate = commands.add_parser(
        "simulate",
        help="play a coil to the API, to try it on",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    simulate.add_argument("--url", default="http://127.0.0.1:8000", help="of the server (default: %(default)s)")
    simulate.add_argument("--coil", metavar="ID", help="its id (default: SIM- and the time)")
    simulate.add_argument("--cameras", type=int, default=2, metavar="N", help="on all sides (default: %(default)s)")
    simulate.add_argument("--sides", metavar="NAMES", help="default: top,bottom; of one camera: top")
    simulate.add_argument("--speed-m-s", type=float, default=2.0, metavar="V", help="default: %(default)s")
    simulate.add_argument(
        "--length-m", type=float, metavar="M", help="rounded down to whole frames (default: 100; a folder once)"
    )
    simulate.add_argument("--mm-per-pixel", type=float, default=0.5, metavar="MM", help="default: %(default)s")
    simulate.add_argument("--width-px", type=int, metavar="N", help="columns of a frame (default: 1024)")
    simulate.add_argument("--rows", type=int, metavar="N", help="of a frame (default: 512)")
    simulate.add_argument("--format", choices=("raw", "png", "jpeg"), help="of a frame (default: raw)")
    simulate.add_argument("--defects-per-100m", type=float, metavar="N", help="scattered on each side (default: 10)")
    simulate.add_argument("--period-mm", type=float, metavar="MM", help="a defect that returns at this interval")
    simulate.add_argument(
        "--period-at", metavar="CAMERA:MM", help="from the camera's first column (default: the middle of the first)"
    )
    simulate.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="CAMERA:AT_S:FOR_S",
        help="a camera that takes no frame for so long",
    )
    simulate.add_argument("--lose", type=int, default=0, metavar="N", help="frames in a row that are never sent")
    simulate.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    simulate.add_argument("--folder", type=Path, metavar="DIR", help="play its image files instead")
    simulate.add_argument("--faster", action="store_true", help="as fast as the server answers, not as the strip runs")
    simulate.add_argument(
        "--in-flight",
        type=int,
        default=1,
        metavar="N",
        help="frames of a camera at once; of several one may overtake another (default: %(default)s)",
    )
    simulate.add_argument(
        "--patience-s", type=float, default=30.0, metavar="S", help="a frame is tried so long (default: %(default)s)"
    )
    simulate.add_argument("--json", action="store_true", help="end with one line of JSON on standard output")
    simulate.set_defaults(run=run_simulate)


def run_simulate(arguments: argparse.Namespace) -> int:
    """Play the coil."""
    # What draws steel is loaded by this command alone: a server, which shares these arguments, never needs it.
    from app.simulate.session import run  # noqa: PLC0415

    return run(arguments)
