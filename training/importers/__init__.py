"""Importers: public data-set formats -> the data folder of data/README.md. docs/importers.md describes each format."""

from collections.abc import Callable
from pathlib import Path

from training.errors import DataFault
from training.importers import coco, gc10_det, kolektor, labelme, magnetic_tile, neu_det, plain_folders, severstal
from training.importers.folder import ImportSummary, refuse_unfit, write
from training.importers.listing import Listing

# What the user calls it -> its reader. A reader looks at names and annotations and reads no image.
FORMATS: dict[str, Callable[[Path], Listing]] = {
    "coco": coco.read,
    "folders": plain_folders.read,
    "gc10-det": gc10_det.read,
    "kolektorsdd": kolektor.read_first,
    "kolektorsdd2": kolektor.read_second,
    "labelme": labelme.read,
    "magnetic-tile": magnetic_tile.read,
    "neu-det": neu_det.read,
    "severstal": severstal.read,
}


def import_source(
    format_name: str, source: Path, data: Path, on_progress: Callable[[int, int], object] = lambda done, total: None
) -> ImportSummary:
    """Write the source, which is in one of `FORMATS`, into the empty folder `data`; on_progress gets (done, total).

    Raises `DataFault` for a source that is not in the format or cannot be read, `UsageFault` for an occupied `data`.
    """
    refuse_unfit(source, data)
    # Absolute and without "..": only then does comparing paths show whether a name leads out of the source.
    source = source.resolve()
    try:
        return write(FORMATS[format_name](source), source, data, on_progress)
    except OSError as error:
        raise DataFault(f"the import stopped: {error}") from error


__all__ = ["FORMATS", "ImportSummary", "import_source"]
