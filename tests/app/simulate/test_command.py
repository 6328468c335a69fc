"""`simulate` as a command: wrong use, a folder of frames, what it prints, Ctrl-C."""

import argparse
import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.simulate.command import add_command
from tests.app.simulate.conftest import OK, Answer, Asked, Script, Scripted, scripted

ROOT = Path(__file__).parents[3]
SMALL = ["--width-px", "64", "--rows", "100", "--mm-per-pixel", "1", "--length-m", "2", "--faster", "--cameras", "1"]


def main(*argv: str) -> int:
    top = argparse.ArgumentParser()
    add_command(top.add_subparsers(required=True))
    arguments = top.parse_args(["simulate", *argv])
    code: int = arguments.run(arguments)
    return code


@contextmanager
def serving(script: Script) -> Iterator[Scripted]:
    """The scripted server in a thread of its own: the command has an event loop itself."""
    ready = threading.Event()
    loop, done = asyncio.new_event_loop(), asyncio.Event()
    box: list[Scripted] = []

    async def serve() -> None:
        async with scripted(script) as server:
            box.append(server)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield box[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize(
    "argv, told",
    [
        (["--speed-m-s", "0"], "--speed-m-s: received 0.0; expected 0.001 to 1000"),
        (["--length-m", "nan"], "--length-m: received nan"),
        (["--length-m", "1e300"], "--length-m: received 1e+300; expected 0.001 to 1e+06"),
        (["--length-m", "1e6", "--rows", "1"], "--length-m: the coil would take more than 1,000,000 frames"),
        (["--mm-per-pixel", "1e-300"], "--mm-per-pixel: received 1e-300"),
        (["--speed-m-s", "1e-300"], "--speed-m-s: received 1e-300"),
        (["--cameras", "9" * 400], "--cameras: received 9999"),
        (["--rows", "65536", "--width-px", "65536"], "this makes more than 134,217,728 pixels a frame"),
        (["--defects-per-100m", "inf"], "--defects-per-100m: received inf"),
        (["--defects-per-100m", "9999", "--length-m", "1e4"], "--defects-per-100m: received 9999; this makes 1,999,"),
        (
            ["--period-mm", "16", "--width-px", "16", "--mm-per-pixel", "1", "--length-m", "1e4"],
            "makes 624,992 defects",
        ),
        (["--patience-s", "inf"], "--patience-s: received inf"),
        (["--length-m", "0.01"], "top-1 would not take a single frame"),
        (["--cameras", "0"], "--cameras: received 0"),
        (["--cameras", "1", "--sides", "top,bottom"], "expected at least 2, one for each side"),
        (["--width-px", "4"], "--width-px: received 4; expected 16 to 65536"),
        (["--stop", "top-1:5"], "expected CAMERA:AT_S:FOR_S"),
        (["--stop", "left-1:5:5"], "the cameras are bottom-1, top-1"),
        (["--lose", "-1"], "--lose: received -1; expected 0 to 1e+06"),
        (["--lose", "100000"], "no camera has so many frames in a row"),
        (["--seed", "-1"], "--seed: received -1"),
        (["--period-at", "top-1:5"], "say at which interval with --period-mm"),
        (["--period-mm", "1885", "--period-at", "top-1"], "expected CAMERA:ACROSS_MM"),
        (["--url", "127.0.0.1:8000"], "--url: received '127.0.0.1:8000'"),
        (["--url", "http://"], "--url: received"),
        (["--folder", "/nowhere"], "--folder: /nowhere: No such file or directory"),
        (["--folder", "/nowhere", "--rows", "5"], "--rows is of a coil that is drawn"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(argv, told, capsys):
    assert main(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert told in err


def test_no_server_is_one_line_and_exit_1(capsys):
    assert main("--url", "http://127.0.0.1:9", *SMALL, "--json") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "start the server" in err


def test_words_and_one_line_of_json_last(capsys):
    verdicts = iter(["defect", "review"])

    def script(asked: Asked) -> Answer:
        return Answer(200, {"verdict": next(verdicts, "ok")})

    with serving(script) as server:
        planned = ["--period-mm", "500", "--stop", "top-1:0.5:0.1", "--lose", "2", "--defects-per-100m", "100"]
        assert main("--url", server.url, *SMALL, *planned, "--json") == 0
    *words, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    # 2 m at 2 m/s in frames of 50 ms.
    assert told["frames"] == {
        "planned": 20, "sent": 16, "ok": 14, "review": 1, "defect": 1, "refused": 0, "lost": 0, "retries": 0,
    }  # fmt: skip
    stopped = {"camera_id": "top-1", "side": "top", "why": "stopped", "first_sequence": 10, "last_sequence": 11,
               "frames": 2, "from_mm": 1000.0, "to_mm": 1200.0}  # fmt: skip
    assert stopped in told["gaps"]
    (lost,) = (gap for gap in told["gaps"] if gap["why"] == "lost")
    assert lost["frames"] == 2
    missing = {10, 11, lost["first_sequence"], lost["last_sequence"]}
    assert {int(asked.query["sequence"]) for asked in server.frames} == set(range(20)) - missing
    assert (told["period"]["interval_mm"], told["period"]["repeats"], told["period"]["camera_id"]) == (
        500.0,
        4,
        "top-1",
    )
    assert len([one for one in told["planted"] if not one["periodic"]]) == 2
    assert "14 ok, 1 review, 1 defect" in words[0]
    assert any(line.startswith("camera stopped: 2 frames of top-1, 10 to 11, 1 to 1.2 m") for line in words)
    assert any(line.startswith("lost on the way: 2 frames of top-1") for line in words)
    assert any("returns every 500 mm under top-1" in line for line in words)


def test_the_same_seed_is_the_same_coil():
    def played(seed: str) -> dict[str, bytes]:
        with serving(lambda asked: OK) as server:
            assert main("--url", server.url, *SMALL, "--seed", seed) == 0
        return {asked.query["sequence"]: asked.body for asked in server.frames}

    assert played("1") == played("1") != played("2")


@pytest.mark.parametrize("encoding, kind", [("raw", None), ("png", "PNG"), ("jpeg", "JPEG")])
def test_each_format_is_what_it_says(encoding, kind):
    with serving(lambda asked: OK) as server:
        assert main("--url", server.url, *SMALL, "--format", encoding) == 0
    for asked in server.frames:
        if kind is None:
            assert (asked.query["width"], asked.query["height"], asked.query["pixel_format"]) == ("64", "100", "Mono8")
            assert len(asked.body) == 6400
        else:
            with Image.open(io.BytesIO(asked.body)) as image:
                assert (image.format, image.size, image.mode) == (kind, (64, 100), "L")


def test_refused_frames_are_told_and_exit_1(capsys):
    with serving(lambda asked: Answer(422, {"code": "image_too_small"})) as server:
        assert main("--url", server.url, *SMALL) == 1
    assert "refused: 20 image_too_small" in capsys.readouterr().out


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for number, height in enumerate((100, 50, 30, 80)):
            grey = np.full((height, 40), 40 * number, np.uint8)
            Image.fromarray(grey).save(tmp_path / f"frame{number}.{'png' if number % 2 else 'bmp'}")
        (tmp_path / "notes.txt").write_text("not a frame")
        return tmp_path

    def played(self, folder: Path, *argv: str) -> list[tuple[str, str, float, bytes]]:
        with serving(lambda asked: OK) as server:
            common = ["--folder", str(folder), "--mm-per-pixel", "2", "--faster"]
            assert main("--url", server.url, *common, *argv) == 0
        return sorted(
            (each.query["camera_id"], each.query["sequence"], float(each.query["position_mm"]), each.body)
            for each in server.frames
        )

    def test_its_files_are_dealt_out_as_they_are(self, folder):
        bodies = [path.read_bytes() for path in sorted(folder.glob("frame*"))]
        assert self.played(folder) == [
            ("bottom-1", "0", 0.0, bodies[1]),
            ("bottom-1", "1", 100.0, bodies[3]),
            ("top-1", "0", 0.0, bodies[0]),
            ("top-1", "1", 200.0, bodies[2]),
        ]

    def test_they_come_again_until_the_coil_ends(self, folder):
        frames = self.played(folder, "--cameras", "1", "--length-m", "1.1")
        # 520 mm are all four; the third round's first would end at 1240 mm.
        assert [position for _, _, position, _ in frames] == [0, 200, 300, 360, 520, 720, 820, 880]
        assert [body for *_, body in frames[:4]] == [body for *_, body in frames[4:]]

    def test_too_few_files_none_too_many_times_and_one_that_is_none(self, folder, tmp_path_factory, capsys):
        assert main("--folder", str(folder), "--cameras", "5") == 2
        assert "has 4 frames to deal out" in capsys.readouterr().err
        assert main("--folder", str(tmp_path_factory.mktemp("empty"))) == 2
        assert "has no file that ends in .png" in capsys.readouterr().err
        assert main("--folder", str(folder), "--length-m", "1e6", "--mm-per-pixel", "0.001") == 2
        assert "more than 1,000,000 frames" in capsys.readouterr().err
        (folder / "frame9.png").write_bytes(b"\x89PNG and nothing else")
        assert main("--folder", str(folder)) == 2
        assert "frame9.png is no image" in capsys.readouterr().err


def test_ctrl_c_ends_at_once_with_what_there_is():
    reached = threading.Event()

    def noted(asked: Asked) -> Answer:
        if int(asked.query["sequence"]) >= 2:
            reached.set()
        return OK

    with serving(noted) as server:
        arguments: list[Any] = [
            "--width-px",
            "64",
            "--rows",
            "100",
            "--length-m",
            "1000",
            "--json",
            "--url",
            server.url,
        ]
        code = "import sys; from tests.app.simulate.test_command import main; sys.exit(main(*sys.argv[1:]))"
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert reached.wait(30)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == ""
    told = json.loads(out.splitlines()[-1])
    assert told["interrupted"]
    assert told["frames"]["sent"] >= 3
    assert "the coil is left open" in out


def test_on_a_terminal_one_line_tells_how_far_it_is():
    terminal, theirs = os.openpty()
    code = "import sys; from tests.app.simulate.test_command import main; sys.exit(main(*sys.argv[1:]))"
    paced = [argument for argument in SMALL if argument != "--faster"]
    with serving(lambda asked: OK) as server, os.fdopen(terminal, "rb") as watching:
        command = [sys.executable, "-c", code, "--url", server.url, *paced]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs) as process:
            os.close(theirs)
            seen = b""
            # Reading a terminal that nobody writes to any more is an error.
            with suppress(OSError):
                while block := watching.read1():
                    seen += block
    assert process.returncode == 0
    assert b"\n" not in seen
    *lines, last = seen.decode().split("\r\x1b[K")
    assert last == ""
    assert any(re.match(r"[01]\.[0-9] of 2 m, [0-9]+ frames, .* ok, 0 review, 0 defect", line) for line in lines)


def test_whoever_serves_does_not_load_what_draws_steel():
    loaded = "import sys, app.command, app.simulate.command"
    code = f"{loaded}; assert not {{'synthetic', 'app.simulate.session'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
