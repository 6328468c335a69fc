"""A labelled folder as published versions see it: in which groups, and which of its files each knows already.

Versions group a folder each in its own way, by file names or by near-duplicates, so that the name of one's group says
nothing to the other. Files are what they have in common.
"""

import sys
from pathlib import Path

from model.artifact import Manifest
from training.config import Experiment
from training.errors import DataFault
from training.evaluate import groups_used
from training.group_pattern import by_pattern, group_told, nameless
from training.grouping import with_groups
from training.prepare import of_types
from training.scan import Record, scan


class LabelledFolder:
    """`data`, scanned once; near-duplicates, for which all images are read, are sought once for all versions."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._scanned: list[Record] | None = None
        self._clustered: dict[tuple[str, ...], list[Record]] = {}

    def records(self, experiment: Experiment) -> list[Record]:
        """The records a version of this experiment can be measured on, each with its group.

        Its pattern for file names says nothing of a folder whose files are all named otherwise: near-duplicates then
        make groups. Raises `DataFault`, also where it names a group for some files and not for others.
        """
        chosen = of_types(self._records(), experiment.defect_types, self.data)
        pattern = experiment.group_pattern
        if pattern is None:
            return self._with_clusters(chosen)
        ungrouped = sum(record.group is None for record in chosen)
        lost = nameless(chosen, pattern)
        if lost and len(lost) == ungrouped:
            print(
                f"the version's group_pattern {pattern!r} names no file of {self.data}: near-duplicates make groups",
                file=sys.stderr,
            )
            return self._with_clusters(chosen)
        if lost:
            raise DataFault(
                f"the version's group_pattern {pattern!r} names a group for {ungrouped - len(lost)} files of "
                f"{self.data} and for {len(lost)} others it does not, the first is {lost[0]}; give these files their "
                "group in labels.csv, or name them like the rest"
            )
        return by_pattern(chosen, pattern)

    def files_used(self, manifest: Manifest) -> frozenset[str]:
        """Files that a version was fitted or tuned on, as far as names tell: its own grouping puts them in such groups.

        Images are read only for a version that groups near-duplicates, and files whose group nobody gave.
        Raises `DataFault`.
        """
        used = groups_used(manifest)
        if not used:
            return frozenset()
        experiment = Experiment.model_validate(manifest.training["experiment"])
        records = self._records()
        # Of those types that the folder has: another one's absence does not make the rest unknown.
        present = {record.defect_type for record in records}
        wanted = tuple(name for name in experiment.defect_types or () if name in present)
        chosen = of_types(records, wanted, self.data)
        pattern = experiment.group_pattern
        if pattern is None:
            return frozenset(record.file for record in self._with_clusters(chosen) if record.group in used)
        # A file that the pattern does not name was never the version's: each of its own had a name.
        return frozenset(record.file for record in chosen if group_told(record, pattern) in used)

    def _records(self) -> list[Record]:
        if self._scanned is None:
            self._scanned = scan(self.data)
        return self._scanned

    def _with_clusters(self, records: list[Record]) -> list[Record]:
        files = tuple(record.file for record in records)
        if files not in self._clustered:
            self._clustered[files] = with_groups(records)
        return self._clustered[files]
