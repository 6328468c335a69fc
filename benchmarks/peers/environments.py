"""One virtual environment for each peer: their requirements exclude each other's, and ours."""

import hashlib
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
INSTALL_SECONDS = 1800


class NotInstalled(Exception):
    """A peer's environment cannot be made here; the message is the reason that pip gave."""


def environment(venvs: Path, requirements: str) -> Path:
    """The folder of the environment with exactly these requirements, made now unless it is there.

    Raises `NotInstalled`.
    """
    wanted = (REQUIREMENTS / requirements).read_bytes()
    key = hashlib.sha256(wanted + sys.version.encode()).hexdigest()[:12]
    venv = venvs / f"{Path(requirements).stem}-{key}"
    done = venv / "installed"
    if done.exists():
        return venv
    venvs.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(venv)])
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--requirement", str(REQUIREMENTS / requirements)])
    done.touch()
    return venv


def version(venv: Path, distribution: str) -> str:
    """Which version of it is installed there."""
    command = f"import importlib.metadata; print(importlib.metadata.version({distribution!r}))"
    done = subprocess.run([venv / "bin" / "python", "-c", command], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        errors = [line for line in lines if "error" in line.lower()]
        raise NotInstalled((errors or lines)[-1])
