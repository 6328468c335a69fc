"""Every fault, three times each, as a table.

    python -m tests.faults [NAME ...] [--runs N] [--list] [--document]

NAME: a part of a fault's name. It needs root, gcc, PostgreSQL's programs, and 40 minutes on two cores.
"""

import argparse
import statistics
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks.document import write_section
from model.registry import Registry
from tests.conftest import TINY_NETWORK, TINY_VERSIONS, publish, seeded_model
from tests.faults.fault import Fault, Outcome, play
from tests.faults.registry import FAULTS

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def tiny_models(folder: Path) -> Path:
    """As the fixture of that name."""
    for seed, version in enumerate(TINY_VERSIONS, start=1):
        publish(folder, version, seeded_model(TINY_NETWORK, seed), TINY_NETWORK)
    Registry(folder).activate(TINY_VERSIONS[0])
    return folder


def row(fault: Fault, outcomes: list[Outcome], failures: list[str]) -> str:
    """One line of the table."""
    told = sorted({code for each in outcomes for code in each.told})
    said = ", ".join(f"`{code}`" if code.islower() else code for code in told) or "nothing"
    recovered = [each.recovered_s for each in outcomes]
    seconds = f"{statistics.median(recovered):.2f} | {max(recovered):.2f}" if recovered else "- | -"
    verdict = f"{len(outcomes)} of {len(outcomes) + len(failures)}"
    return f"| {fault.name} | {said} | {'yes' if fault.serves else 'no'} | {seconds} | {fault.within_s:g} | {verdict} |"


HEAD = [
    "| fault | cameras are told meanwhile | verdicts go on | recovered after, s: median | most | allowed | passed |",
    "|---|---|---|---|---|---|---|",
]


def main() -> None:
    """Play, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--runs", type=int, default=3, help="of each (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="the names")
    parser.add_argument("--document", action="store_true", help=f"write the table into {DOCUMENT.name}")
    arguments = parser.parse_args()
    chosen = [each for each in FAULTS if not arguments.names or any(part in each.name for part in arguments.names)]
    if arguments.list:
        print("\n".join(each.name for each in chosen))
        return
    lines, failed, began = [], 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        models = tiny_models(Path(folder) / "models")
        for fault in chosen:
            outcomes, failures = [], []
            for number in range(arguments.runs):
                try:
                    outcomes.append(play(fault, models, seed=number + 1))
                # Whatever it is, the table says so, and the other faults are played.
                except Exception as error:  # noqa: BLE001
                    failures.append(str(error))
                    print(f"{fault.name}, run {number + 1}: ", file=sys.stderr)
                    traceback.print_exc()
            lines.append(row(fault, outcomes, failures))
            failed += bool(failures)
            print(lines[-1], flush=True)
    minutes = (time.monotonic() - began) / 60
    summary = (
        f"{len(chosen) - failed} of {len(chosen)} faults passed, {arguments.runs} runs each: {minutes:.0f} minutes."
    )
    print(summary)
    if arguments.document:
        write_section(DOCUMENT, "faults", "\n".join([*HEAD, *lines, "", summary]))
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
