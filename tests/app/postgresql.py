"""A PostgreSQL server of the tests' own: a folder, a socket in it, and no port."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.left_out import left_out

# Debian keeps the programs of each release in a folder of its own, off the path.
DEBIAN = Path("/usr/lib/postgresql")
# PostgreSQL refuses to run as root.
USER = "postgres"
# For tests alone: a crash of the machine may lose their databases.
FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=60"


def _program(name: str) -> str | None:
    newest_first = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: -float(path.parts[-3]))
    return str(newest_first[0]) if newest_first else shutil.which(name)


def installed() -> bool:
    """Whether this machine has its programs."""
    return _program("initdb") is not None


def skip_without_postgresql() -> None:
    """Skip where it is not installed; in CI that is a failure."""
    if not installed():
        left_out("PostgreSQL is not installed (apt install postgresql)")


def _as_user(*command: str) -> list[str]:
    return (
        ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
        if os.getuid() == 0
        else [*command]
    )


@contextmanager
def server(options: str = FAST) -> Iterator["Server"]:
    """Initialise and start it, stop and remove it."""
    # Not below pytest's own folder, which only the user that runs the tests may enter.
    home = Path(tempfile.mkdtemp(prefix="steelsight-pg-"))
    if os.getuid() == 0:
        shutil.chown(home, USER, USER)
    running = Server(home, options)
    try:
        running.control(
            "initdb", "--auth=trust", f"--username={USER}", "--no-sync", "--encoding=UTF8", f"--pgdata={running.data}"
        )
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


class Server:
    """One server: home holds its data and its socket."""

    def __init__(self, home: Path, options: str) -> None:
        self.home, self.data, self._options = home, home / "data", options

    def url(self, database: str = "postgres") -> str:
        """For `open_database`."""
        return f"postgresql://{USER}@/{database}?host={quote(str(self.home), safe='')}"

    def start(self) -> None:
        """As it was initialised, or stopped."""
        options = f"{self._options} -c listen_addresses= -c unix_socket_directories={self.home}"
        self.control(
            "pg_ctl",
            "start",
            "--wait",
            "--silent",
            f"--pgdata={self.data}",
            f"--log={self.home / 'log'}",
            f"--options={options}",
        )

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is as good as a crash."""
        if (self.data / "postmaster.pid").exists():
            self.control("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}", f"--pgdata={self.data}")

    def control(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs."""
        program = _program(name)
        assert program is not None
        with (self.home / "out").open("ab") as out:
            done = subprocess.run(
                _as_user(program, *arguments),
                cwd=self.home,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        assert done.returncode == 0, (self.home / "out").read_text()
