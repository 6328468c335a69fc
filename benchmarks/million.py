"""Every question to a record of a million inspections, over HTTP: median, 95th percentile, and what is over the bound.

    python -m benchmarks.million [--models DIR] [--folder DIR] [--inspections N] [--rounds N]

`benchmarks.plant` writes the record, in one or two minutes: into DIR, where it is kept and asked again for a day, or
into a folder that goes at the end. A server with one worker answers one client. Each round asks every question once,
in another order and for other coils, times and limits than the round before; the first round is not counted. What is
asked page by page goes on from page to page; a coil is asked for twice, first as if nobody had looked at it. All of
it on a quiet line, and again while frames come in, whose every commit empties the database's own caches; then a few
rounds with nothing of the file in memory. About ten minutes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import func, select

from app.plant import load_plant
from app.store import runs
from app.store.database import SQLITE_FILE, Database, open_database, sqlite_url
from app.store.inserting import now
from app.store.migrate import migrate
from app.store.schema import coils, events, images, inspections
from benchmarks.asking import Answers, Export, Seen, asked, exported, forgetting, running_line
from benchmarks.figures import keep_figures
from benchmarks.machine import Machine, measure
from benchmarks.plant import LARGEST, PLANT_FILE, Version, write_plant
from benchmarks.questions import ONCE_MORE, known
from benchmarks.serving import ROOT, Server, requests_of, served
from model.registry import Registry, models_folder

BOUND_MS = 200
ROUNDS = 50
COLD_ROUNDS = 3
# Of all cameras together, while the line runs; of one megapixel each.
FRAMES_PER_SECOND = 4
# A camera that was silent for longer is none of the line any more.
USED_AGAIN = timedelta(hours=20)
SETTLED_WITHIN_S = 120


def exports(server: Server, database: Database) -> list[Export]:
    with database.reading() as connection:
        total = connection.execute(select(func.count()).select_from(inspections)).scalar_one()
        of_coil = select(func.count()).join_from(inspections, coils).where(coils.c.coil_id == LARGEST)
        largest = connection.execute(of_coil).scalar_one()
    path = "/v1/inspections/export?format="
    return [
        exported(server, f"CSV of {LARGEST}", f"{path}csv&coil_id={LARGEST}", largest),
        exported(server, f"Parquet of {LARGEST}", f"{path}parquet&coil_id={LARGEST}", largest),
        exported(server, "CSV of the whole record", f"{path}csv", total),
    ]


def table(quiet: Answers, busy: Answers) -> list[str]:
    """The answers as Markdown, by room; beyond the bound in bold."""
    lines: list[str] = []
    room = ""
    for (of, name), seen in quiet.items():
        if of != room:
            room = of
            lines += ["", f"| {room}, ms | median | p95 | most | running line: median | p95 | most |"]
            lines.append("|---|---|---|---|---|---|---|")
        cells = [_ms(each, share) for each in (seen, busy[of, name]) for share in (0.5, 0.95, 1.0)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _ms(seen: Seen, share: float) -> str:
    value = seen.quantile(share)
    written = f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
    return f"**{written}**" if value > BOUND_MS else written


def _memory_bytes() -> int:
    first = Path("/proc/meminfo").read_text().splitlines()[0]
    return int(first.split()[1]) * 1024


def filled(folder: Path, total: int, serving: Version) -> Database:
    """The database in the folder, with so many inspections, the latest less than a day old."""
    folder.mkdir(parents=True, exist_ok=True)
    database = open_database(sqlite_url((folder / SQLITE_FILE).absolute()))
    migrate(database)
    with database.reading() as connection:
        counted, latest = connection.execute(select(func.count(), func.max(inspections.c.received_at))).one()
    if not counted:
        write_plant(database, folder / "archive", total, now(), serving)
        (folder / "plant.toml").write_text(PLANT_FILE)
    elif counted < total or latest < now() - USED_AGAIN:
        raise SystemExit(f"{folder} holds {counted:,} inspections until {latest:%Y-%m-%d %H:%M}; name an empty folder")
    return database


def settle(database: Database, plant: Path) -> None:
    """Wait until the server has kept the runs of all closed coils, which it does in its first minute."""
    tolerance_mm = load_plant(plant).coverage.tolerance_mm
    for _ in range(SETTLED_WITHIN_S):
        with database.reading() as connection:
            if not runs.unkept(connection, tolerance_mm, 1):
                return
        time.sleep(1)
    raise SystemExit(f"after {SETTLED_WITHIN_S} s closed coils are there whose runs are not kept")


def sizes(database: Database, folder: Path) -> dict[str, int]:
    """How much there is."""
    with database.reading() as connection:
        count = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (inspections, events, images, coils)
        }
    return {**count, "bytes": (folder / SQLITE_FILE).stat().st_size}


def report(
    machine: Machine, size: dict[str, int], quiet: Answers, busy: Answers, cold: Answers, files: Sequence[Export]
) -> str:
    """The figures as Markdown."""
    listed = [seen for answers in (quiet, busy) for seen in answers.values()]
    requests = sum(len(seen.milliseconds) for seen in listed)
    memory = _memory_bytes()
    from_disk = [value for (room, _), seen in cold.items() if room != ONCE_MORE for value in seen.milliseconds]
    slowest = max(cold, key=lambda key: cold[key].quantile(1))
    lines = [
        f"{machine.cores} cores of {machine.processor}, float32 matrix multiply {machine.gflops:.0f} GFLOP/s",
        "",
        f"{size['inspections']:,} inspections of {size['coils']} coils, {size['events']:,} events, {size['images']:,} "
        f"images on record: a file of {size['bytes'] / 1e6:,.0f} MB, {size['bytes'] / size['inspections']:,.0f} bytes "
        f"for each inspection. {'It fits' if size['bytes'] < memory / 2 else 'It does not fit'} into the machine's "
        f"{memory / 1e9:,.0f} GB of memory. {requests:,} requests, each question at least "
        f"{min(len(seen.milliseconds) for seen in listed)} times; the running line sends {FRAMES_PER_SECOND} frames of "
        f"a megapixel a second. {sum(seen.short for seen in listed)} pages of inspections came before they were full, "
        "for what they want is rare and no index lists it.",
        *table(quiet, busy),
        "",
        f"With nothing of the file in memory: median {statistics.median(from_disk):,.0f} ms, 95 % within "
        f"{np.quantile(from_disk, 0.95):,.0f} ms, at most {max(from_disk):,.0f} ms ({slowest[0]}: {slowest[1]}).",
        "",
        "| exports | rows | MB | seconds | rows/s | memory of the worker before, MB | at its highest |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {each.name} | {each.rows:,} | {each.megabytes:,.1f} | {each.seconds:.1f} | "
            f"{each.rows / each.seconds:,.0f} | {each.before_mb:.0f} | {each.highest_mb:.0f} |"
            for each in files
        ),
        "",
        f"Over {BOUND_MS} ms (p95) on a quiet line: {over(quiet)}; on a running one: {over(busy)}.",
    ]
    return "\n".join(lines)


def over(answers: Answers) -> str:
    """Questions beyond the bound."""
    slow = [f"{room}: {name}" for (room, name), seen in answers.items() if seen.quantile(0.95) > BOUND_MS]
    return ", ".join(slow) or "none"


def main() -> None:
    """Measure, print, write JSON beside the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the record is, or shall be kept")
    parser.add_argument("--inspections", type=int, default=1_000_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="after one to warm up (default: %(default)s)")
    arguments = parser.parse_args()

    registry = Registry(arguments.models)
    version = registry.require_active()
    thresholds = registry.manifest(version).thresholds
    machine = measure()
    with ExitStack() as held:
        folder = arguments.folder or Path(held.enter_context(tempfile.TemporaryDirectory()))
        serving = Version(version, thresholds.review, thresholds.defect)
        database = filled(folder, arguments.inspections, serving)
        size, have = sizes(database, folder), known(database, folder / "archive")
        requests = requests_of(registry.manifest(version).network.input_size, folder)
        home = str(folder.absolute())
        server = held.enter_context(served(ROOT, arguments.models, requests["raw"], STEELSIGHT_HOME=home))
        settle(database, folder / "plant.toml")
        quiet = asked(server, have, arguments.rounds)
        with running_line(server, requests["overload"], FRAMES_PER_SECOND):
            busy = asked(server, have, arguments.rounds)
            with forgetting(folder / SQLITE_FILE) as forget:
                cold = asked(server, have, COLD_ROUNDS, before_each=forget)
        files = exports(server, database)
    print(report(machine, size, quiet, busy, cold, files))
    results = {
        "version": version,
        "machine": asdict(machine),
        "size": size,
        **{
            line: {f"{room}: {name}": asdict(seen) for (room, name), seen in answers.items()}
            for line, answers in (("quiet", quiet), ("running", busy), ("from_disk", cold))
        },
        "exports": [asdict(each) for each in files],
    }
    keep_figures(arguments.models, "million", results)


if __name__ == "__main__":
    main()
