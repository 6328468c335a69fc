"""model.layers: a `.keras` file is a program; only our own kind is let through."""

import io
import json
import re
import struct
import zipfile

import pytest

from model.errors import ErrorCode, SteelsightError
from model.layers import ALLOWED_MEMBERS, MAX_CONFIG_BYTES, check_layers
from model.network import PRESETS, Block, NetworkConfig, build

EVERYTHING = NetworkConfig(
    input_size=32,
    channels=3,
    blocks=(
        Block(filters=2, pool_before=2),
        Block(filters=2, pooling="average", padding="same", stride=2, pool_after=1),
        Block(filters=2, kernel=1, pooling="max_and_average", pool_after=2),
    ),
    dense_units=3,
    dropout=0.3,
    outputs=4,
    global_pooling=True,
)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The three files inside a saved model, by name."""
    path = tmp_path_factory.mktemp("layers") / "model.keras"
    blocks = (Block(filters=2), Block(filters=2, kernel=1, pooling="max_and_average"))
    build(NetworkConfig(input_size=16, blocks=blocks, dense_units=2)).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def refused(path, match=None):
    with pytest.raises(SteelsightError, match=match) as caught:
        check_layers(path)
    assert caught.value.code is ErrorCode.ARTIFACT_INVALID
    assert str(path) in caught.value.message


def nodes(config):
    """Every dictionary in a configuration that names a class."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from nodes(value)


@pytest.mark.parametrize("config", [*PRESETS.values(), EVERYTHING], ids=[*PRESETS, "everything"])
def test_our_own_networks_pass(config, tmp_path):
    build(config).save(tmp_path / "model.keras")
    check_layers(tmp_path / "model.keras")


def test_a_rewritten_archive_passes(members, tmp_path):
    check_layers(write(tmp_path / "m.keras", members))
    check_layers(write(tmp_path / "m.keras", members, zipfile.ZIP_DEFLATED))


class TestLayersThatAreNotOurs:
    def refused_after(self, members, tmp_path, change, match=None):
        config = json.loads(members["config.json"])
        change(config)
        refused(write(tmp_path / "m.keras", members | {"config.json": json.dumps(config)}), match)

    def layer(self, config, class_name):
        return next(node for node in nodes(config) if node["class_name"] == class_name)

    @pytest.mark.parametrize(
        ("module", "class_name"),
        [
            ("keras.layers", "Lambda"),
            ("keras.layers", "TFSMLayer"),
            ("keras.layers", "TorchModuleWrapper"),
            ("keras.layers", "Wrapper"),
            ("keras.models", "Sequential"),
            ("keras", "Model"),
            ("builtins", "eval"),
            ("os", "system"),
            ("", "Dense"),
            (None, "Dense"),
            ("keras.layers", None),
            ("keras.layers", ["Dense"]),
            (["keras.layers"], "Dense"),
        ],
    )
    @pytest.mark.parametrize(
        "place",
        ["Conv2D", "InputLayer", "GlorotUniform", "DTypePolicy", "Sequential", "Functional", "Concatenate"],
    )
    def test_in_any_place(self, members, tmp_path, module, class_name, place):
        self.refused_after(
            members,
            tmp_path,
            lambda config: self.layer(config, place).update(module=module, class_name=class_name),
        )

    def test_custom_registered_objects(self, members, tmp_path):
        self.refused_after(
            members,
            tmp_path,
            lambda config: self.layer(config, "Dense").update(registered_name="evil>Dense"),
            "keras.layers.Dense",
        )

    def test_a_name_that_only_two_poolings_side_by_side_may_have(self, members, tmp_path):
        self.refused_after(
            members,
            tmp_path,
            lambda config: self.layer(config, "Conv2D").update(registered_name="Functional"),
            "keras.layers.Conv2D",
        )

    @pytest.mark.parametrize("layer", ["Lambda", 7, None, {"class_name": "__keras_tensor__", "config": {}}], ids=str)
    @pytest.mark.parametrize("network", ["Sequential", "Functional"])
    def test_a_layer_that_is_no_whole_layer(self, members, tmp_path, network, layer):
        self.refused_after(
            members, tmp_path, lambda config: self.layer(config, network)["config"]["layers"].append(layer), "layer"
        )

    def test_a_tensor_that_is_more_than_a_tensor(self, members, tmp_path):
        for extra in ({"module": "keras.layers"}, {"registered_name": None}, {"build_config": {}}):
            self.refused_after(
                members,
                tmp_path,
                lambda config, extra=extra: self.layer(config, "__keras_tensor__").update(extra),
            )

    def test_a_class_without_its_module(self, members, tmp_path):
        self.refused_after(members, tmp_path, lambda config: self.layer(config, "Dense").pop("module"))

    @pytest.mark.parametrize(
        "activation",
        ["tanh", "custom>evil", "", "keras.ops.exp", ["relu"], {"class_name": "function", "config": "evil"}, 3],
        ids=str,
    )
    def test_odd_activations(self, members, tmp_path, activation):
        for place in ("Conv2D", "Activation"):
            self.refused_after(
                members,
                tmp_path,
                lambda config, place=place: self.layer(config, place)["config"].update(activation=activation),
            )

    @pytest.mark.parametrize(
        "field", ["kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_constraint"]
    )
    @pytest.mark.parametrize(
        "gadget",
        [
            {"module": "keras.layers", "class_name": "Lambda", "config": {}, "registered_name": None},
            {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
            {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
            {"wrapped": [{"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}]},
            "custom>evil",
            "orthogonal",
        ],
        ids=["lambda-layer", "function", "lambda", "wrapped", "custom-name", "built-in-name"],
    )
    def test_gadgets_in_nested_fields(self, members, tmp_path, field, gadget):
        self.refused_after(
            members, tmp_path, lambda config: self.layer(config, "Dense")["config"].update({field: gadget})
        )

    def test_a_compiled_model(self, members, tmp_path):
        self.refused_after(
            members, tmp_path, lambda config: config.update(compile_config={"optimizer": "adam", "loss": "evil"})
        )

    def test_a_wrapped_network(self, members, tmp_path):
        config = json.loads(members["config.json"])
        refused(
            write(tmp_path / "m.keras", members | {"config.json": json.dumps({"list": [config | {"module": "evil"}]})})
        )

    @pytest.mark.parametrize(
        "text", ["", "{", "[" * 50_000, b"\xff\xfe\x00", '{"class_name": {}}', "null", "[]", "{}", '"x"']
    )
    def test_a_configuration_that_is_none(self, members, tmp_path, text):
        refused(write(tmp_path / "m.keras", members | {"config.json": text}))


class TestArchivesThatAreNotOurs:
    @pytest.mark.parametrize("data", [b"", b"PK", b"hello" * 100, b"\x89HDF\r\n\x1a\n" + bytes(100), b"\x80\x04K\x01."])
    def test_no_zip(self, tmp_path, data):
        (tmp_path / "m.keras").write_bytes(data)
        refused(tmp_path / "m.keras", "cannot be read")

    def test_no_file(self, tmp_path):
        refused(tmp_path / "none.keras")
        refused(tmp_path)

    @pytest.mark.parametrize(
        "extra",
        ["model.h5", "assets/vocabulary.txt", "../outside", "/etc/cron.d/x", "evil.py", "assets/", "CONFIG.JSON"],
    )
    def test_extra_members(self, members, tmp_path, extra):
        refused(write(tmp_path / "m.keras", members | {extra: b"x"}), "it holds the files")

    @pytest.mark.parametrize("name", sorted(ALLOWED_MEMBERS))
    def test_a_missing_member(self, members, tmp_path, name):
        refused(write(tmp_path / "m.keras", {key: data for key, data in members.items() if key != name}))

    @pytest.mark.parametrize("first_is_ours", [True, False])
    def test_two_members_of_one_name(self, members, tmp_path, first_is_ours):
        path = tmp_path / "m.keras"
        odd = json.loads(members["config.json"])
        odd["class_name"] = "Functional"
        configs = [members["config.json"], json.dumps(odd).encode()]
        with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
            for config in configs if first_is_ours else reversed(configs):
                archive.writestr("config.json", config)
            for name in ("metadata.json", "model.weights.h5"):
                archive.writestr(name, members[name])
        refused(path)

    def test_a_configuration_that_inflates(self, members, tmp_path):
        bomb = b'{"a": "' + b" " * MAX_CONFIG_BYTES + b'"}'
        path = write(tmp_path / "m.keras", members | {"config.json": bomb}, zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < MAX_CONFIG_BYTES / 10
        refused(path, "claims")

    def test_a_configuration_that_inflates_more_than_it_claims(self, members, tmp_path):
        bomb = b'{"a": "' + b" " * 5_000_000 + b'"}'
        path = write(tmp_path / "m.keras", members | {"config.json": bomb}, zipfile.ZIP_DEFLATED)
        path.write_bytes(path.read_bytes().replace(struct.pack("<I", len(bomb)), struct.pack("<I", 1000)))
        refused(path)

    @pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_every_byte_may_be_broken(self, members, tmp_path, method):
        """Whatever Python's zip reader raises on the way, it ends in our refusal or in the same configuration."""
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", method) as archive:
            archive.writestr("config.json", members["config.json"])
            archive.writestr("metadata.json", b"{}")
            archive.writestr("model.weights.h5", b"")
        good, path, refusals = target.getvalue(), tmp_path / "m.keras", 0
        for position in range(0, len(good), 3):
            for bit in (0, 7):
                broken = bytearray(good)
                broken[position] ^= 1 << bit
                path.write_bytes(broken)
                try:
                    check_layers(path)
                except SteelsightError:
                    refusals += 1
        assert refusals > len(good) // 3

    def test_an_encrypted_member(self, members, tmp_path):
        path = write(tmp_path / "m.keras", members)
        data = bytearray(path.read_bytes())
        for mark, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            for match in re.finditer(re.escape(mark), bytes(data)):
                data[match.start() + flags_at] |= 1
        path.write_bytes(data)
        refused(path)
