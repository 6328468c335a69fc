"""One published model version: a folder of weights, exports and a manifest that vouches for them.

    <models>/<version>/
        model.keras      source of truth
        model.onnx       export, measured against it at publish
        manifest.json    what this version is, and the sha256 of every other file

A version appears by one rename, so it is there whole or not at all, and is never changed afterwards.
Nothing is deserialised before its hash has been checked.
"""

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import from_json

from model.calibration import Calibrator
from model.errors import ErrorCode, SteelsightError
from model.files import exclusive, replace_text, sync_folder, sync_tree
from model.network import NetworkConfig
from model.tiling import Fit
from model.verdict import Thresholds

MANIFEST = "manifest.json"
# A manifest has a few tens of kilobytes; its size is checked before it is read.
MAX_MANIFEST_BYTES = 16_000_000
STAGING_PREFIX = ".publishing-"

VersionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
FileName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,99})*$")
]


class Record(BaseModel):
    """Base of everything a manifest holds: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(Record):
    """What a file of the artifact must be, to the byte."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Fitting(Record):
    """How a frame reaches the network's input: cut into tiles every `stride` px, or resized whole."""

    fit: Fit = Fit.TILE
    tile: int = Field(ge=1)
    stride: int = Field(ge=1)


class Parity(Record):
    """How far an engine's probabilities are from the Keras model's over the measured tiles.

    flips_outside_margin: of the verdict flips, those of tiles that were not near a threshold. auroc_change: the
    engine's less the Keras model's. accepted, reason: what the budget of `model.precision` said. tiles_per_second: of
    one thread where the version was published, all engines in one race. Versions from before these were measured lack
    them.
    """

    tiles: int = Field(ge=1)
    max_probability_difference: float = Field(ge=0)
    verdict_flips: int = Field(ge=0)
    flips_outside_margin: int | None = Field(default=None, ge=0)
    auroc_change: float | None = Field(default=None, ge=-1, le=1)
    accepted: bool = True
    reason: str | None = None
    tiles_per_second: float | None = Field(default=None, gt=0)


class Interval(Record):
    """A figure with its 95 % interval; low and high are absent where the data cannot give one."""

    value: float
    low: float | None = None
    high: float | None = None


class Manifest(Record):
    """What one version is: enough to serve it, to compare it, and to trace it to its data.

    classes: good surface first, then what the outputs stand for: one defect class for a single output.
    """

    schema_version: Literal[1] = 1
    version: VersionName
    created_at: datetime
    classes: tuple[str, ...] = Field(min_length=2)
    network: NetworkConfig
    fitting: Fitting
    calibrator: Calibrator
    thresholds: Thresholds
    metrics: dict[str, Interval]
    parity: dict[str, Parity]
    data: dict[str, Any]
    training: dict[str, Any]
    packages: dict[str, str]
    files: dict[FileName, FileEntry]

    @model_validator(mode="after")
    def _class_for_each_output(self) -> Self:
        if len(self.classes) != max(2, self.network.outputs):
            raise ValueError(f"{len(self.classes)} classes do not fit a network with {self.network.outputs} outputs")
        return self


def new_version(preset: str) -> str:
    """A name that sorts by time within a preset and is not taken twice, such as steel-128-20260102-030405-9f3c."""
    return f"{preset}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@contextmanager
def staging(models: Path, version: str) -> Iterator[Path]:
    """A folder to write one version into; when the block ends well, it is the version.

    One publish runs at a time. Whatever a killed one left behind is no version, and is removed by the next.
    """
    models.mkdir(parents=True, exist_ok=True)
    with exclusive(models / ".publish.lock"):
        for abandoned in models.glob(f"{STAGING_PREFIX}*"):
            shutil.rmtree(abandoned)
        folder = models / f"{STAGING_PREFIX}{version}"
        folder.mkdir()
        try:
            yield folder
            verify(folder)
            sync_tree(folder)
            folder.rename(models / version)
            sync_folder(models)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest last, with the hash of every file the folder holds by then."""
    files = {path.relative_to(folder).as_posix(): entry(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    complete = manifest.model_copy(update={"files": files})
    replace_text(folder / MANIFEST, complete.model_dump_json(indent=2) + "\n")


def entry(path: Path) -> FileEntry:
    """Hash and size of a file, read in pieces."""
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=os.fstat(file.fileno()).st_size)


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone. Raises `SteelsightError` (artifact_invalid) if it is missing or not this folder's."""
    path = folder / MANIFEST
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise refused(folder, "its manifest is not a plain file")
        if status.st_size > MAX_MANIFEST_BYTES:
            raise refused(folder, f"its manifest has more than {MAX_MANIFEST_BYTES} bytes")
        # NaN is not JSON, and nothing that we write holds it; the free-form fields would let it in.
        manifest = Manifest.model_validate(from_json(path.read_bytes(), allow_inf_nan=False))
    except OSError as error:
        raise refused(folder, f"its manifest cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise refused(folder, f"its manifest is not valid at {where}: {first['msg']}") from error
    except ValueError as error:
        raise refused(folder, f"its manifest is not valid JSON: {error}") from error
    if folder.name.removeprefix(STAGING_PREFIX) != manifest.version:
        raise refused(folder, f"its manifest is that of version {manifest.version}")
    return manifest


def verify(folder: Path) -> Manifest:
    """The manifest of a folder in which every file is exactly what the manifest says, and nothing else lies.

    Raises `SteelsightError` (artifact_invalid) naming the first file that is missing, changed, not listed or a link.
    """
    manifest = read_manifest(folder)
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not _is_plain_folder(path)}
    if unlisted := sorted(set(found) - set(manifest.files) - {MANIFEST}):
        raise refused(folder, f"{unlisted[0]} is not in its manifest")
    for name, expected in manifest.files.items():
        path = found.get(name)
        if path is None:
            raise refused(folder, f"{name} is missing")
        if path.is_symlink() or not path.is_file():
            raise refused(folder, f"{name} is not a plain file")
        if path.stat().st_size != expected.size or entry(path) != expected:
            raise refused(folder, f"{name} is not the file that was published (its size or sha256 differs)")
    return manifest


def refused(folder: Path, reason: str) -> SteelsightError:
    """The error every invalid artifact ends in."""
    return SteelsightError(ErrorCode.ARTIFACT_INVALID, f"artifact {folder} is refused: {reason}")


def _is_plain_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
