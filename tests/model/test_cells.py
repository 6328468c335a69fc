"""model.cells: whole frames cell by cell, in one graph of the engine, have the logits of their tiles."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from model import cells
from model.cells import CellPlan, Cells
from model.engine import ENGINES, open_engine
from model.export import save_keras, save_onnx
from model.network import PRESETS, Block, NetworkConfig
from model.sharing import Sharing
from model.sliding import Windows, disagreement, shared_network
from model.tiling import TileGrid
from training.quantize import save_int8

TILE = 32
NETWORKS = {
    "plain": NetworkConfig(input_size=TILE, blocks=(Block(filters=4), Block(filters=6)), dense_units=8),
    "colour, classes": NetworkConfig(
        input_size=TILE, channels=3, blocks=(Block(filters=3), Block(filters=4)), dense_units=8, outputs=4
    ),
    "centred, both pools": NetworkConfig(
        input_size=TILE,
        centred=True,
        blocks=(Block(filters=3, normalize=True), Block(filters=4, pooling="max_and_average", pool_after=3)),
        dense_units=8,
    ),
}
HERE = [name for name, engine in ENGINES.items() if name.startswith("openvino") and engine.runs_here()]


@pytest.fixture(scope="module")
def engines(seeded_network, steel_tiles, tmp_path_factory):
    """An engine by its name and that of its network: opened once each."""
    opened, folders = {}, {}

    def engine(network, name="openvino"):
        if network not in folders:
            folders[network] = tmp_path_factory.mktemp("network")
            model = seeded_network(NETWORKS[network], 1)
            save_keras(model, folders[network])
            save_onnx(model, folders[network])
            save_int8(folders[network], steel_tiles(64, TILE), 0)
        if (network, name) not in opened:
            opened[network, name] = open_engine(name, folders[network], 1)
        return opened[network, name]

    return engine


@pytest.fixture
def small_blocks(monkeypatch):
    """So small that frames of a test have several."""
    monkeypatch.setattr(cells, "BLOCK", (2 * TILE, 3 * TILE))


def both(engine, network, frame, stride):
    """Logits of the frame's tiles cell by cell, and one by one."""
    shared = shared_network(engine, Sharing.of(network), stride)
    assert isinstance(shared, Cells)
    grid = TileGrid.cover(*frame.shape, TILE, stride)
    assert shared.pays(grid)
    tiles = np.concatenate([engine.logits(tiles) for tiles in grid.batches(frame, 32)])
    return shared.logits(frame, grid), tiles


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("network", NETWORKS)
class TestSameAsTiles:
    @pytest.mark.parametrize("stride", [12, 24])
    @pytest.mark.parametrize(("height", "width"), [(96, 96), (133, 201), (65, 350)])
    def test_at_any_size(self, engines, network, steel_frame, stride, height, width):
        found, tiles = both(engines(network), NETWORKS[network], steel_frame(height, width, defects=5), stride)
        assert found.shape == tiles.shape
        np.testing.assert_allclose(found, tiles, atol=1e-5, rtol=1e-4)
        assert np.ptp(tiles) > 0.1

    def test_however_the_frame_is_cut(self, engines, network, steel_frame, monkeypatch):
        monkeypatch.setattr(cells, "PATCH_BYTES", 30_000)
        monkeypatch.setattr(cells, "WIDEST_PATCH", 5 * TILE)
        monkeypatch.setattr(cells, "BATCH_TILES", 3)
        found, tiles = both(engines(network), NETWORKS[network], steel_frame(170, 400, defects=5), 12)
        np.testing.assert_allclose(found, tiles, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("name", HERE)
    def test_with_every_precision(self, engines, network, name):
        engine, sharing = engines(network, name), Sharing.of(NETWORKS[network])
        shared = shared_network(engine, sharing, 12)
        assert isinstance(shared, Cells)
        assert disagreement(engine, shared, sharing, 12) <= engine.rounding


@pytest.mark.usefixtures("small_blocks")
def test_threads_get_their_own_answers(engines, steel_frame):
    engine, network = engines("plain"), NETWORKS["plain"]
    shared, grid = shared_network(engine, Sharing.of(network), 16), TileGrid.cover(100, 150, TILE, 16)
    frames = [steel_frame(100, 150, seed=seed, defects=seed % 4) for seed in range(8)]
    expected = [shared.logits(frame, grid) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(lambda frame: shared.logits(frame, grid), frames * 4)):
            np.testing.assert_array_equal(found, expected[number % 8])


class TestPlan:
    def test_tiles_that_fill_little_of_a_block_are_scored_as_tiles(self, engines, steel_frame):
        engine = engines("plain")
        shared = shared_network(engine, Sharing.of(NETWORKS["plain"]), 16)
        for height, width, worth in ((TILE, TILE, False), (96, 96, False), (256, 1024, True)):
            grid = TileGrid.cover(height, width, TILE, 16)
            assert shared.pays(grid) is worth
        frame, grid = steel_frame(96, 96), TileGrid.cover(96, 96, TILE, 16)
        (tiles,) = grid.batches(frame, len(grid))
        np.testing.assert_array_equal(shared.logits(frame, grid), engine.logits(tiles))

    @pytest.mark.parametrize("stride", [32, 64, 128])
    def test_the_default_preset_goes_cell_by_cell(self, stride):
        assert CellPlan.of(Sharing.of(PRESETS["steel-128"]), stride)

    @pytest.mark.parametrize("stride", [4, 16, 28])
    def test_tiles_too_close_together_do_not(self, stride):
        assert CellPlan.of(Sharing.of(PRESETS["steel-128"]), stride) is None

    def test_a_head_that_begins_with_a_pool_gets_windows(self, seeded_network, tmp_path):
        network = NetworkConfig(
            input_size=TILE, blocks=(Block(filters=4), Block(filters=6, pool_after=13)), dense_units=8
        )
        save_onnx(seeded_network(network, 1), tmp_path)
        engine, sharing = open_engine("openvino", tmp_path, 1), Sharing.of(network)
        shared = shared_network(engine, sharing, 16)
        assert isinstance(shared, Windows)
        assert disagreement(engine, shared, sharing, 16) <= engine.rounding
