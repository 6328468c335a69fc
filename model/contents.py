"""What lies inside a version's files, looked at as data: nothing is deserialised, and no runtime opens anything."""

from importlib.util import find_spec
from pathlib import Path

from model.artifact import WEIGHTS, Manifest
from model.keras_weights import check_weights
from model.layers import check_layers
from model.onnx_file import read_onnx


def check_contents(folder: Path, manifest: Manifest) -> None:
    """Refuse networks of anything but our own layers and operators, in a folder that was verified.

    The weights of Keras's own file are looked at where h5py is installed; nothing else could open them either.
    Raises `SteelsightError` (artifact_invalid) naming the file and what was found in it.
    """
    for name in sorted(WEIGHTS & set(manifest.files)):
        if name.endswith(".keras"):
            check_layers(folder / name)
            if find_spec("h5py"):
                check_weights(folder / name)
        else:
            read_onnx(folder / name)
