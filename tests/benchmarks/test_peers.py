"""The comparison with other servers: what it would install and start, and what it makes of the figures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.document import replace_section, write_section
from benchmarks.machine import Machine
from benchmarks.peers.contenders import Contender, Setting, contenders
from benchmarks.peers.environments import REQUIREMENTS
from benchmarks.peers.measuring import Measured
from benchmarks.peers.report import Run, figures, plot, table

ROOT = Path(__file__).parents[2]
# A process of its own: whoever runs a peer ends all that it has started, and here that would be the other tests'.
ONE_ROUND = """
import json, sys
from pathlib import Path
import numpy as np
from benchmarks.peers.contenders import Contender, Setting
from benchmarks.peers.measuring import Measured, Tiles, one_round

here, starts, failing = sys.argv[1:]
setting = Setting("as it is", {"PYTHONPATH": here, "FALTERS_IN": starts, "FALTERS": failing})
server = Contender("Faltering", "faltering", "none.txt", "faltering", "/", (setting,))
entry = Measured(server, Path(sys.prefix), chosen={1: setting, 2: setting})
one_round(entry, Path("model.onnx"), Tiles([bytes(16)] * 3, np.full(3, 0.25)), [1, 2], 0.2)
print(json.dumps([entry.reason, {number: len(rounds) for number, rounds in entry.rounds.items()}]))
"""
EVERYONE = contenders(Path("models"), ["onnx", "auto"])
PEERS = [one for one in EVERYONE if not one.ours]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_pinned_whole_and_no_address_is_named(peer: Contender) -> None:
    lines = (REQUIREMENTS / str(peer.requirements)).read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins[str(peer.distribution)]
    assert not [line for line in lines if "://" in line]


def test_all_peers_run_the_same_onnx_runtime() -> None:
    found = {
        line
        for peer in PEERS
        for line in (REQUIREMENTS / str(peer.requirements)).read_text().splitlines()
        if line.startswith("onnxruntime==")
    }
    assert len(found) == 1


@pytest.mark.parametrize("one", EVERYONE, ids=lambda one: one.name)
def test_the_settings_that_are_tried_differ_in_what_they_say_and_in_what_they_do(one: Contender) -> None:
    assert len({setting.label for setting in one.settings}) == len(one.settings)
    assert len({tuple(sorted(setting.environment.items())) for setting in one.settings}) == len(one.settings)


def test_a_request_says_how_long_the_tile_is_and_ends_with_it() -> None:
    tile = np.arange(256, dtype=np.uint8).tobytes()
    for one in EVERYONE:
        head, _, body = one.request(tile).partition(b"\r\n\r\n")
        assert body == tile
        assert head.startswith(f"POST {one.path} HTTP/1.1\r\n".encode())
        assert b"Content-Length: 256" in head


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("PyTriton", b'{"outputs":[]}\x00\x00\x80\x3e'),
        ("BentoML", b"[0.25]"),
        ("LitServe", b'{"defect_probability":0.25}'),
    ],
)
def test_each_form_of_answer_is_understood(name: str, body: bytes) -> None:
    (one,) = (one for one in EVERYONE if one.name == name)
    assert one.probability(body) == 0.25


def test_a_ratio_is_taken_within_each_round() -> None:
    # The second round was slow for everybody: the ratio of the medians would be 1000 / 600.
    run = _run(
        _entry(EVERYONE[0], [1000, 300, 1200]), _entry(PEERS[0], [500, 150, 600]), _entry(PEERS[1], [10, 10, 10])
    )
    (ratio,) = figures(run)["ratios"]
    assert (ratio["best_peer"], ratio["per_second"]) == (PEERS[0].name, 2.0)


def test_who_was_not_measured_has_a_row_with_the_reason_and_no_ratio() -> None:
    refused = Measured(PEERS[1], reason="not installed: no such | thing")
    text = table(_run(_entry(EVERYONE[0], [100, 100, 100]), refused))
    assert f"| 8 | {PEERS[1].name} | not measured: not installed: no such   thing | | | | | |" in text
    assert figures(_run(_entry(EVERYONE[0], [100] * 3), refused))["ratios"] == []


@pytest.mark.parametrize(
    ("failing", "reason", "rounds"),
    [
        (0, "", {"1": 1, "2": 1}),
        (1, "", {"1": 1, "2": 1}),
        (2, "with as it is: it ended with 1: the port is in use", {}),
    ],
)
def test_a_server_that_fails_in_a_round_gets_one_more_try(
    failing: int, reason: str, rounds: dict[str, int], tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    starts.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ONE_ROUND, str(Path(__file__).parent), str(starts), str(failing)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [reason, rounds]
    assert done.stdout.count("Faltering failed with as it is") == failing
    assert len(list(starts.iterdir())) == min(failing + 1, 2)


def test_nobody_measured_still_makes_a_table_and_a_picture(tmp_path: Path) -> None:
    run = _run(Measured(EVERYONE[0], reason="it ended with 2"), Measured(PEERS[0], reason="it ended with 1"))
    plot(run, tmp_path / "peers.png")
    assert table(run).count("not measured") == 2
    assert (tmp_path / "peers.png").stat().st_size > 0


def test_a_section_is_replaced_and_the_hand_written_rest_stays(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("by hand\n<!-- peers: begin -->\n<!-- peers: end -->\nmore by hand\n")
    write_section(document, "peers", "first")
    write_section(document, "peers", "second")
    assert document.read_text() == "by hand\n<!-- peers: begin -->\nsecond\n<!-- peers: end -->\nmore by hand\n"


def test_a_section_that_was_never_there_is_added_and_half_of_one_is_refused() -> None:
    added = replace_section("by hand\n", "peers", "new")
    assert added == "by hand\n<!-- peers: begin -->\nnew\n<!-- peers: end -->\n"
    with pytest.raises(ValueError, match="no <!-- peers: end -->"):
        replace_section("<!-- peers: begin -->\nby hand", "peers", "new")


def _entry(one: Contender, rates: list[float]) -> Measured:
    setting: Setting = one.settings[0]
    rounds = {8: [{"per_second": rate, "p50_ms": 1.0, "p99_ms": 2.0} for rate in rates]}
    servers = {setting.label: [{"start_seconds": 1.0, "resident_mb": 100.0}] * len(rates)}
    return Measured(one, chosen={8: setting}, rounds=rounds, servers=servers)


def _run(*entries: Measured) -> Run:
    return Run(Machine("processor", 2, 100.0), "version", 3, 5.0, [8], entries)
