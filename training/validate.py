"""What is wrong with a data folder before anyone trains on it: one pass over the images, then every check in order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.checks.balance import scarce, unbalanced
from training.checks.files import column_findings, file_findings
from training.checks.finding import Finding, Severity
from training.checks.images import depth_findings, image_findings, mask_findings, mixture_findings
from training.checks.overlap import overlap_findings
from training.checks.shortcut import Shortcut, shortcut_findings, shortcuts
from training.checks.survey import WORKERS, survey
from training.checks.twins import find_twins, twin_findings, usual_likeness
from training.grouping import grouped
from training.scan import Record


@dataclass(frozen=True)
class Verdict:
    """What the check of a folder found.

    records: each with its group. findings: errors first. shortcuts: what single figures tell of the label.
    """

    records: list[Record]
    findings: list[Finding]
    shortcuts: list[Shortcut]

    @property
    def sound(self) -> bool:
        """Nothing that would make a training unsound."""
        return all(found.severity is not Severity.ERROR for found in self.findings)

    @property
    def groups(self) -> int:
        """Number of different groups."""
        return len({record.group for record in self.records})


def check(
    records: Sequence[Record],
    on_images: Callable[[int], object] = lambda _: None,
    workers: int = WORKERS,
    data: Path | None = None,
) -> Verdict:
    """Check records as they were scanned; each image is read once.

    on_images: called with the number of images read since the last call. workers: processes that read.
    data: the folder, to look also at what lies there and is no record; the records must then be all of it.
    """
    given = [record.group is not None for record in records]
    seen = survey(records, on_images, workers)
    twins, usual = find_twins(seen), usual_likeness(seen, records)
    named = grouped(records, seen, twins)
    telling = shortcuts(named, seen.signatures)
    findings = [
        *((*file_findings(data, records), *column_findings(data, records)) if data else ()),
        *image_findings(seen),
        *depth_findings(seen),
        *mask_findings(seen),
        *mixture_findings(seen),
        *twin_findings(named, given, twins, usual),
        *overlap_findings(named, seen, twins),
        *scarce(named),
        *unbalanced(named),
        *shortcut_findings(telling, any(record.mask for record in named)),
    ]
    return Verdict(named, sorted(findings, key=lambda found: (found.severity, found.kind)), telling)


def validate(records: Sequence[Record]) -> list[Finding]:
    """The findings of `check` alone, errors first."""
    return check(records).findings
