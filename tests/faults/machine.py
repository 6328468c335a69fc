"""The machine below a server: its wall clock, its fsync and the moment of its death, set while the server runs.

`machine.c` is compiled once and preloaded; what it reads is a page that both processes map.
"""

import errno
import mmap
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.left_out import left_out

SOURCE = Path(__file__).with_name("machine.c")
# As `struct page` in machine.c.
PAGE = struct.Struct("=qiii64s")
DEATHS = {"fsync": 1, "write": 2, "rename": 3}


@cache
def _library() -> Path:
    if shutil.which("gcc") is None:
        left_out("gcc is not installed: the faults of clock, fsync and power need it (apt install gcc libc6-dev)")
    built = Path(tempfile.mkdtemp(prefix="steelsight-machine-")) / "machine.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", built, SOURCE, "-ldl"], check=True)
    return built


class Machine:
    """What one server runs on. environment: to be given to it."""

    def __init__(self, folder: Path) -> None:
        page = folder / "machine.page"
        page.write_bytes(bytes(mmap.PAGESIZE))
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.environment = {"LD_PRELOAD": str(_library()), "MACHINE_PAGE": str(page)}

    def record(self, root: Path, log: Path) -> None:
        """Tell `log` of every change below `root`: see `power_cut`."""
        self.environment |= {"MACHINE_ROOT": str(root), "MACHINE_LOG": str(log)}

    @contextmanager
    def clock_off(self, seconds: float) -> Iterator[None]:
        """The wall clock jumps, and back."""
        self._set(clock_offset_s=seconds)
        yield
        self._set()

    @contextmanager
    def fsync_fails(self) -> Iterator[None]:
        """As of a disk that cannot write."""
        self._set(fsync_errno=errno.EIO)
        yield
        self._set()

    def die_at(self, kind: str, ending: str, call: int) -> None:
        """Kill a process before its n-th call of `DEATHS` on a file whose path ends so."""
        self._set(kind=DEATHS[kind], call=call, ending=ending)

    @property
    def died(self) -> bool:
        """Whether that call has come."""
        return PAGE.unpack_from(self._page)[3] <= 0

    def live(self) -> None:
        """Nobody is killed any more."""
        self._set()

    def _set(
        self, clock_offset_s: float = 0, fsync_errno: int = 0, kind: int = 0, call: int = 0, ending: str = ""
    ) -> None:
        PAGE.pack_into(self._page, 0, int(clock_offset_s * 1e9), fsync_errno, kind, call, ending.encode())
