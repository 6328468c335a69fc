"""python -m supply.sbom DIR: what a release is made of, as CycloneDX documents, one for each lock file.

Packages with versions, package URLs and hashes, from the lock files that containers are built of; and of what is
installed here, with licences, from the environment. Each is validated against the schema and held against its lock
file. Takes about a minute.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = {"serve": "requirements-serve.lock", "gpu": "requirements-gpu.lock", "development": "requirements.lock"}
ABOUT = ["--pyproject", str(ROOT / "pyproject.toml"), "--of", "JSON", "--output-reproducible", "--validate"]


def locked(lock: str) -> dict[str, str]:
    """Package -> version of a lock file; names in small letters."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {name.lower(): version for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", text, re.MULTILINE)}


def main() -> int:
    """Write all of them; 1 if one does not list what its lock file does."""
    if len(sys.argv) != 2:
        print("usage: python -m supply.sbom DIR", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, lock in LOCKS.items():
        path = _written(folder, name, ["requirements", *ABOUT, str(ROOT / lock)])
        listed = {each["name"].lower(): each["version"] for each in json.loads(path.read_text())["components"]}
        if listed != locked(lock):
            print(f"error: {path} does not list what {lock} does: {set(listed.items()) ^ set(locked(lock).items())}")
            return 1
    _written(folder, "installed", ["environment", *ABOUT, sys.executable])
    return 0


def _written(folder: Path, name: str, source: list[str]) -> Path:
    path = folder / f"sbom-{name}.cdx.json"
    # Warnings: a lock file has no tree of who needs whom, and some packages name their licence in words of their own.
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", *source, "--output-file", str(path)]
    subprocess.run(command, check=True)
    print(path, flush=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
