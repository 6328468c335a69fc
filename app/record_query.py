"""What a query of the record may ask for: filters that combine, and where in the list to go on."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, FiniteFloat, model_validator

from app.parameters import DECIMAL, INTEGER, MOMENT, SWITCH, Name, StrictQuery
from app.store.cursors import number_before
from app.store.wanted import END, Wanted
from model.verdict import Verdict

# A page of so many takes some 20 ms; who wants all of them takes the export.
MAX_LIMIT = 500
DEFAULT_LIMIT = 50

Moment = Annotated[AwareDatetime, MOMENT]
Probability = Annotated[FiniteFloat, Field(ge=0, le=1), DECIMAL]


def _cursor(value: str) -> str:
    number_before(value)
    return value


class Filter(StrictQuery):
    """Which inspections are wanted. All that is given must hold."""

    coil_id: Name | None = Field(None, description="Of this coil.")
    camera_id: Name | None = Field(None, description="By this camera.")
    verdict: Verdict | None = Field(None, description="With this verdict.")
    defect_class: Name | None = Field(None, description="Whose most probable event is of this class.")
    since: Moment | None = Field(
        None, alias="from", description="Received at this time or later: RFC 3339 with an offset."
    )
    until: Moment | None = Field(None, alias="to", description="Received before this time.")
    least_probability: Probability | None = Field(None, description="With this defect probability or a higher one.")
    most_probability: Probability | None = Field(None, description="With this defect probability or a lower one.")
    reviewed: Annotated[bool, SWITCH] | None = Field(
        None, description="`true`: a person's review counts; `false`: none does."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("expected `from` to be before `to`")
        least, most = self.least_probability, self.most_probability
        if least is not None and most is not None and least > most:
            raise ValueError("expected `least_probability` not to be above `most_probability`")
        return self

    def wanted(self) -> Wanted:
        """The same in the words of the store.

        >>> Filter(verdict="review", reviewed="false").wanted().reviewed
        False
        """
        return Wanted(**{name: getattr(self, name) for name in Wanted.__dataclass_fields__})


class PageQuery(Filter):
    """A filter, and which part of what fulfils it."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT), INTEGER] = Field(DEFAULT_LIMIT, description="Most rows of a page.")
    cursor: Annotated[str, AfterValidator(_cursor)] | None = Field(
        None, max_length=64, description="`next` of the page before; without it the newest are told."
    )

    @property
    def before(self) -> int:
        """Numbers below it are wanted."""
        return END if self.cursor is None else number_before(self.cursor)


class TableFormat(StrEnum):
    """How a table is handed over."""

    CSV = "csv"
    PARQUET = "parquet"


class ExportQuery(Filter):
    """A filter, and the format of the file."""

    format: TableFormat = Field(TableFormat.CSV, description="`csv` or `parquet`.")


class FrameQuery(StrictQuery):
    """As what a frame is wanted."""

    format: Literal["png"] | None = Field(
        None, description="`png`: what was judged of it, for programs that show no TIFF."
    )
