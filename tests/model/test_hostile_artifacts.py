"""Versions that are made to do harm: each is refused by name, and nothing of it happens.

Every file here is what its manifest says, to the byte: whoever makes such a version makes its manifest, too.
"""

import base64
import io
import json
import marshal
import os
import pickle
import shutil
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model.artifact import MANIFEST, Manifest, read_manifest, verify, write_manifest
from model.contents import check_contents
from model.errors import ErrorCode, SteelsightError
from model.layers import MAX_WEIGHTS_BYTES
from model.onnx_file import MOST_FIELDS

h5py = pytest.importorskip("h5py")

VERSION = "tiny-64-first"
REACHING_OUT = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.", "urllib.")
seen: list[str] = []
watching = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if watching and event.startswith(REACHING_OUT):
        seen.append(event)
    if watching and event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        seen.append(f"open {arguments[0]}")


# It cannot be taken off again, and costs nothing but the look at a flag.
sys.addaudithook(_note)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that no refused version makes. Whatever is tried meanwhile is written down."""
    global watching  # noqa: PLW0603
    path = tmp_path / "canary"
    seen.clear()
    yield path
    watching = False
    assert not path.exists()
    assert seen == []


@pytest.fixture
def version(own_models: Path) -> Path:
    return own_models / VERSION


def rewritten(folder: Path) -> Manifest:
    """The manifest of what lies there now."""
    manifest = read_manifest(folder)
    write_manifest(folder, manifest)
    return read_manifest(folder)


def refused(folder: Path, match: str) -> None:
    """Refused whoever looks, at the listing or at the contents, and without being opened."""
    global watching  # noqa: PLW0603
    manifest = rewritten(folder)
    watching = True
    with pytest.raises(SteelsightError, match=match) as caught:
        check_contents(folder, verify(folder))
    watching = False
    assert caught.value.code is ErrorCode.ARTIFACT_INVALID
    assert str(folder) in caught.value.message
    assert len(caught.value.message) < 2000
    assert manifest.version == VERSION


def test_the_version_itself_is_let_through(version: Path, canary: Path) -> None:
    check_contents(version, verify(version))


class Keras:
    """A `.keras` file to be made worse."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.config = json.loads(self.members["config.json"])

    def layer(self, class_name: str) -> dict[str, Any]:
        return next(layer for layer in self.config["config"]["layers"] if layer["class_name"] == class_name)

    def add(self, layer: dict[str, Any]) -> None:
        self.config["config"]["layers"].insert(2, layer)

    def write(self, compression: int = zipfile.ZIP_STORED) -> None:
        with zipfile.ZipFile(self.path, "w", compression) as archive:
            for name, data in (self.members | {"config.json": json.dumps(self.config).encode()}).items():
                archive.writestr(name, data)


@pytest.fixture
def keras(version: Path) -> Keras:
    return Keras(version / "model.keras")


def touching(canary: Path) -> str:
    return f"touch {canary}"


def marshalled(canary: Path) -> str:
    code = (lambda value: __import__("os").system("touch CANARY") or value).__code__
    told = tuple(touching(canary) if each == "touch CANARY" else each for each in code.co_consts)
    return base64.b64encode(marshal.dumps(code.replace(co_consts=told))).decode()


# Layers that Keras would build, and what of them is told.
GADGETS: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "Lambda with marshalled code": (
        lambda canary: {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"function": {"class_name": "__lambda__", "config": {"code": marshalled(canary)}}},
            "registered_name": None,
        },
        "keras.layers.Lambda",
    ),
    "Lambda that names os.system": (
        lambda canary: {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {
                "function": {"module": "os", "class_name": "function", "config": "system"},
                "arguments": {"command": touching(canary)},
            },
            "registered_name": None,
        },
        "keras.layers.Lambda",
    ),
    "os.system as a layer": (
        lambda canary: {
            "module": "os",
            "class_name": "system",
            "config": touching(canary),
            "registered_name": "system",
        },
        "os.system",
    ),
    "a function registered by the program": (
        lambda canary: {
            "module": "builtins",
            "class_name": "exec",
            "config": f"open({str(canary)!r}, 'w')",
            "registered_name": "exec",
        },
        "builtins.exec",
    ),
    "get_file as a layer": (
        lambda canary: {
            "module": "keras.utils",
            "class_name": "get_file",
            "config": {"fname": str(canary), "origin": "http://127.0.0.1:9/weights"},
            "registered_name": None,
        },
        "keras.utils.get_file",
    ),
    "TFSMLayer": (
        lambda canary: {
            "module": "keras.layers",
            "class_name": "TFSMLayer",
            "config": {"filepath": str(canary.parent), "call_endpoint": "serve"},
            "registered_name": None,
        },
        "keras.layers.TFSMLayer",
    ),
    "StringLookup that reads a file of words": (
        lambda canary: {
            "module": "keras.layers",
            "class_name": "StringLookup",
            "config": {"vocabulary": "/etc/passwd"},
            "registered_name": None,
        },
        "keras.layers.StringLookup",
    ),
    "a layer in a wrapper": (
        lambda canary: {
            "module": "keras.layers",
            "class_name": "TimeDistributed",
            "config": {"layer": {"module": "os", "class_name": "system", "config": touching(canary)}},
            "registered_name": None,
        },
        "keras.layers.TimeDistributed",
    ),
    "a layer of the first Keras": (
        lambda canary: {"class_name": "Lambda", "config": {"function": marshalled(canary)}},
        "is not stored as a whole layer",
    ),
    "a policy that builds other layers": (
        lambda canary: {
            "module": "keras",
            "class_name": "DTypePolicy",
            "config": {"name": "int8_from_float32"},
            "registered_name": None,
        },
        "int8_from_float32",
    ),
}


@pytest.mark.parametrize("gadget", GADGETS)
def test_gadgets_of_keras(keras: Keras, version: Path, canary: Path, gadget: str) -> None:
    make, told = GADGETS[gadget]
    keras.add(make(canary))
    keras.write()
    refused(version, told)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda keras: keras.layer("Dense")["config"].update(activation="os.system"), "activation 'os.system'"),
        (lambda keras: keras.layer("Dense")["config"].update(kernel_initializer="os>system"), "only a name"),
        (lambda keras: keras.layer("Dense").update(registered_name="os>system"), "not stored plainly"),
        (lambda keras: keras.layer("Dense")["config"].update(name="../../canary"), "'../../canary' is not that of a"),
        (lambda keras: keras.layer("Dense")["config"].update(name="/etc/cron.d/canary"), "is not that of a layer"),
        (lambda keras: keras.layer("Dense")["config"].update(units=2**40), "has the number 1099511627776"),
        (lambda keras: keras.layer("Conv2D")["config"].update(kernel_size=[2**31, 1]), "has the number 2147483648"),
        (lambda keras: keras.layer("Rescaling")["config"].update(scale=float("nan")), "has the number nan"),
        (lambda keras: keras.layer("Conv2D")["build_config"].update(input_shape=[[[1e18]]]), "has the number 1e\\+18"),
    ],
    ids=map(str, range(9)),
)
def test_fields_of_a_layer(
    keras: Keras, version: Path, canary: Path, change: Callable[[Keras], object], told: str
) -> None:
    change(keras)
    keras.write()
    refused(version, told)


class TestTheArchive:
    @pytest.mark.parametrize(
        "name", ["model.h5", "../../canary", "/etc/cron.d/canary", "assets/StringLookup/vocabulary.txt", "weights.pkl"]
    )
    def test_another_member(self, keras: Keras, version: Path, canary: Path, name: str) -> None:
        keras.members[name] = b"x"
        keras.write()
        refused(version, "it holds the files")

    def test_a_million_members(self, keras: Keras, version: Path, canary: Path) -> None:
        """By the archive's own count; the list itself need not be there."""
        data = bytearray(keras.path.read_bytes())
        data[-14:-10] = struct.pack("<HH", 60_000, 60_000)
        keras.path.write_bytes(data)
        refused(version, "it holds 60000 members")

    def test_a_bomb(self, keras: Keras, version: Path, canary: Path) -> None:
        keras.write(zipfile.ZIP_DEFLATED)
        data = keras.path.read_bytes()
        size = struct.pack("<I", len(keras.members["model.weights.h5"]))
        assert data.count(size) == 2
        keras.path.write_bytes(data.replace(size, struct.pack("<I", MAX_WEIGHTS_BYTES)))
        refused(version, "once inflated")

    def test_weights_as_a_pickle(self, keras: Keras, version: Path, canary: Path) -> None:
        class Gadget:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.system, (touching(canary),)

        keras.members["model.weights.h5"] = pickle.dumps(Gadget())
        keras.write()
        refused(version, "its weights cannot be read")

    @pytest.mark.parametrize("kept", [0.9, 0.5, 0.01])
    def test_cut_off(self, keras: Keras, version: Path, canary: Path, kept: float) -> None:
        data = keras.path.read_bytes()
        keras.path.write_bytes(data[: int(len(data) * kept)])
        refused(version, "cannot be read as a Keras archive")


def _external(file: Any, folder: Path) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.ExternalLink(str(folder / "other.h5"), "/secret")


def _soft(file: Any, folder: Path) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense/vars/1")


def _stored_elsewhere(file: Any, folder: Path) -> None:
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", (16,), "f4", external=[("/etc/passwd", 0, 64)])


def _virtual(file: Any, folder: Path) -> None:
    del file["layers/dense/vars/1"]
    layout = h5py.VirtualLayout((16,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (16,))
    file["layers/dense/vars"].create_virtual_dataset("1", layout)


def _filled(file: Any, folder: Path) -> None:
    """A terabyte that is nowhere: a shape and a fill value."""
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", (2**38,), "f4", chunks=(2**20,))


def _deflated(file: Any, folder: Path) -> None:
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", data=np.zeros(2**22, "f4"), compression="gzip")


def _words(file: Any, folder: Path) -> None:
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", data=["/etc/passwd"] * 16)


def _no_numbers(file: Any, folder: Path) -> None:
    file["layers/dense/vars/1"][3] = np.nan


def _outside(file: Any, folder: Path) -> None:
    file["layers"].create_group(".. ").create_group("canary")


def _endless(file: Any, folder: Path) -> None:
    file["layers/again"] = file["layers"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_external, "is a link that leads elsewhere .*other.h5"),
        (_soft, "is a link that leads elsewhere"),
        (_stored_elsewhere, "lies in another file"),
        (_virtual, "lies in another file"),
        (_filled, "claims 1099511627776 bytes"),
        (_deflated, "claims 16777216 bytes"),
        (_words, "not floating-point numbers"),
        (_no_numbers, "NaN or infinite"),
        (_outside, "a part named"),
        (_endless, "nested more than"),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
def test_weights_in_hdf5(
    keras: Keras, version: Path, canary: Path, tmp_path: Path, change: Callable[[Any, Path], None], told: str
) -> None:
    content = io.BytesIO(keras.members["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        change(file, tmp_path)
    keras.members["model.weights.h5"] = content.getvalue()
    keras.write()
    refused(version, told)


def _external_data(model: Any) -> None:
    constant = model.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="../../../../etc/passwd")


def _custom_domain(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))
    model.graph.node[0].domain = "evil.ops"


def _custom_operator(model: Any) -> None:
    model.graph.node[0].domain = "com.microsoft"


def _branch(model: Any) -> None:
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))


def _inner_graph(model: Any) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "inner", [], [])))


def _function(model: Any) -> None:
    model.functions.add(name="Conv", domain="local")


def _huge_constant(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [2**40, 2**20]


def _huge_pads(model: Any) -> None:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    conv.attribute.append(helper.make_attribute("pads", [2**40, 0, 0, 0]))


def _fill(model: Any) -> None:
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["memory"]))


def _nan(model: Any) -> None:
    constant = next(each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT and each.dims)
    values = numpy_helper.to_array(constant).copy()
    values.flat[0] = np.inf
    constant.CopyFrom(numpy_helper.from_array(values, constant.name))


def _as_words(model: Any) -> None:
    model.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [1], [b"/etc/passwd"]))


def _sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


def _training(model: Any) -> None:
    model.training_info.add()


@pytest.mark.parametrize("file", ["model.onnx", "trunk.onnx", "head.onnx"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_external_data, "external data"),
        (_custom_domain, "evil.ops"),
        (_custom_operator, "com.microsoft"),
        (_branch, "operator If"),
        (_inner_graph, "a graph of its own"),
        (_function, "functions"),
        (_huge_constant, "is of shape"),
        (_fill, "operator ConstantOfShape"),
        (_nan, "NaN or infinite"),
        (_as_words, "not stored as raw numbers"),
        (_sparse, "sparse"),
        (_training, "training graph"),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
def test_networks_in_onnx(version: Path, canary: Path, file: str, change: Callable[[Any], None], told: str) -> None:
    network = onnx.load(version / file)
    change(network)
    (version / file).write_bytes(network.SerializeToString())
    refused(version, f"{file} cannot be loaded: .*{told}")


def test_a_convolution_with_pads_that_no_memory_holds(version: Path, canary: Path) -> None:
    network = onnx.load(version / "model.onnx")
    _huge_pads(network)
    (version / "model.onnx").write_bytes(network.SerializeToString())
    refused(version, "operator Conv has the number 1099511627776")


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.001, 0.0])
def test_an_onnx_file_cut_off(version: Path, canary: Path, kept: float) -> None:
    data = (version / "model.onnx").read_bytes()
    (version / "model.onnx").write_bytes(data[: int(len(data) * kept)])
    refused(version, "cut off|graphs, not one|is of shape")


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(np.zeros(3)),
        b"\x80\x04K\x01.",
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        b"\x0a\x00" * (MOST_FIELDS + 1),
        b"\xff" * 100,
        b"\x3a" + b"\xff" * 9 + b"\x01",
    ],
    ids=["pickled numpy", "pickle", "hdf5", "a million fields", "no varint", "a length past its end"],
)
def test_an_onnx_file_that_is_none(version: Path, canary: Path, data: bytes) -> None:
    (version / "model.onnx").write_bytes(data)
    refused(version, r"model\.onnx cannot be loaded")


def test_every_byte_of_an_onnx_file_may_be_broken(version: Path, canary: Path) -> None:
    """Refused in our words, or still a plain network: nothing else comes out of the reader."""
    manifest = read_manifest(version)
    data = (version / "head.onnx").read_bytes()
    refusals = 0
    for position in [*range(0, len(data), max(1, len(data) // 300)), *range(200)]:
        broken = bytearray(data)
        broken[position] ^= 0x81
        (version / "head.onnx").write_bytes(broken)
        try:
            check_contents(version, manifest)
        except SteelsightError:
            refusals += 1
    assert refusals > 20


class TestFilesOfNoVersion:
    @pytest.mark.parametrize("name", ["weights.pkl", "model.h5", "weights.npy", "evil.py", "sitecustomize.py", "a.so"])
    def test_of_another_kind(self, version: Path, canary: Path, name: str) -> None:
        (version / name).write_bytes(pickle.dumps(np.zeros(2)))
        refused(version, f"{name} is no file of a version")

    @pytest.mark.parametrize(
        ("sizes", "told"),
        [
            ({"model.onnx": 10**12}, "model.onnx is to have 1000000000000 bytes"),
            ({f"report/{number}.png": 500_000_000 for number in range(5)}, "bytes together"),
            ({f"report/{number}.png": 1 for number in range(3000)}, "lists 30"),
        ],
        ids=["one", "sum", "number"],
    )
    def test_too_large_is_not_read(self, version: Path, canary: Path, sizes: dict[str, int], told: str) -> None:
        manifest = json.loads((version / MANIFEST).read_text())
        manifest["files"] |= {name: {"sha256": "0" * 64, "size": size} for name, size in sizes.items()}
        (version / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(SteelsightError, match=told):
            verify(version)

    def test_thousands_of_files_that_are_not_listed(self, version: Path, canary: Path) -> None:
        for number in range(2100):
            (version / f"{number}").touch()
        with pytest.raises(SteelsightError, match="more than 2000 files and folders"):
            verify(version)

    def test_a_version_that_is_a_link(self, own_models: Path, version: Path, canary: Path, tmp_path: Path) -> None:
        shutil.move(version, tmp_path / VERSION)
        version.symlink_to(tmp_path / VERSION)
        with pytest.raises(SteelsightError, match="it is a link"):
            verify(version)


def test_a_duplicate_member_is_seen(keras: Keras, version: Path, canary: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(keras.path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("config.json", json.dumps(keras.config))
    refused(version, "it holds the files")
