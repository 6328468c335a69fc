"""model.sliding: whole frames scored with shared convolutions have the scores of their tiles."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from model import sliding
from model.artifact import MANIFEST, Fitting, Manifest, read_manifest, write_manifest
from model.calibration import IdentityCalibrator
from model.engine import KerasEngine, OnnxEngine
from model.export import save_keras, save_onnx
from model.image import decode
from model.inspector import Inspector
from model.network import PRESETS, Block, NetworkConfig, build, trunk_and_head
from model.registry import Registry
from model.sharing import Sharing, obstacle, runs
from model.sliding import Windows, disagreement, shared_network
from model.tiling import Fit, TileGrid

NETWORKS = {
    "plain": NetworkConfig(input_size=32, blocks=(Block(filters=4), Block(filters=6)), dense_units=8),
    "colour, classes, three blocks": NetworkConfig(
        input_size=48,
        channels=3,
        blocks=(Block(filters=3), Block(filters=4), Block(filters=5)),
        dense_units=8,
        outputs=4,
    ),
    "last pool whole, normalized, strided": NetworkConfig(
        input_size=32,
        centred=True,
        blocks=(
            Block(filters=4, kernel=5, stride=2, normalize=True),
            Block(filters=6, pooling="max_and_average", pool_after=5, normalize=True),
        ),
        dense_units=8,
        dropout=0.3,
    ),
    "both pools on the way, global average": NetworkConfig(
        input_size=32,
        blocks=(
            Block(filters=3, pooling="max_and_average", pool_before=2, pool_after=3),
            Block(filters=4, pool_after=1),
        ),
        dense_units=8,
        global_pooling=True,
    ),
}
PADDED = [name for name, network in PRESETS.items() if obstacle(network, network.input_size)]
SHARED = [name for name in PRESETS if name not in PADDED]


@pytest.fixture(scope="module")
def published(seeded_network, tmp_path_factory):
    """The folder of a network, by its name here or that of a preset: made once each."""
    made = {}

    def publish(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("network")
            model = seeded_network(NETWORKS.get(name) or PRESETS[name], 1)
            save_keras(model, made[name])
            save_onnx(model, made[name])
        return made[name]

    return publish


def republish(folder: Path, manifest: Manifest) -> None:
    """Vouch for what the folder holds now, as if it had been published so."""
    (folder / MANIFEST).unlink()
    write_manifest(folder, manifest)


def of_tiles(engine, frame, grid):
    return np.concatenate([engine.logits(tiles) for tiles in grid.batches(frame, 32)])


def assert_same(network, engine, frame, stride):
    grid = TileGrid.cover(*frame.shape, network.input_size, stride)
    network_shared = shared_network(engine, Sharing.of(network), stride)
    shared, tiles = network_shared.logits(frame, grid), of_tiles(engine, frame, grid)
    assert shared.shape == tiles.shape == (len(grid), network.outputs)
    assert shared.dtype == np.float32
    np.testing.assert_allclose(shared, tiles, atol=1e-5, rtol=1e-4)
    probabilities = IdentityCalibrator().probabilities
    np.testing.assert_allclose(probabilities(shared), probabilities(tiles), atol=1e-6, rtol=0)
    return shared


@pytest.mark.parametrize("name", NETWORKS)
class TestSameAsTiles:
    def test_at_every_stride_that_aligns_and_at_odd_sizes(self, published, name, steel_frame):
        network, engine = NETWORKS[name], OnnxEngine(published(name), 1)
        tile, step = network.input_size, Sharing.of(network).stride
        for stride in (2 * step, tile // 2 // step * step, tile // step * step):
            for height, width in (
                (tile, tile),
                (tile + 1, tile),
                (tile, 3 * tile + 7),
                (2 * tile + 13, 2 * tile + step),
            ):
                scored = assert_same(network, engine, steel_frame(height, width, seed=stride, defects=3), stride)
        assert np.ptp(scored) > 0.1

    def test_with_the_keras_engine(self, published, name, steel_frame):
        network, engine = NETWORKS[name], KerasEngine(published(name), 1)
        tile, step = network.input_size, Sharing.of(network).stride
        assert_same(network, engine, steel_frame(tile + 5, 2 * tile + 3, defects=2), 2 * step)

    def test_however_the_frame_is_cut(self, published, name, steel_frame, monkeypatch):
        network, engine = NETWORKS[name], OnnxEngine(published(name), 1)
        tile, step = network.input_size, Sharing.of(network).stride
        frame = steel_frame(2 * tile + 3, 5 * tile, defects=4)
        whole = assert_same(network, engine, frame, step)
        monkeypatch.setattr(sliding, "BLOCK_BYTES", 2000)
        monkeypatch.setattr(sliding, "PATCH_BYTES", 30_000)
        monkeypatch.setattr(sliding, "WIDEST_PATCH", 2 * tile)
        monkeypatch.setattr(sliding, "BATCH_WINDOWS", 3)
        np.testing.assert_allclose(assert_same(network, engine, frame, step), whole, atol=1e-5)

    def test_the_map_has_the_shape_that_was_planned(self, published, name):
        sharing, engine = Sharing.of(NETWORKS[name]), OnnxEngine(published(name), 1)
        for places in (sharing.window, sharing.window + 1):
            pixels = sharing.pixels(places)
            for shape in ((pixels, pixels), (pixels + sharing.stride - 1, pixels)):
                assert engine.trunk(np.zeros(shape, np.uint8)).shape == (places, places, sharing.depth)


@pytest.mark.parametrize("name", SHARED)
def test_presets_that_share(published, name, steel_frame):
    network, engine = PRESETS[name], OnnxEngine(published(name), 1)
    tile = network.input_size
    assert_same(network, engine, steel_frame(tile + 37, 2 * tile + 50, defects=3), tile // 2)
    sharing = Sharing.of(network)
    assert disagreement(engine, Windows(engine, sharing), sharing, tile // 4) < engine.rounding


@pytest.mark.parametrize("source", ["bsdata", "kolektorsdd"])
@pytest.mark.parametrize("stride", [128, 64, 32])
def test_on_photographed_frames(published, shared_data, source, stride):
    network, engine = PRESETS["steel-128"], OnnxEngine(published("steel-128"), 1)
    files = sorted(
        path for path in (shared_data / "data" / source).rglob("*") if path.suffix.lower() in (".jpg", ".png", ".bmp")
    )
    frames = [decode(path.read_bytes()) for path in files[:: max(1, len(files) // 3)][:3]]
    whole = [frame[:700, :900] for frame in frames if min(frame.shape) >= network.input_size]
    assert whole
    for frame in whole:
        assert_same(network, engine, np.ascontiguousarray(frame), stride)


class TestObstacle:
    @pytest.mark.parametrize("name", PRESETS)
    def test_is_that_of_the_network_which_is_built(self, name):
        """The plan is made from the configuration, the halves from the layers: they must not drift apart."""
        network = PRESETS[name].model_copy(update={"dense_units": 2})
        halves = trunk_and_head(build(network))
        if name in PADDED:
            assert halves is None
            return
        sharing = Sharing.of(network)
        trunk, head = halves
        assert trunk.output.shape[3] == sharing.depth
        assert head.input.shape[1:] == (sharing.window, sharing.window, sharing.depth)

    def test_presets_for_line_speed_share_at_a_half_and_a_quarter_of_a_tile(self):
        for name in ("steel-128", "steel-64", "steel-128-deep", "steel-128-line", "steel-64-line"):
            network = PRESETS[name]
            assert not any(obstacle(network, network.input_size // part) for part in (1, 2, 4)), name

    def test_names_the_layer(self):
        assert "convolution_2 is padded" in obstacle(
            NetworkConfig(input_size=32, blocks=(Block(filters=2), Block(filters=2, padding="same"))), 16
        )
        assert "level" in obstacle(NetworkConfig(input_size=32, blocks=(Block(filters=2),), levelled=True), 16)

    def test_a_kernel_of_one_pads_nothing(self):
        assert obstacle(NetworkConfig(input_size=32, blocks=(Block(filters=2, kernel=1, padding="same"),)), 16) is None

    @pytest.mark.parametrize(("stride", "told"), [(1, "is 4"), (6, "are 4 and 8"), (127, "are 124 and 128")])
    def test_names_the_nearest_strides_that_align(self, stride, told):
        reason = obstacle(PRESETS["steel-128"], stride)
        assert reason.endswith(told)
        assert f"{stride} px" in reason


class TestRuns:
    def test_hold_every_position_once_and_in_order(self):
        rng = np.random.default_rng(0)
        for _ in range(200):
            positions = tuple(np.cumsum(rng.integers(1, 30, rng.integers(1, 20))).tolist())
            stride, longest = int(rng.integers(1, 9)), int(rng.integers(16, 200))
            cut = list(runs(positions, 16, stride, longest))
            assert [position for run in cut for position in positions[run]] == list(positions)
            for run in cut:
                members = positions[run]
                assert all((position - members[0]) % stride == 0 for position in members)
                assert len(members) == 1 or members[-1] + 16 - members[0] <= longest


class TestInspector:
    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls, tiny_models):
        return Inspector.load(Registry(tiny_models), "tiny-64-first", "onnx", threads=1, stride=32)

    def test_shares_where_it_can_and_says_so(self, loaded, steel_frame):
        frames = [steel_frame(64, 64), steel_frame(150, 201, defects=3), steel_frame(20, 30), steel_frame(64, 65)]
        in_tiles = dataclasses.replace(loaded, shared=None)
        shared, tiles = loaded.inspect_all(frames), in_tiles.inspect_all(frames)
        assert [each.method for each in shared] == ["tiles", "shared", "tiles", "shared"]
        assert {each.method for each in tiles} == {"tiles"}
        for one, other in zip(shared, tiles, strict=True):
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
            assert (one.verdict, one.grid, len(one.events)) == (other.verdict, other.grid, len(other.events))

    def test_tile_by_tile_at_a_stride_that_does_not_align(self, tiny_models, caplog):
        with caplog.at_level(logging.INFO):
            loaded = Inspector.load(Registry(tiny_models), "tiny-64-first", "onnx", threads=1, stride=30)
        assert loaded.shared is None
        assert "the nearest are 28 and 32" in caplog.text

    def test_tile_by_tile_where_the_halves_are_not_in_the_version(self, own_models, steel_frame):
        folder = own_models / "tiny-64-first"
        manifest = read_manifest(folder)
        for half in ("trunk.onnx", "head.onnx"):
            (folder / half).unlink()
        republish(folder, manifest)
        loaded = Inspector.load(Registry(own_models), "tiny-64-first", "onnx", threads=1)
        assert loaded.inspect(steel_frame(64, 150)).method == "tiles"

    def test_halves_that_disagree_are_not_used(self, own_models, caplog):
        """A head of another network: the tiles are what was evaluated."""
        import onnx
        from onnx import numpy_helper

        folder = own_models / "tiny-64-first"
        head = onnx.load(folder / "head.onnx")
        weights = max(head.graph.initializer, key=lambda each: len(each.raw_data))
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.001, weights.name))
        onnx.save(head, folder / "head.onnx")
        republish(folder, read_manifest(folder))
        loaded = Inspector.load(Registry(own_models), "tiny-64-first", "onnx", threads=1)
        assert loaded.shared is None
        assert "tile by tile" in caplog.text

    def test_a_frame_resized_whole_shares_nothing(self, own_models, steel_frame):
        folder = own_models / "tiny-64-first"
        resizing = Fitting(fit=Fit.RESIZE, tile=64, stride=64)
        republish(folder, read_manifest(folder).model_copy(update={"fitting": resizing}))
        loaded = Inspector.load(Registry(own_models), "tiny-64-first", "onnx", threads=1)
        inspection = loaded.inspect(steel_frame(100, 200), overlap=80)
        assert (inspection.method, inspection.scores.shape) == ("tiles", (1, 1))
