"""What a review looks like on the wire, and what the queue and the rates do."""

import re
import unicodedata
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import RowMapping

from app.parameters import INTEGER, SWITCH, Name, StrictQuery
from app.review.queue import Why
from app.schemas_record import Box as SeenBox
from app.schemas_record import InspectionRow, Label, RecordedReview, told
from app.store.numbers import inspection_id
from model.artifact import Interval

# Good surface is called so in replies, reports and training data.
NAMES_OF_GOOD_SURFACE = frozenset({"ok", "none"})
# Whoever reads a note must read it in the order in which it was written: these show one as another.
REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")
MAX_NOTE = 2000
MAX_DEFECT_CLASS = 64
MAX_QUEUE = 200


def _defect_class(value: str) -> str:
    if not value.isprintable():
        raise ValueError("expected printable characters only")
    if value.casefold() in NAMES_OF_GOOD_SURFACE:
        raise ValueError("ok and none are names of good surface; name the defect")
    return value


def _note(value: str) -> str:
    """A person may write lines and paste any script; control characters are no text, and PostgreSQL keeps no NUL."""
    value = value.replace("\r\n", "\n")
    if any(unicodedata.category(each) in ("Cc", "Cs") and each not in "\n\t" for each in value):
        raise ValueError("expected text without control characters")
    if REORDERING.search(value):
        raise ValueError("expected text without characters that turn the direction of others")
    return value


# Cut of spaces at its ends: training does so, and " pit" would be another class on every other page.
DefectClass = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_DEFECT_CLASS, strip_whitespace=True),
    AfterValidator(_defect_class),
]
Note = Annotated[str, StringConstraints(max_length=MAX_NOTE), AfterValidator(_note)]
Pixel = Annotated[int, Field(ge=0, lt=2**31)]
Side = Annotated[int, Field(ge=1, lt=2**31)]


class Box(BaseModel):
    """Where the defect is, in pixels of the frame. It says too that the events elsewhere are none."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    x: Pixel
    y: Pixel
    width: Side
    height: Side


class NewReview(BaseModel):
    """What a person says of a frame."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    label: Label
    defect_class: DefectClass | None = Field(None, description="Of a defect only; `ok` and `none` are no classes.")
    box: Box | None = Field(
        None,
        description="Of a defect only, inside the frame. Without one, the events are where the defect is.",
    )
    note: Note | None = None
    reviewer: Name

    @model_validator(mode="after")
    def _fits_its_label(self) -> Self:
        if self.label == "ok" and (self.defect_class is not None or self.box is not None):
            raise ValueError('a frame that is "ok" has neither defect_class nor box; leave them out, or say "defect"')
        return self


class ReviewReply(RecordedReview):
    """A review, and of which inspection it is."""

    inspection_id: str

    @classmethod
    def of(cls, review: RowMapping) -> Self:
        """A row of the table."""
        box = None if review["x"] is None else SeenBox(**{name: review[name] for name in Box.model_fields})
        said = {name: review[name] for name in RecordedReview.model_fields if name not in ("review", "box")}
        return cls(review=review["number"], inspection_id=inspection_id(review["inspection"]), box=box, **said)


class UndoQuery(StrictQuery):
    """Who takes a review back, and whose."""

    reviewer: Name
    own: Annotated[bool, SWITCH] = Field(
        False, description="`true`: only if the review that counts is by `reviewer`. Else it may be anybody's."
    )


class QueueQuery(StrictQuery):
    """How much of the queue is wanted."""

    limit: Annotated[int, Field(ge=1, le=MAX_QUEUE), INTEGER] = Field(
        50, description="Frames at most: a client that fetches their images ahead shows the next one at once."
    )


class QueuedRow(InspectionRow):
    """A frame to be reviewed, and why this one."""

    why: Why

    @classmethod
    def because(cls, why: Why, row: RowMapping) -> Self:
        """A row of `app.store.queries`."""
        return cls(why=why, **told(row))


class QueueReply(BaseModel):
    """The frames to look at next, in order."""

    queue: list[QueuedRow]
    waiting: int = Field(
        description="Frames worth a look that nobody has reviewed. Of a long record only the newest are considered: "
        "there may be more."
    )


class VersionRates(BaseModel):
    """Rates of live operation of one model version, with 95 % intervals that hold for both at once."""

    version: str
    frames: int
    ok: int = Field(description="Frames that were passed.")
    called: int = Field(description="Frames with the verdict review or defect.")
    sampled_ok: int = Field(description="Of the frames passed, how many were drawn at random.")
    reviewed_ok: int
    defects_in_ok: int = Field(description="Reviewed samples of passed frames that show a defect: escapes.")
    sampled_called: int
    reviewed_called: int
    defects_in_called: int = Field(
        description="Reviewed samples of called frames that show a defect: the rest are false."
    )
    escape: Interval | None = Field(
        description="Share of the defective frames that were passed; null: `sentence` says why."
    )
    overkill: Interval | None = Field(description="Share of the good frames that were called.")
    sentence: str


class RatesReply(BaseModel):
    """The versions that have inspected frames, the one that began last first."""

    versions: list[VersionRates]


class ClassesReply(BaseModel):
    """Defect classes to choose from: the active model's in its order, then others that reviews have named."""

    defect_classes: list[str]
