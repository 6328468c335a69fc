"""The layers a loaded model may consist of: a `.keras` file is a program, so its list is read as data first."""

import json
import zipfile
from pathlib import Path
from typing import Any

from model.errors import ErrorCode, SteelsightError

ALLOWED_OBJECTS = {
    "keras": frozenset({"Sequential", "DTypePolicy"}),
    "keras.initializers": frozenset({"GlorotUniform", "Ones", "Zeros"}),
    "keras.layers": frozenset(
        {
            "Activation",
            "AveragePooling2D",
            "BatchNormalization",
            "Concatenate",
            "Conv2D",
            "Dense",
            "Dropout",
            "Flatten",
            "GlobalAveragePooling2D",
            "InputLayer",
            "MaxPooling2D",
            "Rescaling",
            "UnitNormalization",
        }
    ),
    # Two poolings side by side, as one layer.
    "keras.src.models.functional": frozenset({"Functional"}),
}
# How Keras writes the output of one layer as the input of another: a name and numbers, no object.
TENSOR = "__keras_tensor__"
ALLOWED_ACTIVATIONS = frozenset({"linear", "relu", "sigmoid", "softmax"})
# Fields that Keras also fills by looking up a name; ours are stored as whole objects.
NAMED_OBJECTS = ("_initializer", "_regularizer", "_constraint")
ALLOWED_MEMBERS = frozenset({"config.json", "metadata.json", "model.weights.h5"})

# The largest preset's configuration has 6 kB; past 1 MB the file is no network of ours.
MAX_CONFIG_BYTES = 1_000_000


def check_layers(path: Path) -> None:
    """Refuse a `model.keras` with anything but our own layers; nothing in it is deserialised.

    Raises `SteelsightError` (artifact_invalid) naming what was found.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            if names != sorted(ALLOWED_MEMBERS):
                raise _refused(path, f"it holds the files {names}, not {sorted(ALLOWED_MEMBERS)}")
            size = archive.getinfo("config.json").file_size
            if size > MAX_CONFIG_BYTES:
                raise _refused(path, f"its config.json claims {size} bytes")
            config = json.loads(archive.read("config.json"))
        if config["class_name"] != "Sequential":
            raise _refused(path, f"it is a {config['class_name']}, not a Sequential network")
        _check_network(path, config)
    except SteelsightError:
        raise
    # Each of zip's compressions has errors of its own, and a configuration may have any shape: whatever goes
    # wrong here means that this is no archive of ours.
    except Exception as error:
        raise _refused(path, f"it cannot be read as a Keras archive ({type(error).__name__}: {error})") from error


def _check_network(path: Path, node: Any) -> None:
    """Walk the whole configuration: anything Keras would construct or call by name must be on the list."""
    if isinstance(node, list):
        for item in node:
            _check_network(path, item)
    elif isinstance(node, dict):
        if ("class_name" in node or "module" in node) and not _is_tensor(node):
            name = f"{node['module']}.{node['class_name']}"
            known = node["class_name"] in ALLOWED_OBJECTS.get(node["module"], ())
            if not known or not _is_plain(node) or node.get("compile_config"):
                raise _refused(path, f"{name} is not on the list of allowed layers, or is not stored plainly")
        for layer in node.get("layers", ()):
            if not isinstance(layer, dict) or "module" not in layer:
                raise _refused(path, f"layer {layer!r} is not stored as a whole layer")
        if node.get("activation", "linear") not in ALLOWED_ACTIVATIONS:
            raise _refused(path, f"activation {node['activation']!r} is not on the list of allowed activations")
        for key, value in node.items():
            if key.endswith(NAMED_OBJECTS) and isinstance(value, str):
                raise _refused(path, f"{key} is only a name, {value!r}")
            _check_network(path, value)


def _is_tensor(node: dict[str, Any]) -> bool:
    return node.get("class_name") == TENSOR and set(node) == {"class_name", "config"}


def _is_plain(node: dict[str, Any]) -> bool:
    """Keras looks a registered name up among what programs have added to it; it registers this one itself."""
    registered = node.get("registered_name")
    return registered is None or registered == node["class_name"] == "Functional"


def _refused(path: Path, reason: str) -> SteelsightError:
    return SteelsightError(ErrorCode.ARTIFACT_INVALID, f"{path} is refused: {reason}")
