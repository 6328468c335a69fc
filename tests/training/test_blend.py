"""Blended defects are seen, lie softly on the tile's own level, and come from nothing but the training surfaces."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.network import Block, NetworkConfig
from synthetic import synthesize
from training.blend import BlendedSampler, blended, drawn_change, visible_grey
from training.checkpoint import Checkpoint, Run
from training.config import Experiment, load_experiment
from training.crops import CropSampler, Surface
from training.dataset import TileSet
from training.errors import DataFault, UsageFault
from training.prepare import labelled_records, prepare
from training.scan import fingerprint
from training.split import Part
from training.transplant import transplant

TILE = 64
LEAST = 20
# The plant's own defects are this bright on flat surfaces, whatever the surface's level.
OWN = 250


def flat(level: int, defect_type: str, group: str, side: int = 2 * TILE) -> Surface:
    """A surface of one grey level, with a square defect at its left upper corner unless it is ok."""
    frame, mask = np.full((side, side), level, np.uint8), np.zeros((side, side), bool)
    if defect_type != "none":
        mask[6:14, 6:14] = True
        frame[mask] = OWN
    return Surface(frame, mask, defect_type, group)


def sampler(*surfaces: Surface, tile: int = TILE) -> CropSampler:
    """Half of its tiles are defects; the fixed grid is that of `training.dataset.cut` at a stride of one tile."""
    tiles, defect, file = [], [], []
    for number, surface in enumerate(surfaces):
        side = surface.frame.shape[0]
        for y, x in np.ndindex(side // tile, side // tile):
            window = np.s_[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile]
            masked = int(surface.mask[window].sum())
            if masked == 0 or masked >= LEAST:
                tiles.append(surface.frame[window])
                defect.append(masked > 0)
                file.append(number)
    group = np.array([surfaces[number].group for number in file])
    return CropSampler(
        dict(enumerate(surfaces)), TileSet(np.stack(tiles), np.array(defect), group, np.array(file)), LEAST
    )


def draw(crops: CropSampler, share: float, count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    tiles, kinds, _ = blended(crops, share).draw(count, np.random.default_rng(seed))
    return tiles, kinds


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_every_defect_type_stays_as_frequent_as_it_was_drawn(share):
    """Of the patches, hardly a window leaves enough surface round the mask to be moved; pits always do."""
    patch = flat(120, "patch", "a")
    patch.mask[:100, :100] = True
    crops = sampler(patch, flat(120, "pit", "b"), flat(110, "none", "c"))
    _, kinds, _ = blended(crops, share, moved_share=1.0).draw(1000, np.random.default_rng(0))
    defects = kinds[kinds != "none"]
    assert set(defects) == {"patch", "pit"}
    assert (defects == "patch").mean() == pytest.approx(0.5, abs=0.07)


def level_of(tiles: np.ndarray) -> np.ndarray:
    """The surface a tile is of, told by its median."""
    return np.median(tiles, axis=(1, 2))


def test_without_a_share_tiles_are_drawn_as_ever():
    crops = sampler(flat(90, "pit", "a"), flat(120, "none", "b"))
    assert blended(crops, 0.0) is crops


def test_the_share_is_that_of_the_defects_and_half_of_it_is_moved():
    """Own defects lie on level 90 only, for ok surface is 120."""
    whole = Surface(np.full((TILE, TILE), 90, np.uint8), np.zeros((TILE, TILE), bool), "pit", "a")
    whole.mask[6:14, 6:14] = True
    whole.frame[6:14, 6:14] = OWN
    crops = sampler(whole, flat(120, "none", "b"))
    tiles, kinds = draw(crops, 0.4, 2000)
    defect = kinds != "none"
    assert defect.mean() == pytest.approx(0.5, abs=0.04)
    assert (level_of(tiles)[~defect] == 120).all()
    replaced = defect & (level_of(tiles) > 100)
    assert replaced.sum() / defect.sum() == pytest.approx(0.4, abs=0.05)
    assert (kinds[replaced] == "pit").mean() == pytest.approx(0.5, abs=0.1)
    assert set(kinds.tolist()) == {"none", "pit", "synthetic"}


@pytest.mark.parametrize("level", [12, 40, 120, 255])
def test_every_blended_defect_is_seen(level):
    tiles, kinds = draw(sampler(flat(level, "pit", "a"), flat(level, "none", "b")), 1.0)
    assert (kinds == "synthetic").sum() > 20
    shown = (np.abs(tiles[kinds != "none"].astype(int) - level) >= 5).sum(axis=(1, 2))
    assert (shown >= LEAST).all()


def test_what_is_seen_grows_with_the_texture(steel_frame):
    smooth = steel_frame(128, 128, seed=1)
    rough = np.clip(smooth + np.random.default_rng(0).normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
    assert 5 < visible_grey(smooth) < visible_grey(rough) / 2
    assert visible_grey(rough) == pytest.approx(2 * 20, rel=0.25)
    half = np.concatenate([rough[:64], np.full((64, 128), 100, np.uint8)])
    assert visible_grey(half, np.arange(128)[:, np.newaxis] * np.ones(128) >= 80) == 5


@pytest.mark.parametrize("level", [12, 60])
def test_no_drawn_defect_is_brighter_or_darker_than_the_tile_allows(level):
    tiles, kinds = draw(sampler(flat(level, "pit", "a"), flat(level, "none", "b")), 1.0)
    drawn = tiles[kinds == "synthetic"]
    assert drawn.max() <= 1.7 * level + 1
    assert drawn.min() >= 0.3 * level - 1


def test_drawn_defects_are_anywhere_and_in_any_direction():
    rng = np.random.default_rng(0)
    heat, tall, wide = np.zeros((TILE, TILE)), 0, 0
    for _ in range(300):
        shown = np.abs(drawn_change(rng, TILE, 0.5)) > 0.1
        heat += shown
        extent = [int(np.ptp(np.flatnonzero(shown.any(axis=axis)))) if shown.any() else 0 for axis in (1, 0)]
        tall, wide = tall + (extent[0] > 1.5 * extent[1]), wide + (extent[1] > 1.5 * extent[0])
    assert (heat.reshape(8, 8, 8, 8).sum(axis=(1, 3)) > 0).all()
    quarters = heat.reshape(2, 32, 2, 32).sum(axis=(1, 3))
    assert quarters.max() < 2 * quarters.min()
    assert 0.5 < tall / wide < 2


@pytest.mark.parametrize("level", [50, 120, 200])
def test_surface_that_looks_alike_leaves_no_seam(level):
    """Another level and another lighting, but nothing to see under the mask: the tile stays what it was."""
    ramp = np.linspace(0.9, 1.1, TILE)
    tile = np.rint(level * ramp[:, np.newaxis] * np.ones(TILE)).astype(np.uint8)
    mask = np.zeros((TILE, TILE), bool)
    mask[20:44, 10:50] = True
    moved, covered = transplant(tile, np.full((TILE, TILE), 140, np.uint8), mask, 1.0)
    assert np.array_equal(covered, mask)
    assert np.abs(moved.astype(int) - tile).max() <= 0.04 * level


def test_a_moved_defect_keeps_its_contrast_and_its_seam_is_soft():
    source, mask = np.full((TILE, TILE), 150, np.uint8), np.zeros((TILE, TILE), bool)
    mask[20:40, 20:40] = True
    source[mask] = 75
    tile = np.full((TILE, TILE), 60, np.uint8)
    moved, _ = transplant(tile, source, mask, 1.0)
    assert moved[30, 30] == pytest.approx(30, abs=1)
    assert transplant(tile, source, mask, 0.5)[0][30, 30] == pytest.approx(45, abs=1)
    far = np.ones((TILE, TILE), bool)
    far[10:50, 10:50] = False
    assert (moved[far] == 60).all()
    # The mask drawn too small: what is beside it comes along and fades.
    small = np.zeros((TILE, TILE), bool)
    small[25:35, 25:35] = True
    inner = transplant(tile, np.where(small, 60, 120).astype(np.uint8), small, 1.0)[0]
    assert np.abs(np.diff(inner.astype(int), axis=1)).max() <= 31


@pytest.mark.parametrize("mask", [np.zeros((TILE, TILE), bool), np.ones((TILE, TILE), bool)], ids=["empty", "full"])
def test_a_mask_without_an_edge_moves_nothing(mask):
    tile = np.full((TILE, TILE), 60, np.uint8)
    moved, covered = transplant(tile, np.full((TILE, TILE), 200, np.uint8), mask, 1.0)
    assert np.array_equal(moved, tile)
    assert np.array_equal(covered, mask)


def test_a_moved_defect_comes_to_another_group():
    crops = sampler(flat(60, "pit", "a"), flat(110, "fold", "b"), flat(160, "scale", "c"))
    tiles, kinds = draw(crops, 1.0, 600)
    home = {"pit": 60, "fold": 110, "scale": 160}
    moved = np.isin(kinds, list(home))
    assert moved.sum() > 60
    levels = level_of(tiles)
    assert all(abs(levels[at] - home[str(kinds[at])]) > 30 for at in np.flatnonzero(moved))


def test_with_one_group_its_defects_are_moved_within_it():
    _, kinds = draw(sampler(flat(60, "pit", "a")), 1.0)
    assert set(kinds.tolist()) == {"none", "pit", "synthetic"}


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_generator_decides_alone(share):
    crops = sampler(flat(60, "pit", "a"), flat(110, "none", "b"))
    (first, kinds), (second, again) = (draw(crops, share, seed=3) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(kinds, again)
    assert not np.array_equal(first, draw(crops, share, seed=4)[0])


def test_surfaces_and_drawn_ok_tiles_are_left_as_they_are():
    surfaces = flat(60, "pit", "a"), flat(110, "none", "b")
    before = [surface.frame.copy() for surface in surfaces]
    tiles, kinds = draw(sampler(*surfaces), 1.0)
    assert all(np.array_equal(surface.frame, frame) for surface, frame in zip(surfaces, before, strict=True))
    assert set(np.unique(tiles[kinds == "none"])) <= {60, 110}


@pytest.mark.parametrize("moved_share", [0.0, 1.0])
def test_the_masks_lie_where_the_blended_defects_are(moved_share):
    crops = sampler(flat(60, "pit", "a"), flat(110, "none", "b"))
    tiles, kinds, masks = blended(crops, 1.0, moved_share).draw(100, np.random.default_rng(0))
    grey, defect = level_of(tiles)[:, np.newaxis, np.newaxis], kinds != "none"
    changed = np.abs(tiles.astype(int) - grey) >= 5
    assert masks.any(axis=(1, 2)).tolist() == defect.tolist()
    # Moved ones have a soft seam around the mask, and none of a drawn one's pixels that can be seen is left out.
    assert changed[masks].mean() > 0.9
    assert masks[changed].mean() > (0.5 if moved_share else 0.99)


def test_on_black_tiles_nothing_would_be_seen_so_the_plants_own_defects_stay():
    tiles, kinds = draw(sampler(flat(0, "pit", "a"), flat(0, "none", "b")), 1.0)
    assert set(kinds.tolist()) == {"none", "pit"}
    assert (tiles[kinds == "pit"].max(axis=(1, 2)) == OWN).all()


def test_where_masks_are_white_all_over_defects_are_only_drawn():
    """Whole images, resized: nobody knows where on them the defect is."""
    whole = Surface(np.full((TILE, TILE), 200, np.uint8), np.ones((TILE, TILE), bool), "pit", "a")
    tiles, kinds = draw(sampler(whole, flat(90, "none", "b", TILE)), 1.0)
    assert set(kinds.tolist()) == {"none", "synthetic"}
    assert (level_of(tiles) < 200).all()


def test_tiles_smaller_than_any_defect():
    surfaces = flat(60, "pit", "a", 32), flat(110, "none", "b", 32)
    tiles, kinds, _ = blended(sampler(*surfaces, tile=16), 1.0).draw(200, np.random.default_rng(0))
    assert tiles.shape == (200, 16, 16)
    assert (kinds == "synthetic").sum() > 20


def test_without_ok_tiles_there_is_nothing_to_blend_into():
    whole = Surface(np.full((TILE, TILE), 200, np.uint8), np.ones((TILE, TILE), bool), "pit", "a")
    with pytest.raises(DataFault, match="no ok tile to blend"):
        BlendedSampler(sampler(whole), 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('heads = "defect_class"\nsynthetic_defects = 0.5', 'synthetic_defects needs heads = "binary"'),
        ('heads = "defect_class"\npretraining = 2', 'pretraining needs heads = "binary"'),
        ("epochs = 5\npretraining = 5", "leaves none of 5 epochs"),
        ("synthetic_defects = 1.5", "synthetic_defects = 1.5"),
    ],
)
def test_experiments_that_cannot_be_blended_are_refused(tmp_path, text, message):
    file = tmp_path / "experiment.toml"
    file.write_text(text)
    with pytest.raises(UsageFault, match=message):
        load_experiment(file, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("blend") / "data"
    synthesize(data, 90, 1, size=64)
    return data


def prepared_in(data: Path, scratch: Path):
    network = NetworkConfig(input_size=32, blocks=(Block(filters=4),))
    experiment = Experiment(network=network, synthetic_defects=1.0, pretraining=1)
    records = labelled_records(data, experiment)
    run = Run(version="v", data=data, fingerprint=fingerprint(records), experiment=experiment)
    scratch.mkdir()
    return prepare(run, Checkpoint(scratch))


def test_only_the_train_part_is_drawn_from(folder, tmp_path):
    """Whatever the other parts show, the same tiles come out."""
    before = prepared_in(folder, tmp_path / "before")
    held_back = [record for record in before.records if before.split[record.group] is not Part.TRAIN]
    kept = {record.path: record.path.read_bytes() for record in held_back}
    try:
        for number, path in enumerate(kept):
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (64, 64), np.uint8)).save(path)
        after = prepared_in(folder, tmp_path / "after")
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert before.split == after.split
    (tiles, kinds), (again, kinds_again) = (draw(each.crops, 1.0, 200) for each in (before, after))
    assert np.array_equal(tiles, again)
    assert np.array_equal(kinds, kinds_again)
    assert {"synthetic", "none"} < set(kinds.tolist())


def test_train_with_blends_and_pretraining(folder, tmp_path, capsys):
    from training.command import main

    config = tmp_path / "experiment.toml"
    config.write_text(
        "epochs = 3\npretraining = 1\nsynthetic_defects = 0.5\nbatch_size = 16\nstride = 32\n"
        "[network]\ninput_size = 32\ndense_units = 8\n[[network.blocks]]\nfilters = 4\nkernel = 5\nstride = 2\n"
    )
    assert main(["train", str(folder), "--config", str(config), "--models", str(tmp_path / "models"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    about = json.loads((tmp_path / "models" / summary["version"] / "manifest.json").read_text())["training"]
    assert (about["experiment"]["pretraining"], about["experiment"]["synthetic_defects"]) == (1, 0.5)
    # What the network was only prepared with is never published.
    assert about["best_epoch"] > 1
