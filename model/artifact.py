"""One published model version: a folder of weights, exports and a manifest that vouches for them.

    <models>/<version>/
        model.keras      source of truth
        model.onnx       export, measured against it at publish
        manifest.json    what this version is, and the sha256 of every other file
        manifest.sig     who vouches for the manifest, if anyone does (`model.signing`)

A version appears by one rename, so it is there whole or not at all, and is never changed afterwards.
Nothing is parsed before its signature has been checked, where one is asked for; nothing is deserialised before its
hash, nor hashed before its size.
"""

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import from_json

from model.calibration import Calibrator
from model.errors import ErrorCode, SteelsightError
from model.files import exclusive, replace_text, sync_folder, sync_tree
from model.network import NetworkConfig
from model.signing import MAX_SIGNATURE_BYTES, SIGNATURE, PublicKey, vouched
from model.tiling import Fit
from model.verdict import Thresholds

MANIFEST = "manifest.json"
# A manifest has a few tens of kilobytes, and some 65 bytes more for each image that is a group of its own: 7 MB for
# 100,000, and this for a million. Its size is checked before it is read.
MAX_MANIFEST_BYTES = 80_000_000
# Of what is hashed and opened. The largest preset's files have 103 MB each, 309 MB in sum; a report adds a few.
MAX_FILE_BYTES = 512_000_000
MAX_VERSION_BYTES = 2_000_000_000
# A report has some tens of files. Past it the folder is no version, and is not walked to its end.
MAX_FILES = 2000
# What a runtime may be given; the report is for people, and nothing opens it. No pickle, no .h5, no .npy.
WEIGHTS = frozenset({"model.keras", "model.onnx", "trunk.onnx", "head.onnx", "model.int8.onnx", "trunk.int8.onnx"})
REPORT = "report/"
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


class FixedScores(Record):
    """What the network said when it was published, of tiles that anyone can draw again: `model.trial.scores`.

    logits: of the Keras model, a row for each tile. differences: engine -> the largest difference of its logits from
    these, there and then.
    """

    tiles: Literal["drawn-1"] = "drawn-1"
    logits: tuple[tuple[float, ...], ...] = Field(min_length=1, max_length=64)
    differences: dict[str, Annotated[float, Field(ge=0)]]


class Interval(Record):
    """A figure with its 95 % interval; low and high are absent where the data cannot give one."""

    value: float
    low: float | None = None
    high: float | None = None


class Manifest(Record):
    """What one version is: enough to serve it, to compare it, and to trace it to its data.

    classes: good surface first, then what the outputs stand for: one defect class for a single output.
    fixed_scores: versions from before these were recorded lack them.
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
    fixed_scores: FixedScores | None = None
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
    unlisted = (folder / MANIFEST, folder / SIGNATURE)
    files = {
        path.relative_to(folder).as_posix(): entry(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in unlisted
    }
    # It would be the signature of another manifest.
    (folder / SIGNATURE).unlink(missing_ok=True)
    complete = manifest.model_copy(update={"files": files})
    replace_text(folder / MANIFEST, complete.model_dump_json(indent=2) + "\n")


def entry(path: Path) -> FileEntry:
    """Hash and size of a file, read in pieces."""
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=os.fstat(file.fileno()).st_size)


def manifest_bytes(folder: Path, keys: Sequence[PublicKey] = ()) -> bytes:
    """The manifest as it lies there, vouched for by one of the keys where there are any; nothing of it is parsed.

    Raises `SteelsightError` (artifact_invalid) if it is missing, no plain file, too large, or not signed.
    """
    content = _read_plain(folder, MANIFEST, MAX_MANIFEST_BYTES)
    if keys:
        if not os.path.lexists(folder / SIGNATURE):
            raise refused(
                folder,
                f"it is not signed ({SIGNATURE} is missing), and this system asks for a signature; whoever vouches for "
                "it runs `python -m model sign VERSION --key FILE`",
            )
        try:
            vouched(content, _read_plain(folder, SIGNATURE, MAX_SIGNATURE_BYTES), keys)
        except ValueError as error:
            raise refused(folder, str(error)) from error
    return content


def read_manifest(folder: Path, keys: Sequence[PublicKey] = ()) -> Manifest:
    """The manifest alone. Raises `SteelsightError` (artifact_invalid) if it is missing or not this folder's.

    keys: one of them must have signed it; with none, nobody needs to.
    """
    content = manifest_bytes(folder, keys)
    try:
        # NaN is not JSON, and nothing that we write holds it; the free-form fields would let it in.
        manifest = Manifest.model_validate(from_json(content, allow_inf_nan=False))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise refused(folder, f"its manifest is not valid at {where}: {first['msg']}") from error
    except ValueError as error:
        raise refused(folder, f"its manifest is not valid JSON: {error}") from error
    if folder.name.removeprefix(STAGING_PREFIX) != manifest.version:
        raise refused(folder, f"its manifest is that of version {manifest.version}")
    return manifest


def verify(folder: Path, keys: Sequence[PublicKey] = ()) -> Manifest:
    """The manifest of a folder in which every file is exactly what the manifest says, and nothing else lies.

    keys: as for `read_manifest`. Raises `SteelsightError` (artifact_invalid) naming the first file that is missing,
    changed, not listed, too large, a link, or of a kind that no version of ours has.
    """
    if folder.is_symlink():
        raise refused(folder, "it is a link; a version's folder lies among the others")
    manifest = read_manifest(folder, keys)
    _check_listing(folder, manifest)
    found = _walk(folder)
    if unlisted := sorted(found - set(manifest.files) - {MANIFEST, SIGNATURE}):
        raise refused(folder, f"{unlisted[0]} is not in its manifest")
    if SIGNATURE in found:
        _read_plain(folder, SIGNATURE, MAX_SIGNATURE_BYTES)
    for name, expected in manifest.files.items():
        if name not in found:
            raise refused(folder, f"{name} is missing")
        if _hashed(folder, name, expected.size) != expected.sha256:
            raise refused(folder, f"{name} is not the file that was published (its size or sha256 differs)")
    return manifest


def refused(folder: Path, reason: str) -> SteelsightError:
    """The error every invalid artifact ends in."""
    return SteelsightError(ErrorCode.ARTIFACT_INVALID, f"artifact {folder} is refused: {reason}")


def _check_listing(folder: Path, manifest: Manifest) -> None:
    """What the manifest claims, before a byte of it is read."""
    if len(manifest.files) > MAX_FILES:
        raise refused(folder, f"its manifest lists {len(manifest.files)} files, and a version has at most {MAX_FILES}")
    for name, file in manifest.files.items():
        if name not in WEIGHTS and not name.startswith(REPORT):
            raise refused(folder, f"{name} is no file of a version: {', '.join(sorted(WEIGHTS))} and {REPORT}* are")
        if file.size > MAX_FILE_BYTES:
            raise refused(folder, f"{name} is to have {file.size} bytes, and a file has at most {MAX_FILE_BYTES}")
    total = sum(file.size for file in manifest.files.values())
    if total > MAX_VERSION_BYTES:
        raise refused(folder, f"its files have {total} bytes together, and a version has at most {MAX_VERSION_BYTES}")


def _walk(folder: Path) -> set[str]:
    """Names of all that lies in the folder and is no folder itself; links are names, whatever they lead to."""
    found: set[str] = set()
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for each in entries:
                path = Path(each.path)
                if each.is_dir(follow_symlinks=False):
                    waiting.append(path)
                else:
                    found.add(path.relative_to(folder).as_posix())
                if len(found) + len(waiting) > MAX_FILES + 2:
                    raise refused(folder, f"more than {MAX_FILES} files and folders lie in it")
    return found


def _open_plain(folder: Path, name: str) -> BufferedReader:
    """A file of the folder, and no link, pipe or folder. Raises `SteelsightError` (artifact_invalid)."""
    called = "its manifest" if name == MANIFEST else name
    try:
        # Not blocking: a pipe would wait for somebody who writes.
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise refused(folder, f"{called} is not a plain file but a link") from error
        raise refused(folder, f"{called} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise refused(folder, f"{called} is not a plain file")
    return os.fdopen(descriptor, "rb")


def _read_plain(folder: Path, name: str, most: int) -> bytes:
    with _open_plain(folder, name) as file:
        if os.fstat(file.fileno()).st_size > most:
            called = "its manifest" if name == MANIFEST else name
            raise refused(folder, f"{called} has more than {most} bytes")
        return file.read(most)


def _hashed(folder: Path, name: str, size: int) -> str | None:
    """sha256 of a file of that size; None, and nothing is read, if it has another."""
    with _open_plain(folder, name) as file:
        if os.fstat(file.fileno()).st_size != size:
            return None
        return hashlib.file_digest(file, "sha256").hexdigest()
