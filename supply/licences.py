"""python -m supply.licences: every installed package's licence, held against the policy in `licences.toml`.

Prints a table, package by package. Exit code 1 if one has a licence that the policy does not name, and says which.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from license_expression import ExpressionError, Licensing, get_spdx_licensing

POLICY = Path(__file__).with_name("licences.toml")
# What pip-licenses lists and we do not release: the project itself, and what installs packages.
NOT_RELEASED = frozenset({"steelsight", "pip", "setuptools", "wheel"})


@dataclass(frozen=True)
class Package:
    """One installed package. says: its licence as its own metadata has it, an SPDX expression or words."""

    name: str
    version: str
    says: str


@dataclass(frozen=True)
class Policy:
    """accepted: SPDX identifiers. words: older names of the same. packages: name -> what it may say, and why."""

    accepted: frozenset[str]
    words: frozenset[str]
    packages: Mapping[str, str]

    @classmethod
    def read(cls, path: Path = POLICY) -> "Policy":
        """The policy of the file. Raises KeyError for an entry without a reason."""
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        licences, packages = document["licence"], document["package"]
        if missing := [each for each in [*licences, *packages] if not each.get("reason")]:
            raise KeyError(f"{path}: {missing[0]} has no reason")
        return cls(
            frozenset(name for each in licences for name in each["spdx"]),
            frozenset(name for each in licences for name in each.get("also", ())),
            {each["name"]: each["says"] for each in packages},
        )

    def accepts(self, package: Package) -> bool:
        """Whether the package may be part of a release.

        >>> policy = Policy(frozenset({"MIT", "Apache-2.0"}), frozenset({"BSD License"}), {"odd": "UNKNOWN"})
        >>> [policy.accepts(Package("a", "1", says)) for says in ("MIT AND Apache-2.0", "MIT OR GPL-3.0-only")]
        [True, True]
        >>> [policy.accepts(Package("a", "1", says)) for says in ("MIT AND GPL-3.0-only", "UNKNOWN", "", "GPL")]
        [False, False, False, False]
        >>> policy.accepts(Package("a", "1", "BSD License; MIT")), policy.accepts(Package("odd", "1", "UNKNOWN"))
        (True, True)
        """
        if self.packages.get(package.name) == package.says:
            return True
        # Several classifiers of one package: whichever is meant, all must be.
        parts = [part.strip() for part in package.says.split(";")]
        return all(part in self.words or self._accepts_expression(part) for part in parts)

    def _accepts_expression(self, expression: str) -> bool:
        licensing = _licensing()
        try:
            parsed = licensing.parse(expression, validate=True)
        except ExpressionError:
            return False
        if parsed is None:
            return False
        true, false = licensing.TRUE, licensing.FALSE
        values = {symbol: true if symbol.key in self.accepted else false for symbol in parsed.symbols}
        return parsed.subs(values).simplify() == true


@cache
def _licensing() -> Licensing:
    """All of SPDX' licences, which take a tenth of a second to read."""
    return get_spdx_licensing()


def installed() -> list[Package]:
    """All packages of this Python, by name."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json", f"--python={sys.executable}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = [Package(each["Name"], each["Version"], each["License"]) for each in json.loads(done.stdout)]
    return [package for package in found if package.name.lower() not in NOT_RELEASED]


def refused(packages: Iterable[Package], policy: Policy) -> list[Package]:
    """Those that the policy does not let in."""
    return [package for package in packages if not policy.accepts(package)]


def main() -> int:
    """List, and judge."""
    packages, policy = installed(), Policy.read()
    for package in packages:
        print(f"{package.name:40}{package.version:16}{package.says}")
    wrong = refused(packages, policy)
    for package in wrong:
        print(
            f"error: {package.name} {package.version} is under {package.says!r}, which {POLICY.name} does not name; "
            "read the licence, and add it there with a reason, or do without the package",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
