"""The house plan, read from the source: which package may import which, and how a file must look."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "synthetic", "training", "app")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
ALL_FILES = FILES + sorted((ROOT / "tests").rglob("*.py"))
# No import of these at all for the package on the left.
FORBIDDEN = {
    "model": {"synthetic", "training", "app"},
    "synthetic": {"model", "training", "app"},
    "training": {"app"},
    "app": {"training"},
}
# Drawn steel is for trying things out: of the service only the command that plays a coil may draw any.
SYNTHETIC_ROOM = "app/simulate/"
KERAS = {"keras", "tensorflow", "tf2onnx", "h5py"}
# Where Keras may be imported, inside functions only: a server that does not choose the Keras engine never loads it.
KERAS_ROOMS = {
    "model/attribution.py",
    "model/engines/keras.py",
    "model/explain.py",
    "model/export.py",
    "model/feature_maps.py",
    "model/keras_weights.py",
    "model/network.py",
    "model/trial/__main__.py",
}
NO_CONCEPT = {"utils", "util", "helpers", "helper", "common", "core", "misc", "base"}
MAX_LINES = 600


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def imports(node: ast.AST, path: Path, *, inside: bool = False, typing: bool = False) -> Iterator[tuple[str, bool]]:
    """Top-level package of every import, and whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        at_import = not inside and not typing
        if isinstance(child, ast.Import):
            yield from ((alias.name.split(".")[0], at_import) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield (child.module or "").split(".")[0] if child.level == 0 else package_of(path), at_import
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types = isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        if for_types:
            for statement in child.body:
                yield from imports(ast.Module([statement], []), path, inside=inside, typing=True)
            for statement in child.orelse:
                yield from imports(ast.Module([statement], []), path, inside=inside, typing=typing)
        else:
            yield from imports(child, path, inside=inside or function, typing=typing)


def imports_of(path: Path) -> list[tuple[str, bool]]:
    return list(imports(ast.parse(path.read_text(encoding="utf-8")), path))


def test_the_reader_of_imports_reads_them(tmp_path):
    """The rules below are worth what this is worth."""
    source = """
import a.b
from c import d
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import e
else:
    import f
def function():
    import g
class Thing:
    import h
    async def method(self):
        from i.j import k
try:
    import l
except ImportError:
    pass
"""
    assert list(imports(ast.parse(source), ROOT / "model" / "x.py")) == [
        ("a", True),
        ("c", True),
        ("typing", True),
        ("e", False),
        ("f", True),
        ("g", False),
        ("h", True),
        ("i", False),
        ("l", True),
    ]


def test_all_packages_are_looked_at():
    assert {package_of(path) for path in FILES} == set(PACKAGES)


@pytest.mark.parametrize("path", FILES, ids=name_of)
class TestEveryFile:
    def test_imports_in_one_direction(self, path):
        forbidden = FORBIDDEN[package_of(path)] & {package for package, _ in imports_of(path)}
        assert not forbidden, f"{name_of(path)} must not import {forbidden}"

    def test_the_server_draws_no_steel(self, path):
        if package_of(path) == "app" and not name_of(path).startswith(SYNTHETIC_ROOM):
            assert "synthetic" not in {package for package, _ in imports_of(path)}

    def test_no_package_imports_the_tests(self, path):
        assert not {"tests", "pytest", "hypothesis"} & {package for package, _ in imports_of(path)}

    def test_keras_is_imported_where_it_is_used_only(self, path):
        if package_of(path) == "training":
            return
        found = {package: at_import for package, at_import in imports_of(path) if package in KERAS}
        at_import = sorted(package for package, now in imports_of(path) if now and package in KERAS)
        assert not at_import, f"{name_of(path)} imports {at_import} when it is imported itself"
        assert not found or name_of(path) in KERAS_ROOMS, f"{name_of(path)} imports {sorted(found)}"

    def test_says_what_it_owns(self, path):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert docstring, f"{name_of(path)} has no docstring"

    def test_is_named_after_a_concept(self, path):
        parts = {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
        assert not parts & NO_CONCEPT, f"{name_of(path)} is named after nothing"


@pytest.mark.parametrize("path", ALL_FILES, ids=name_of)
def test_no_file_is_too_long(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name_of(path)} has {lines} lines"
