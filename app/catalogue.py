"""The versions as the API tells them: what each is, what was measured of it, and what is loaded in this worker."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.schemas import ModelName
from app.serving import ModelSlot
from app.shadow import Shadow
from model.artifact import Interval, Manifest, Parity
from model.errors import SteelsightError
from model.precision import offered
from model.registry import Registry
from model.verdict import Thresholds, Verdict


class VersionReply(BaseModel):
    """One published version. Of a damaged one nothing but `fault` is known."""

    version: str
    active: bool
    fault: str | None = Field(None, description="Why it cannot be served, as far as its manifest shows.")
    created_at: datetime | None = None
    classes: tuple[str, ...] = Field((), description="Good surface first.")
    thresholds: Thresholds | None = None
    metrics: dict[str, Interval] = Field({}, description="Each with its 95 % interval where the data can give one.")
    engines: list[str] = Field(
        [], description="Runtimes it may be served with: `keras`, and those measured to give its verdicts."
    )
    parity: dict[str, Parity] = Field({}, description="How far each engine is from the Keras model.")


class VersionDetails(VersionReply):
    """One published version with all that its manifest says."""

    manifest: dict[str, Any] = Field(description="As in the version's folder, without the files' hashes.")


class PairCount(BaseModel):
    """How many frames got these two verdicts."""

    live: Verdict
    shadow: Verdict
    frames: int


class ShadowReply(BaseModel):
    """The version that shadows, and what came of it in the worker that answers: `/metrics` has all workers' counts."""

    version: str
    share: float = Field(description="Of the live frames, above 0, at most 1.")
    frames: int = Field(description="Scored since it began here.")
    differing: int = Field(description="Of these, how many got another verdict than the live one.")
    verdicts: list[PairCount]
    dropped: int = Field(description="Frames for which there was no capacity to spare.")
    failed: int = Field(description="Frames that it could not score.")


class JudgementReply(BaseModel):
    """What one version said of a frame."""

    version: str
    verdict: Verdict
    defect_probability: float


class DifferenceReply(BaseModel):
    """A frame that two versions judged differently."""

    at: datetime
    inspection_id: str
    live: JudgementReply
    shadow: JudgementReply


class DifferencesReply(BaseModel):
    """The latest differences that the worker that answers has seen, latest first."""

    differences: list[DifferenceReply]


class ModelsReply(BaseModel):
    """All versions, and what this worker does with them."""

    active: str | None = Field(description="Which version the workers are to serve.")
    previous: str | None = Field(description="Which version a rollback makes active.")
    serving: ModelName | None = Field(description="Which one the worker that answers does serve.")
    failure: str | None = Field(description="Why that is not the active one, if it is not.")
    shadow: ShadowReply | None
    shadow_failure: str | None = Field(description="Why no version shadows although one is to, if so.")
    versions: list[VersionReply] = Field(description="In order of name.")


class ChangeReply(BaseModel):
    """What an activation has done."""

    active: str = Field(description="The version that is active now, and serves in the worker that answers.")
    previous: str | None = Field(description="The one that was active before.")


class RollbackReply(ChangeReply):
    """What a rollback has done."""

    skipped: list[str] = Field(description="Versions that it passed over because their folders are gone, latest first.")


class ShareRequest(BaseModel):
    """How much a shadow is to score."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    share: float = Field(gt=0, le=1, allow_inf_nan=False, description="Of the live frames.")


def models(registry: Registry, slot: ModelSlot, shadow: Shadow) -> ModelsReply:
    """Everything that is known of versions. Reads files: work for a thread."""
    serving = slot.serving
    active, fault = _active(registry)
    return ModelsReply(
        active=active,
        previous=None if fault else registry.previous(),
        serving=ModelName(version=serving.version, engine=serving.engine.name) if serving else None,
        failure=fault or (slot.failure.message if slot.failure else None),
        shadow=shadowing(shadow),
        shadow_failure=shadow.failure,
        versions=[_version(registry, version, active) for version in registry.versions()],
    )


def version_details(registry: Registry, version: str) -> VersionDetails:
    """One version. Raises `SteelsightError` (model_unknown, artifact_invalid)."""
    manifest = registry.manifest(version)
    told = _told(manifest, _active(registry)[0]).model_dump()
    return VersionDetails(**told, manifest=manifest.model_dump(mode="json", exclude={"files"}))


def shadowing(shadow: Shadow) -> ShadowReply | None:
    """The version that shadows in this worker, if one does."""
    running = shadow.running
    if running is None:
        return None
    pairs = dict(running.pairs)
    return ShadowReply(
        version=running.choice.version,
        share=running.choice.share,
        frames=sum(pairs.values()),
        differing=sum(frames for (live, shadowed), frames in pairs.items() if live is not shadowed),
        verdicts=[PairCount(live=live, shadow=shadowed, frames=frames) for (live, shadowed), frames in pairs.items()],
        dropped=running.lost["dropped"],
        failed=running.lost["failed"],
    )


def _version(registry: Registry, version: str, active: str | None) -> VersionReply:
    try:
        return _told(registry.manifest(version), active)
    except SteelsightError as error:
        return VersionReply(version=version, active=version == active, fault=error.message)


def _told(manifest: Manifest, active: str | None) -> VersionReply:
    return VersionReply(
        version=manifest.version,
        active=manifest.version == active,
        created_at=manifest.created_at,
        classes=manifest.classes,
        thresholds=manifest.thresholds,
        metrics=manifest.metrics,
        engines=sorted(offered(manifest)),
        parity=manifest.parity,
    )


def _active(registry: Registry) -> tuple[str | None, str | None]:
    """The active version, or why nobody can tell."""
    try:
        return registry.active(), None
    except SteelsightError as error:
        return None, error.message
