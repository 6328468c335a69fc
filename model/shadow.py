"""Which version shadows the active one, and on what share of the frames: one small file beside the registry's pointer.

A shadow scores frames that the active version has judged already. Its verdicts are compared and never answered, so
that a version meets the plant's own strip before anything depends on it.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.artifact import VersionName
from model.errors import ErrorCode, SteelsightError
from model.files import exclusive, replace_text
from model.registry import Prove, Registry

SHADOW = "shadow.json"

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Choice(BaseModel):
    """The version that shadows, and the share of frames that it scores: above 0, at most 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: VersionName
    share: Share


def chosen(registry: Registry) -> Choice | None:
    """The choice, or None where nothing shadows. Raises `SteelsightError` (artifact_invalid) on a damaged file."""
    path = registry.models / SHADOW
    try:
        return Choice.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise SteelsightError(
            ErrorCode.ARTIFACT_INVALID, f"{path} cannot be read; remove it, or run `python -m model shadow --off`"
        ) from error


def choose(registry: Registry, version: str, share: float, prove: Prove | None = None) -> Choice:
    """Prove the version and let it shadow, in the place of any other.

    share: above 0, at most 1. prove: as for `Registry.activate`.
    Raises `SteelsightError` (model_unknown, artifact_invalid, and what `prove` raises) and changes nothing then.
    """
    if prove is None:
        registry.verified(version)
    else:
        prove(registry.folder(version))
    choice = Choice(version=version, share=share)
    with exclusive(registry.models / ".active.lock"):
        replace_text(registry.models / SHADOW, choice.model_dump_json() + "\n")
    return choice


def stop(registry: Registry) -> None:
    """Let nothing shadow, whether or not anything did."""
    (registry.models / SHADOW).unlink(missing_ok=True)
