"""The folder of versions, and which of them is active.

The active version and those before it stand in one small file, so that activating and rolling back are
each one atomic rename. Servers watch that file: no restart is needed.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from model.artifact import MANIFEST, Manifest, VersionName, read_manifest, verify
from model.errors import ErrorCode, SteelsightError
from model.files import exclusive, replace_text
from model.signing import PublicKey, configured_keys

POINTER = "active.json"
# A rollback further than this is an `activate` by name.
MAX_PREVIOUS = 50


def models_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where versions are kept unless `--models` says otherwise.

    >>> models_folder({"STEELSIGHT_HOME": "/srv/steelsight"}).as_posix()
    '/srv/steelsight/models'
    """
    home = Path(environ.get("STEELSIGHT_HOME") or "var")
    return Path(environ.get("STEELSIGHT_MODELS") or home / "models")


class Pointer(BaseModel):
    """The active version and the ones it replaced, latest last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    active: VersionName
    previous: tuple[VersionName, ...] = ()


class Change(NamedTuple):
    """The version that is active now, and the one that was before the change.

    skipped: versions that a rollback passed over, latest first, because their folders are gone.
    """

    active: str
    before: str | None
    skipped: tuple[str, ...] = ()


class WayBack(NamedTuple):
    """Where a rollback leads: the version, those before that one, and those passed over because they are gone."""

    version: str
    earlier: tuple[str, ...]
    skipped: tuple[str, ...]


class Pointed(NamedTuple):
    """The active version as the pointer's file has it. by: the user whose file it is; at_ns: when it was written."""

    version: str
    by: str
    at_ns: int


# Raises if the version in this folder cannot serve; what it returns is the caller's own affair.
Prove = Callable[[Path], object]


class Registry:
    """All versions below one folder.

    models: need not exist yet; it is an empty registry then. keys: one of them must have signed each version; None asks
    for those that the environment names, so that nobody forgets them (`model.signing`).
    """

    def __init__(self, models: Path, keys: Sequence[PublicKey] | None = None) -> None:
        self.models = models
        self.keys = configured_keys() if keys is None else tuple(keys)

    def versions(self) -> list[str]:
        """Names of all published versions, in order of name."""
        if not self.models.is_dir():
            return []
        return sorted(
            path.name for path in self.models.iterdir() if not path.name.startswith(".") and (path / MANIFEST).is_file()
        )

    def manifests(self) -> list[Manifest]:
        """Manifests of all versions, oldest first. Raises `SteelsightError` (artifact_invalid)."""
        return sorted(map(self.manifest, self.versions()), key=lambda manifest: manifest.created_at)

    def manifest(self, version: str) -> Manifest:
        """One version's manifest. Raises `SteelsightError` (model_unknown, artifact_invalid)."""
        return read_manifest(self.folder(version), self.keys)

    def verified(self, version: str) -> Manifest:
        """One version's manifest, once all its files are those it names. Raises as `manifest`."""
        return verify(self.folder(version), self.keys)

    def folder(self, version: str) -> Path:
        """Where a published version lies. Raises `SteelsightError` (model_unknown)."""
        versions = self.versions()
        if version not in versions:
            known = ", ".join(versions) or "none: train one with `python -m training train`"
            raise SteelsightError(
                ErrorCode.MODEL_UNKNOWN, f"there is no model version {version!r} in {self.models}; there are: {known}"
            )
        return self.models / version

    def active(self) -> str | None:
        """The active version's name, or None. Raises `SteelsightError` (artifact_invalid) on a damaged pointer."""
        pointer = self._pointer()
        return pointer.active if pointer else None

    def pointed(self) -> Pointed | None:
        """The active version, and who made it so and when. Raises `SteelsightError` (artifact_invalid)."""
        version = self.active()
        if version is None:
            return None
        path = self.models / POINTER
        about = path.stat()
        try:
            return Pointed(version, path.owner(), about.st_mtime_ns)
        # A container's user may have no name.
        except KeyError:
            return Pointed(version, str(about.st_uid), about.st_mtime_ns)

    def require_active(self) -> str:
        """The active version's name. Raises `SteelsightError` (no_active_model, artifact_invalid)."""
        version = self.active()
        if version is None:
            raise SteelsightError(
                ErrorCode.NO_ACTIVE_MODEL,
                f"no model version is active in {self.models}: train one with `python -m training train DATA "
                "--activate`, or choose one with `python -m model activate VERSION`",
            )
        return version

    def activate(self, version: str, prove: Prove | None = None) -> Change:
        """Prove the version and make it active; the one before is kept for `rollback`.

        prove: given the version's folder; the pointer moves only if it returns. A server loads the version there; by
        default its files are verified.
        Raises `SteelsightError` (model_unknown, artifact_invalid, and what `prove` raises) and changes nothing then.
        """
        (prove or self._verify)(self.folder(version))
        with self._changing():
            before = self._pointer()
            if before is None:
                self._point(Pointer(active=version))
            elif before.active != version:
                self._point(Pointer(active=version, previous=(*before.previous, before.active)[-MAX_PREVIOUS:]))
        return Change(version, before.active if before else None)

    def previous(self) -> str | None:
        """The version that `rollback` leads to, None if there is none. Raises `SteelsightError` (artifact_invalid)."""
        pointer = self._pointer()
        back = self._way_back(pointer) if pointer else None
        return back.version if back else None

    def rollback(self, prove: Prove | None = None) -> Change:
        """Make the version before the active one active again, of those whose folders are still there.

        A version that is there and damaged is refused, not passed over: nobody has said that it may be.
        prove: as for `activate`; others wait meanwhile, so that two rollbacks are two steps.
        Raises `SteelsightError` (no_previous_model, model_unknown, artifact_invalid, and what `prove` raises) and
        changes nothing then.
        """
        none_earlier = SteelsightError(
            ErrorCode.NO_PREVIOUS_MODEL,
            f"there is no earlier version in {self.models} to roll back to; use `activate VERSION`",
        )
        if not self.models.is_dir():
            raise none_earlier
        with self._changing():
            pointer = self._pointer()
            back = self._way_back(pointer) if pointer else None
            if pointer is None or back is None:
                raise none_earlier
            (prove or self._verify)(self.folder(back.version))
            self._point(Pointer(active=back.version, previous=back.earlier))
        return Change(back.version, pointer.active, back.skipped)

    def _way_back(self, pointer: Pointer) -> WayBack | None:
        skipped: list[str] = []
        for number, version in reversed(list(enumerate(pointer.previous))):
            if not self._is_there(version):
                skipped.append(version)
            # It stands there twice in a row where what was between the two is gone: that would be no way back.
            elif version != pointer.active:
                return WayBack(version, pointer.previous[:number], tuple(dict.fromkeys(skipped)))
        return None

    def _is_there(self, version: str) -> bool:
        """Whether anything has the version's name: what is no whole version is refused by that name."""
        return os.path.lexists(self.models / version)

    def _verify(self, folder: Path) -> Manifest:
        return verify(folder, self.keys)

    def _changing(self) -> AbstractContextManager[None]:
        return exclusive(self.models / ".active.lock")

    def _point(self, pointer: Pointer) -> None:
        replace_text(self.models / POINTER, pointer.model_dump_json() + "\n")

    def _pointer(self) -> Pointer | None:
        path = self.models / POINTER
        try:
            return Pointer.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise SteelsightError(
                ErrorCode.ARTIFACT_INVALID,
                f"{path} cannot be read; remove it and run `python -m model activate VERSION`",
            ) from error
