"""Broken and hostile files at a server that meanwhile inspects: what they are answered, how soon, and at whose cost.

    python -m benchmarks.hostile FOLDER [--models DIR] [--rounds N] [--rate N] [--share S]

FOLDER holds the files and `index.csv` (file, kind, expect, check). Every image is sent as a body, as a form and as a
batch, every form as it is, and every JSON file to a route that reads JSON, by a client of its own and one after the
other; four cameras send tiles at a steady rate before, meanwhile and after. Twice: at a share of that rate, which is
what the good tiles are held to, and as fast as they are answered. Half of the files are good enough to be inspected,
some of them larger than a thousand tiles: as fast as they are answered they keep one core busy by themselves, and what
that costs the tiles is the cost of a second line, told but not held to a bound. Exit code 1 where a bound is exceeded.
"""

import argparse
import csv
import math
import os
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil

from benchmarks.figures import keep_figures
from benchmarks.machine import measure
from benchmarks.serving import ROOT, Server, requests_of, served
from model.registry import Registry, models_folder

CONNECTIONS, ALONE_S, ALONE_TIMES = 4, 10.0, 2
# What is slower hangs.
WITHIN_S = 10.0
REFUSED_P99_MS, MORE_MEMORY_MB, GOOD_P99 = 250.0, 64.0, 1.2
# Memory is given back within so long.
SETTLE_S = 5.0
# Of the hostile client, beside the server and its cameras.
NICENESS = 10
HOST = "http://127.0.0.1"
URL = f"{HOST}/v1/inspect"
JSON_ROUTES = ("/v1/coils", "/v2/models/steelsight/infer", "/v1/sessions")


@dataclass
class Seen:
    """refused: ms of each 4xx. broken: what was answered 5xx, or not in time. unlike: what its label does not allow."""

    sent: int = 0
    refused: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


def requests(folder: Path) -> Iterator[tuple[dict[str, str], str, str, httpx.Request]]:
    """Row, form and what its answer is held to (`decode`, `4xx`, `either`), and the request."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        body = (folder / row["file"]).read_bytes()
        boundary = re.search(r"multipart/form-data; boundary=\S+", row["check"])
        if row["kind"].startswith("json-"):
            for url in JSON_ROUTES:
                headers = {"content-type": "application/json"}
                # What is valid JSON is no request of these routes.
                yield row, url, "either", httpx.Request("POST", f"{HOST}{url}", content=body, headers=headers)
        elif boundary:
            headers = {"content-type": boundary[0]}
            yield (
                row,
                "form",
                row["expect"],
                httpx.Request("POST", URL, content=body, headers=headers),
            )
        elif not row["kind"].startswith("http-raw"):
            headers = {"content-type": "image/png"}
            yield (
                row,
                "body",
                row["expect"],
                httpx.Request("POST", URL, content=body, headers=headers),
            )
            for form, url, expect in (("part", "/v1/inspect", row["expect"]), ("batch", "/v1/inspect/batch", "either")):
                yield row, form, expect, httpx.Request("POST", f"{HOST}{url}", files={"image": body})


def send_all(server: Server, folder: Path, rounds: int, rate: float = math.inf) -> Seen:
    """Every request, one after the other, in an order that mixes their kinds; rate: requests a second at most."""
    seen = Seen()
    began_all = time.perf_counter()
    with httpx.Client(timeout=WITHIN_S) as http:
        for _ in range(rounds):
            every = list(requests(folder))
            random.Random(0).shuffle(every)
            for row, form, expect, request in every:
                what = f"{row['file']} as {form}"
                time.sleep(max(0.0, began_all + seen.sent / rate - time.perf_counter()))
                request.url = request.url.copy_with(port=server.port)
                seen.sent += 1
                began = time.perf_counter()
                try:
                    status = http.send(request).status_code
                except httpx.HTTPError as error:
                    seen.broken.append(f"{what}: {type(error).__name__}")
                    continue
                took_ms = (time.perf_counter() - began) * 1e3
                seen.statuses[status] += 1
                if status >= 500:
                    seen.broken.append(f"{what}: {status}")
                elif status >= 400:
                    seen.refused.append(took_ms)
                if (expect == "decode" and status != 200) or (expect == "4xx" and not 400 <= status < 500):
                    seen.unlike.append(f"{what}, {expect}: {status}")
    seen.seconds = time.perf_counter() - began_all
    return seen


def step_back() -> None:
    """Whoever attacks does it with a processor of their own: this thread must not take the server's."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def memory_mb(server: Server) -> float:
    """Of the server and its children: resident, what they share counted once."""
    top = psutil.Process(server.pid)
    return sum(each.memory_full_info().pss for each in [top, *top.children(recursive=True)]) / 1e6


def main() -> None:
    """Measure, print, write JSON beside the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--rounds", type=int, default=1, help="of all files (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="tiles a second meanwhile (default: %(default)s)")
    parser.add_argument(
        "--share", type=float, default=0.1, help="of that rate, files that come beside it (default: %(default)s)"
    )
    arguments = parser.parse_args()
    machine = measure()
    registry = Registry(arguments.models)
    tile = registry.manifest(registry.require_active()).fitting.tile
    with tempfile.TemporaryDirectory() as folder:
        tiles = requests_of(tile, Path(folder))["raw"]
        with served(ROOT, arguments.models, tiles) as server, ThreadPoolExecutor(1, initializer=step_back) as hostile:

            def meanwhile(rate: float) -> tuple[Seen, float]:
                """What became of the files, and the good tiles' p99 while they were sent: of ten seconds each, the
                median.
                """
                sending = hostile.submit(send_all, server, arguments.folder, arguments.rounds, rate)
                good = []
                while not sending.done():
                    good.append(server.load(tiles, CONNECTIONS, ALONE_S, arguments.rate)["p99_ms"])
                return sending.result(), float(np.median(good))

            def alone() -> list[float]:
                return [server.load(tiles, CONNECTIONS, ALONE_S, arguments.rate)["p99_ms"] for _ in range(ALONE_TIMES)]

            # The first files warm the decoders, as the first frames of a line do.
            hostile.submit(send_all, server, arguments.folder, 1).result()
            without_ms = alone()
            before_mb = memory_mb(server)
            paced, paced_p99_ms = meanwhile(arguments.rate * arguments.share)
            without_ms += alone()
            flood, flood_p99_ms = meanwhile(math.inf)
            without_ms += alone()
            time.sleep(SETTLE_S)
            more_mb = memory_mb(server) - before_mb
    broken, unlike = paced.broken + flood.broken, paced.unlike + flood.unlike
    statuses = paced.statuses + flood.statuses
    refused_ms = float(np.quantile(paced.refused + flood.refused, 0.99))
    alone_ms = float(np.median(without_ms))
    ratio, flood_ratio = paced_p99_ms / alone_ms, flood_p99_ms / alone_ms
    figures = {
        "sent": statuses.total(), "broken": broken, "unlike": unlike, "refused_p99_ms": refused_ms,
        "more_memory_mb": more_mb, "good_p99_ratio": ratio, "good_p99_ratio_flood": flood_ratio,
        "flood_per_second": flood.sent / flood.seconds, "alone_p99_ms": without_ms,
    }  # fmt: skip
    told = ", ".join(f"{number:,} x {status}" for status, number in sorted(statuses.items()))
    print(
        f"{machine.cores} cores of {machine.processor}, float32 matrix multiply {machine.gflops:.0f} GFLOP/s; "
        f"{arguments.rate:g} tiles a second over {CONNECTIONS} connections meanwhile, p99 {alone_ms:.1f} ms by "
        "themselves\n\n"
        "| | found | bound |\n|---|---|---|\n"
        f"| requests | {statuses.total():,}: {told} | |\n"
        f"| answered 5xx, or not within {WITHIN_S:g} s | {len(broken)} | 0 |\n"
        f"| answered otherwise than their label says | {len(unlike)} | 0 |\n"
        f"| refused, p99 | {refused_ms:.0f} ms | {REFUSED_P99_MS:g} ms |\n"
        f"| memory, {SETTLE_S:g} s after the last | {more_mb:+.0f} MB | {MORE_MEMORY_MB:+.0f} MB |\n"
        f"| good tiles, p99 while {paced.sent / paced.seconds:.0f} files a second come, beside p99 without | "
        f"{ratio:.2f} | {GOOD_P99:g} |\n"
        f"| the same while {flood.sent / flood.seconds:.0f} files a second come, as fast as they are answered | "
        f"{flood_ratio:.2f} | |"
    )
    for each in broken + unlike:
        print(f"- {each}")
    keep_figures(arguments.models, "hostile", figures)
    kept = not broken and not unlike and refused_ms <= REFUSED_P99_MS and more_mb <= MORE_MEMORY_MB
    raise SystemExit(0 if kept and ratio <= GOOD_P99 else 1)


if __name__ == "__main__":
    main()
