"""The layers a loaded model may consist of: a `.keras` file is a program, so its list is read as data first."""

import json
import re
import struct
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

# What a policy may be named: others quantise, and build layers of another kind.
ALLOWED_POLICIES = frozenset({"float32", "mixed_float16", "mixed_bfloat16"})
# Keras makes paths inside the weights' file of them.
LAYER_NAME = re.compile(r"[A-Za-z0-9_]{1,100}")

# The largest preset's configuration has 6 kB; past 1 MB the file is no network of ours.
MAX_CONFIG_BYTES = 1_000_000
# Of the weights once inflated; as much as a file of a version may have.
MAX_WEIGHTS_BYTES = 512_000_000
# Of anything in a configuration. A layer of 2^40 units would ask for its memory before a weight is read.
LARGEST_NUMBER = 1_000_000
# The end of an archive without a comment: disks, entries, size and place of the list of members.
END_OF_ARCHIVE = struct.Struct("<4s4H2LH")


def check_layers(path: Path) -> None:
    """Refuse a `model.keras` with anything but our own layers; nothing in it is deserialised.

    Raises `SteelsightError` (artifact_invalid) naming what was found.
    """
    try:
        _check_end(path)
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            if names != sorted(ALLOWED_MEMBERS):
                raise _refused(path, f"it holds the files {str(names)[:500]}, not {sorted(ALLOWED_MEMBERS)}")
            size = archive.getinfo("config.json").file_size
            if size > MAX_CONFIG_BYTES:
                raise _refused(path, f"its config.json claims {size} bytes")
            inflated = sum(member.file_size for member in archive.infolist())
            if inflated > MAX_WEIGHTS_BYTES:
                raise _refused(path, f"its members claim {inflated} bytes once inflated")
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


def _check_end(path: Path) -> None:
    """Three members, by the archive's own count: a list of millions would be read whole before it can be refused."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - END_OF_ARCHIVE.size))
        end = file.read()
    if len(end) != END_OF_ARCHIVE.size or not end.startswith(b"PK\x05\x06"):
        raise _refused(path, "it cannot be read as a Keras archive (it does not end as a plain zip file does)")
    _, _, _, entries, total, listed, _, comment = END_OF_ARCHIVE.unpack(end)
    if comment or entries != total or total > 100 or listed > 100_000:
        raise _refused(path, f"it holds {total} members, not {len(ALLOWED_MEMBERS)}")


def _check_network(path: Path, node: Any) -> None:
    """Walk the whole configuration: anything Keras would construct or call by name must be on the list."""
    if isinstance(node, list):
        for item in node:
            _check_network(path, item)
    elif isinstance(node, dict):
        if ("class_name" in node or "module" in node) and not _is_tensor(node):
            name = f"{node['module']}.{node['class_name']}"[:200]
            known = node["class_name"] in ALLOWED_OBJECTS.get(node["module"], ())
            if not known or not _is_plain(node) or node.get("compile_config"):
                raise _refused(path, f"{name} is not on the list of allowed layers, or is not stored plainly")
        for layer in node.get("layers", ()):
            if not isinstance(layer, dict) or "module" not in layer:
                raise _refused(path, f"layer {str(layer)[:200]} is not stored as a whole layer")
        if node.get("activation", "linear") not in ALLOWED_ACTIVATIONS:
            named = str(node["activation"])[:100]
            raise _refused(path, f"activation {named!r} is not on the list of allowed activations")
        _check_names(path, node)
        for key, value in node.items():
            if key.endswith(NAMED_OBJECTS) and isinstance(value, str):
                raise _refused(path, f"{key} is only a name, {value[:100]!r}")
            # Where Keras had the object in memory: a number, and nothing is made of it.
            if key != "shared_object_id" or not isinstance(value, int):
                _check_network(path, value)
    # Written so that a number that is none (NaN) is too large.
    elif isinstance(node, int | float) and not abs(node) <= LARGEST_NUMBER:
        raise _refused(path, f"its configuration has the number {node}; at most {LARGEST_NUMBER} is allowed")


def _check_names(path: Path, node: dict[str, Any]) -> None:
    policy = node.get("config")
    if node.get("class_name") == "DTypePolicy" and not (
        isinstance(policy, dict)
        and policy.get("name") in ALLOWED_POLICIES
        and policy.get("source_name") is None
        and set(policy) <= {"name", "source_name"}
    ):
        raise _refused(path, f"DTypePolicy {str(policy)[:100]} is not on the list of allowed policies")
    name = node.get("name")
    if isinstance(name, str) and not LAYER_NAME.fullmatch(name):
        raise _refused(path, f"the name {name[:100]!r} is not that of a layer: letters, digits and _ are")


def _is_tensor(node: dict[str, Any]) -> bool:
    return node.get("class_name") == TENSOR and set(node) == {"class_name", "config"}


def _is_plain(node: dict[str, Any]) -> bool:
    """Keras looks a registered name up among what programs have added to it; it registers this one itself."""
    registered = node.get("registered_name")
    return registered is None or registered == node["class_name"] == "Functional"


def _refused(path: Path, reason: str) -> SteelsightError:
    return SteelsightError(ErrorCode.ARTIFACT_INVALID, f"{path} is refused: {reason}")
