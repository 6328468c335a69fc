"""The report of a version: what its publisher measured, as the files in its folder, nothing added.

The page is shown closed: it stands alone by design, and whatever stood in it would find no script, no address and no
frame to use.
"""

from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from app.access.declared import READ, REFUSALS
from app.openapi import problems
from app.refusals import Refusal, ServiceCode
from app.service import Current
from model.artifact import FileEntry, entry, refused
from model.registry import Registry

PAGE = "report.html"
FOLDER = "report/"

# Anything else that a publisher lays beside the page is handed over as bytes, for nobody to interpret.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
OTHER = "application/octet-stream"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; sandbox"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # A published version never changes; one that is removed and published anew gets another name.
    "Cache-Control": "private, max-age=3600",
}

router = APIRouter(prefix="/v1/models/{version}/report", tags=["models"], dependencies=[READ], responses=REFUSALS)

Version = Annotated[str, Path(max_length=100, description="A published version's name.")]
Name = Annotated[str, Path(max_length=200, description="`report.json`, `model-card.md`, or another that is listed.")]


# Not async: files are read, and FastAPI moves it to a thread.
@router.get("", summary="The report of a version", response_class=Response, responses=problems(404, 409, 422))
def report(version: Version, service: Current) -> Response:
    """The HTML page that was written when the version was published: figures with intervals, curves, worst tiles."""
    return _file(service.slot.loader.registry, version, PAGE)


@router.get("/{name:path}", summary="A file beside it", response_class=Response, responses=problems(404, 409, 422))
def report_file(version: Version, name: Name, service: Current) -> Response:
    """The same figures as JSON (`report.json`), the model card (`model-card.md`)."""
    return _file(service.slot.loader.registry, version, name)


def _file(registry: Registry, version: str, name: str) -> Response:
    """A file of the report that the manifest lists, and that is still what it lists, byte for byte."""
    folder = registry.folder(version)
    listed = registry.manifest(version).files
    expected = listed.get(FOLDER + name)
    if expected is None:
        there = ", ".join(each.removeprefix(FOLDER) for each in listed if each.startswith(FOLDER))
        raise Refusal(
            ServiceCode.NOT_FOUND,
            f"the report of version {version} has no such file; "
            + (f"it has: {there}" if there else "it was published without one: `python -m training train` writes it"),
        )
    content = _content(folder, FOLDER + name, expected)
    return Response(content, media_type=MEDIA_TYPES.get(FilePath(name).suffix, OTHER), headers=HEADERS)


def _content(folder: FilePath, name: str, expected: FileEntry) -> bytes:
    """Raises `SteelsightError` (artifact_invalid) where the file is missing, no plain file or another one."""
    path = folder / name
    try:
        if path.is_symlink() or not path.is_file():
            raise refused(folder, f"{name} is missing, or not a plain file")
        # Its size first: a file that has grown is not read to find that out.
        if path.stat().st_size != expected.size or entry(path) != expected:
            raise refused(folder, f"{name} is not the file that was published (its size or sha256 differs)")
        return path.read_bytes()
    except OSError as error:
        raise refused(folder, f"{name} cannot be read ({error.strerror})") from error
