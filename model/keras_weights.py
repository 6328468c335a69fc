"""The weights inside a `.keras` file: HDF5, which can lead to other files and claim more than it holds.

Looked at before Keras opens it: plain groups, and plain arrays of finite numbers that lie in the file whole.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import ErrorCode, SteelsightError

MEMBER = "model.weights.h5"
# Keras's own: words of letters and digits. The deepest preset has about 200 of them, six levels deep.
NAME = re.compile(r"[A-Za-z0-9_]{1,100}")
MOST_OBJECTS = 10_000
DEEPEST = 20


def check_weights(path: Path) -> None:
    """Refuse weights that are links, are stored elsewhere, inflate, or are no numbers.

    path: a `.keras` file that `model.layers.check_layers` has let through. Raises `SteelsightError` (artifact_invalid)
    naming what was found.
    """
    import h5py

    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(MEMBER)
        with h5py.File(io.BytesIO(content), "r") as file:
            objects = _check_group(path, file, len(content), 0)
            if objects > MOST_OBJECTS:
                raise _refused(path, f"its weights have more than {MOST_OBJECTS} parts")
    except SteelsightError:
        raise
    # HDF5 and zip have exceptions for each way in which bytes are none of theirs.
    except Exception as error:
        raise _refused(path, f"its weights cannot be read ({type(error).__name__}: {str(error)[:200]})") from error


def _check_group(path: Path, group: Any, size: int, depth: int) -> int:
    """How many objects lie in it; the walk ends early where they are too many."""
    import h5py

    if depth > DEEPEST:
        raise _refused(path, f"its weights are nested more than {DEEPEST} levels deep")
    objects = 0
    for name in group:
        objects += 1
        if not NAME.fullmatch(name):
            raise _refused(path, f"its weights have a part named {name[:100]!r}: letters, digits and _ are allowed")
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _refused(path, f"{group.name}/{name} of its weights is a link that leads elsewhere ({_target(link)})")
        found = group[name]
        if isinstance(found, h5py.Group):
            objects += _check_group(path, found, size, depth + 1)
        elif isinstance(found, h5py.Dataset):
            _check_array(path, found, size)
        else:
            raise _refused(path, f"{found.name} of its weights is a {type(found).__name__}")
        if objects > MOST_OBJECTS:
            break
    return objects


def _check_array(path: Path, array: Any, size: int) -> None:
    told = f"{array.name} of its weights"
    if array.is_virtual or array.external:
        raise _refused(path, f"{told} lies in another file")
    if array.dtype.kind != "f" or array.shape is None:
        raise _refused(path, f"{told} holds {array.dtype}, not floating-point numbers")
    # Past the file's own size it can only be inflated or filled with something that is not there.
    if array.nbytes > size or array.chunks is not None or array.id.get_storage_size() != array.nbytes:
        raise _refused(path, f"{told} claims {array.nbytes} bytes and does not hold them plainly")
    if not np.isfinite(array[()]).all():
        raise _refused(path, f"{told} holds numbers that are none (NaN or infinite)")


def _target(link: Any) -> str:
    return ascii(f"{getattr(link, 'filename', '')}:{getattr(link, 'path', '')}")[:200]


def _refused(path: Path, reason: str) -> SteelsightError:
    return SteelsightError(ErrorCode.ARTIFACT_INVALID, f"{path} is refused: {reason}")
