"""A real server process on a data root: started, killed, and started again on one port."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[2]
WITHIN_S = 180


class Server:
    """home: the data root. environment: beside settings. output: where its log goes, the file `log` unless given."""

    def __init__(
        self,
        home: Path,
        models: Path,
        log: Path,
        settings: Mapping[str, str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home, self.log = home, log
        self.output: int | None = None
        self._environment = {
            "PATH": os.environ["PATH"],
            "STEELSIGHT_HOME": str(home),
            "STEELSIGHT_PORT": "0",
            **({} if models == home / "models" else {"STEELSIGHT_MODELS": str(models)}),
            **{f"STEELSIGHT_{name.upper()}": value for name, value in settings.items()},
            **(environment or {}),
        }
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[int]:
        """Its worker processes, where it has several."""
        found = []
        for child in psutil.Process(self.pid).children():
            # One that was killed and not buried yet has no command line.
            with suppress(psutil.Error):
                found += [child.pid] if "spawn_main" in " ".join(child.cmdline()) else []
        return found

    def start(self) -> None:
        """Until it listens. Fails with what it says on stderr if it ends instead."""
        self.launch()
        assert self._process is not None and self._process.stderr is not None
        # A process that is told nothing more could still be killed before it says where it listens.
        told = self._process.stderr.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", told)
        assert found, told + self._process.stderr.read().decode()
        self.url = found[0]
        # The next one listens where the cameras send to.
        self._environment["STEELSIGHT_PORT"] = found[1]

    @contextmanager
    def started(self) -> Iterator[None]:
        """Started, and killed at the end if it runs still."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def launch(self) -> None:
        """Begin to start."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                cwd=ROOT,
                env=self._environment,
                stdout=log if self.output is None else self.output,
                stderr=subprocess.PIPE,
            )

    def command(self, *arguments: str) -> None:
        """`python -m app` with the same settings, to its end."""
        command = [sys.executable, "-m", "app", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def said(self, timeout_s: float = WITHIN_S) -> tuple[int, str]:
        """Of a server that ends by itself: its exit code, and what it said on stderr."""
        assert self._process is not None
        _, told = self._process.communicate(timeout=timeout_s)
        code, self._process = self._process.returncode, None
        return code, told.decode()

    def send(self, number: signal.Signals) -> None:
        """Send it one."""
        assert self._process is not None
        self._process.send_signal(number)

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None and self._process.stderr is not None
        code = self._process.wait(WITHIN_S)
        self._process.stderr.close()
        self._process = None
        return code

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Its exit code."""
        self.send(how)
        return self.ended()

    def stop(self) -> None:
        """Killed, if it runs still."""
        if self._process is not None:
            self.kill()

    def until_ready(self, within_s: float = WITHIN_S) -> None:
        """Wait until it has a model that serves."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=WITHIN_S).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not ready within {within_s} s: {self.log.read_text()[-2000:]}")


def full_pipe() -> tuple[int, int]:
    """A pipe into which nothing more goes: the end to read, and the end to write."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while select.select([], [writing], [], 0)[1]:
        os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    return reading, writing
