"""Does the time of a refusal tell how wrong a key was? Welch's t between kinds of wrong keys.

    python -m benchmarks.key_timing [--samples N] [--keys N] [--http N] [--json FILE]

The gate itself is timed, in this process, call by call: from a request's headers to the refusal. There no network blurs
a difference that an attacker could average out of it. The kinds take turns in an order drawn at random, so that what
else the machine does meets all of them alike. Each key is drawn from many of its kind before anything is timed:

- nearly: the id of a key that there is, and its secret but for the last digit
- wrong secret: such an id, and a secret of which no digit is right
- unknown id: one that there is not, and such a secret

Every key takes its turn, and there are as many unknown ids as known ones: what is asked often is found faster, whatever
it is, because it lies in the processor's cache.

Of each two kinds Welch's t is told twice: of all samples, and of those below the 90th percentile of all kinds together,
as a few that the system interrupted would else hide a difference. |t| of 4.5 is where one is taken for proven
(Reparaz, Balasch, Verbauwhede: dude, is my code constant time? 2017). The exit code is 1 if any reaches it.

--http times that many whole requests of each kind over one connection to a server of its own on loopback as well.
"""

import argparse
import gc
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from app.access.gate import Gate
from app.access.keys import Keys, create_key
from app.access.principal import Scope
from app.access.rates import Rates
from app.refusals import Refusal

PROVEN = 4.5
CROPPED_AT = 0.9
# Of each kind, so that no one token's own digits are what is measured.
TOKENS = 256
WARM_UP = 2000
SECRET = slice(-64, None)

Samples = dict[str, np.ndarray]


def main() -> int:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000, metavar="N", help="of each kind (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=20, metavar="N", help="that there are (default: %(default)s)")
    parser.add_argument("--http", type=int, default=0, metavar="N", help="requests of each kind, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()

    figures = {"samples": arguments.samples, "keys": arguments.keys}
    with TemporaryDirectory() as folder:
        home = Path(folder)
        made = [create_key(home, f"key-{number}", [Scope.READ])[1] for number in range(arguments.keys)]
        kinds = wrong_keys(made)
        print(f"the gate, in process: {arguments.samples} samples of each kind, {arguments.keys} keys\n")
        figures["gate"] = compared(in_process(home, kinds, arguments.samples))
        if arguments.http:
            print(f"\nHTTP over loopback, one connection: {arguments.http} requests of each kind\n")
            with server(home) as port:
                figures["http"] = compared(over_http(port, kinds, arguments.http))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    found = [pair for part in ("gate", "http") for pair in figures.get(part, {}).get("pairs", [])]
    return int(any(max(abs(pair["t"]), abs(pair["t_cropped"])) >= PROVEN for pair in found))


def wrong_keys(made: list[str]) -> dict[str, list[bytes]]:
    """Tokens of each kind, in turn of every key: as many ids that there are not as there are ids."""

    def other(digit: str) -> str:
        return secrets.choice([each for each in "0123456789abcdef" if each != digit])

    unknown = [f"sk_{secrets.token_hex(8)}_" for _ in made]
    kinds: dict[str, list[bytes]] = {"nearly": [], "wrong secret": [], "unknown id": []}
    for number in range(TOKENS):
        token = made[number % len(made)]
        known, secret = token[: SECRET.start], token[SECRET]
        wrong = "".join(map(other, secret))
        kinds["nearly"].append((known + secret[:-1] + other(secret[-1])).encode())
        kinds["wrong secret"].append((known + wrong).encode())
        kinds["unknown id"].append((unknown[number % len(made)] + wrong).encode())
    return kinds


def in_process(home: Path, kinds: dict[str, list[bytes]], samples: int) -> Samples:
    """Nanoseconds of each refusal by the gate."""
    gate = Gate("keys", "127.0.0.1", [Keys(home)], Rates(0))
    gate.refresh()

    def refuse(token: bytes) -> int:
        headers = [(b"host", b"line"), (b"content-type", b"image/png"), (b"authorization", b"Bearer " + token)]
        begun = time.perf_counter_ns()
        try:
            gate.admit(headers, Scope.READ)
        except Refusal:
            return time.perf_counter_ns() - begun
        raise SystemExit("a wrong key was let in")

    return taken_in_turns(refuse, kinds, samples)


def over_http(port: int, kinds: dict[str, list[bytes]], samples: int) -> Samples:
    """Nanoseconds from the request's last byte sent to the first of the answer."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def refuse(token: bytes) -> int:
            request = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + b"\r\n\r\n"
            begun = time.perf_counter_ns()
            connection.sendall(request)
            answer = connection.recv(65536)
            took = time.perf_counter_ns() - begun
            if not answer.startswith(b"HTTP/1.1 401 "):
                raise SystemExit(f"the server answered {answer[:80]!r}")
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            return took

        return taken_in_turns(refuse, kinds, samples)


def taken_in_turns(refuse: Callable[[bytes], int], kinds: dict[str, list[bytes]], samples: int) -> Samples:
    """`samples` of each kind, in an order drawn at random."""
    rng = np.random.default_rng()
    order = rng.permutation(np.repeat(np.arange(len(kinds)), samples))
    tokens = list(kinds.values())
    asked = [tokens[kind][number] for kind, number in zip(order, rng.integers(0, TOKENS, len(order)), strict=True)]
    for token in asked[:WARM_UP]:
        refuse(token)
    gc.collect()
    gc.disable()
    try:
        took = np.array([refuse(token) for token in asked], dtype=np.float64)
    finally:
        gc.enable()
    return {name: took[order == number] for number, name in enumerate(kinds)}


def compared(samples: Samples) -> dict[str, list[dict[str, float | str]]]:
    """The figures of each kind and of each two; prints both tables."""
    print("| kind | median ns | mean ns | mean below the 90th percentile |\n|---|---|---|---|")
    bound = np.quantile(np.concatenate(list(samples.values())), CROPPED_AT)
    cropped = {name: each[each < bound] for name, each in samples.items()}
    kinds: list[dict[str, float | str]] = []
    for name, each in samples.items():
        figures = {"median_ns": np.median(each), "mean_ns": each.mean(), "cropped_mean_ns": cropped[name].mean()}
        kinds.append({"kind": name, **{figure: float(value) for figure, value in figures.items()}})
        print(f"| {name} | {np.median(each):.0f} | {each.mean():.0f} | {cropped[name].mean():.1f} |")
    print(f"\n| | t of all | t below the 90th percentile | below {PROVEN} |\n|---|---|---|---|")
    pairs: list[dict[str, float | str]] = []
    for one, two in combinations(samples, 2):
        whole, short = welch(samples[one], samples[two]), welch(cropped[one], cropped[two])
        pairs.append({"kinds": f"{one} - {two}", "t": whole, "t_cropped": short})
        held = "yes" if max(abs(whole), abs(short)) < PROVEN else "no"
        print(f"| {one} - {two} | {whole:+.2f} | {short:+.2f} | {held} |", flush=True)
    return {"kinds": kinds, "pairs": pairs}


def welch(one: np.ndarray, two: np.ndarray) -> float:
    """Welch's t: the difference of the means in units of its own standard deviation.

    >>> round(welch(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])), 3)
    -1.225
    """
    spread = one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two)
    return float((one.mean() - two.mean()) / np.sqrt(spread))


@contextmanager
def server(home: Path) -> Iterator[int]:
    """A server on the data root; its port."""
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    environment = {"PATH": "/usr/bin:/bin", "STEELSIGHT_HOME": str(home), "STEELSIGHT_LOG_LEVEL": "error"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            port = int(process.stderr.readline().rpartition(":")[2].partition("/")[0])
            deadline = time.monotonic() + 60
            while not _answers(port):
                if time.monotonic() > deadline:
                    raise SystemExit("the server does not answer")
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
