"""A labelled folder as published versions see it: in which groups, and which of its files each knows already.

An image is known again by its pixels, wherever it lies. The name of a group says something where a person gave it, in
labels.csv or in file names; that of a cluster of near-duplicates is its number among those of one folder.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from model.artifact import Manifest
from training.checks.survey import Survey, survey
from training.checks.twins import Twins, find_twins
from training.config import Experiment
from training.errors import DataFault
from training.group_pattern import by_pattern, group_told, nameless
from training.grouping import CLUSTER, grouped
from training.prepare import of_types
from training.scan import Record, scan
from training.split import Part


class LabelledFolder:
    """`data`: scanned once, and each image surveyed once for all versions, as soon as one needs to know its pixels."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._clustered: dict[tuple[str | None, ...], list[Record]] = {}

    def records(self, experiment: Experiment) -> list[Record]:
        """The records a version of this experiment can be measured on, each with its group.

        Its pattern for file names says nothing of a folder whose files are all named otherwise: near-duplicates then
        make groups. Raises `DataFault`, also where it names a group for some files and not for others.
        """
        chosen = of_types(self._scanned, experiment.defect_types, self.data)
        pattern = experiment.group_pattern
        lost = nameless(chosen, pattern) if pattern else []
        if pattern and not lost:
            return by_pattern(chosen, pattern)
        ungrouped = sum(record.group is None for record in chosen)
        if len(lost) not in (0, ungrouped):
            raise DataFault(
                f"the version's group_pattern {pattern!r} names a group for {ungrouped - len(lost)} files of "
                f"{self.data} and for {len(lost)} others it does not, the first is {lost[0]}; give these files their "
                "group in labels.csv, or name them like the rest"
            )
        if lost:
            print(
                f"the version's group_pattern {pattern!r} names no file of {self.data}: near-duplicates make groups",
                file=sys.stderr,
            )
        return of_types(self._with_clusters(self._scanned), experiment.defect_types, self.data)

    def files_used(self, manifest: Manifest) -> frozenset[str] | None:
        """Files in a group that holds an image which a version was fitted or tuned on, or whose name such a group had.

        Groups are as the version makes them. None where nobody can tell: for a version published without a list of
        images, as soon as near-duplicates make a group, of its own or of this folder.
        """
        used = groups_used(manifest)
        if not used:
            return frozenset()
        pattern = Experiment.model_validate(manifest.training["experiment"]).group_pattern
        told = [replace(record, group=group_told(record, pattern)) for record in self._scanned]
        images = manifest.data.get("images_used")
        if images is None:
            if any(group.startswith(CLUSTER) for group in used) or any(record.group is None for record in told):
                return None
            return frozenset(record.file for record in told if record.group in used)
        seen = self._with_pixels(frozenset(images))
        clustered = self._with_clusters(told)
        known = {
            record.group
            for record, named in zip(clustered, told, strict=True)
            if named.group in used or record.file in seen
        }
        return frozenset(record.file for record in clustered if record.group in known)

    def _with_pixels(self, images: frozenset[str]) -> frozenset[str]:
        """Files that show one of these images; a constant one shows nothing, and every camera has taken it."""
        return frozenset(
            record.file
            for record, signature in zip(self._scanned, self._seen.signatures, strict=True)
            if signature is not None and not signature.constant and signature.pixels in images
        )

    def _with_clusters(self, told: Sequence[Record]) -> list[Record]:
        """The records with the groups they were told, or with those of near-duplicates where they were told none."""
        groups = tuple(record.group for record in told)
        if groups not in self._clustered:
            complete = None not in groups
            self._clustered[groups] = list(told) if complete else grouped(told, self._seen, self._twins)
        return self._clustered[groups]

    @cached_property
    def _scanned(self) -> list[Record]:
        return scan(self.data)

    @cached_property
    def _seen(self) -> Survey:
        # Masks say nothing about the surface: they are not read.
        return survey([replace(record, mask=None) for record in self._scanned])

    @cached_property
    def _twins(self) -> Twins:
        return find_twins(self._seen)


def groups_used(manifest: Manifest) -> set[str]:
    """Names of the groups that a version was fitted or tuned on: all of its split but the test part, and those that
    the versions it learned from had been.
    """
    own = {group for group, part in manifest.data.get("split", {}).items() if part != Part.TEST}
    return own.union(manifest.data.get("groups_before", ()))
