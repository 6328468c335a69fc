"""Drawn tiles are what their label says, from anywhere, and balanced."""

from collections import Counter

import numpy as np
import pytest

from training.crops import CropSampler, Surface
from training.dataset import TileSet

TILE = 16


def sampler(
    surfaces: list[Surface], min_defect_pixels: int = 10, defect_share: float = 0.5, scale: float = 0.0
) -> CropSampler:
    """With the fixed grid's tiles at stride TILE, labelled as `training.dataset.cut` does."""
    tiles, defect, file = [], [], []
    for number, surface in enumerate(surfaces):
        height, width = surface.frame.shape
        for y in range(0, height - TILE + 1, TILE):
            for x in range(0, width - TILE + 1, TILE):
                window = slice(y, y + TILE), slice(x, x + TILE)
                masked = int(surface.mask[window].sum())
                if masked == 0 or masked >= min_defect_pixels:
                    tiles.append(surface.frame[window])
                    defect.append(masked > 0)
                    file.append(number)
    group = np.array([surfaces[number].group for number in file])
    grid = TileSet(np.stack(tiles), np.array(defect), group, np.array(file))
    return CropSampler(dict(enumerate(surfaces)), grid, min_defect_pixels, defect_share, scale)


def surface(level: int, defect_type: str, group: str, size: tuple[int, int] = (64, 96)) -> Surface:
    """Grey values name the surface; defect pixels are marked 255."""
    frame, mask = np.full(size, level, np.uint8), np.zeros(size, bool)
    if defect_type != "none":
        mask[20:26, 30:40] = True
        frame[mask] = 255
    return Surface(frame, mask, defect_type, group)


def test_a_drawn_tile_is_what_its_label_says():
    drawn = sampler([surface(10, "pit", "a"), surface(20, "none", "b")])
    tiles, kinds, _ = drawn.draw(400, np.random.default_rng(0))
    defect = kinds == "pit"
    assert set(kinds[~defect]) == {"none"}
    shown = (tiles == 255).sum(axis=(1, 2))
    assert (shown[defect] >= 10).all()
    assert (shown[~defect] == 0).all()
    assert 0.4 < defect.mean() < 0.6


def test_a_defect_is_seen_at_many_places_of_the_tile():
    tiles, kinds, _ = sampler([surface(10, "pit", "a")]).draw(400, np.random.default_rng(0))
    defect = kinds != "none"
    first = {tuple(np.argwhere(tile == 255)[0]) for tile in tiles[defect]}
    assert len(first) > 50


def test_good_surface_of_a_defect_image_is_drawn_too():
    tiles, kinds, _ = sampler([surface(10, "pit", "a")]).draw(100, np.random.default_rng(0))
    defect = kinds != "none"
    assert (~defect).any()
    assert (tiles[~defect] == 10).all()


def test_types_and_groups_count_the_same_however_many_images_they_have():
    common = [surface(level, "pit", "a") for level in range(10, 19)] + [surface(19, "pit", "b")]
    drawn = sampler([*common, surface(50, "fold", "c"), *(surface(60, "none", "d") for _ in range(5))])
    tiles, kinds, _ = drawn.draw(3000, np.random.default_rng(0))
    defect = kinds != "none"
    levels = Counter(int(tile.min()) for tile in tiles[defect])
    total = sum(levels.values())
    assert levels[50] / total == pytest.approx(0.5, abs=0.05)
    assert levels[19] / total == pytest.approx(0.25, abs=0.05)


def test_what_is_shown_more_often_is_shown_more_often_of_both_labels():
    """Of one group's tiles 22 of 24 are ok, of the other's 2: ok tiles are drawn from the two in that proportion."""
    mostly_ok = surface(10, "pit", "a")
    mostly_defect = Surface(np.full((64, 96), 20, np.uint8), np.ones((64, 96), np.bool_), "pit", "b")
    mostly_defect.mask[:TILE, : 2 * TILE] = False
    tiles, kinds, _ = sampler([mostly_ok, mostly_defect, surface(30, "fold", "c")]).draw(8000, np.random.default_rng(0))
    ok = Counter(int(tile.min()) for tile in tiles[kinds == "none"])
    pits = Counter(int(tile.min()) for tile in tiles[kinds == "pit"])
    assert pits[10] / pits[20] == pytest.approx(2 / 22, rel=0.3)
    assert ok[20] / ok[10] == pytest.approx(2 / 22, rel=0.3)
    # 24 defect tiles of pits for each 2 of folds: for both to be drawn as often, the fold's group weighs twelve times.
    assert ok[30] / ok[10] == pytest.approx(12, rel=0.15)


def test_every_window_that_shows_the_defect_is_as_likely():
    one = surface(10, "pit", "a")
    tiles, kinds, _ = sampler([one, surface(20, "none", "b")]).draw(6000, np.random.default_rng(0))
    windows = np.lib.stride_tricks.sliding_window_view(one.mask, (TILE, TILE)).sum(axis=(2, 3))
    expected = windows[windows >= 10]
    shown = (tiles[kinds == "pit"] == 255).sum(axis=(1, 2))
    for count in (10, 20, 30, 60):
        assert (shown >= count).mean() == pytest.approx((expected >= count).mean(), abs=0.04)


def test_a_surface_of_one_tile_is_that_tile():
    one = surface(10, "pit", "a", (TILE * 2, TILE * 3))
    small = Surface(one.frame[16:32, 28:44], one.mask[16:32, 28:44], "pit", "a")
    tiles, kinds, _ = sampler([small, surface(20, "none", "b", (TILE, TILE))]).draw(20, np.random.default_rng(1))
    defect = kinds != "none"
    assert all(np.array_equal(tile, small.frame) for tile in tiles[defect])


def test_where_no_position_fits_by_chance_the_grid_does():
    """Only one window of this surface has no masked pixel: hardly ever drawn, but known from the grid."""
    mask = np.ones((TILE * 4, TILE * 4), bool)
    mask[:TILE, :TILE] = False
    frame = np.where(mask, 255, 7).astype(np.uint8)
    tiles, kinds, _ = sampler([Surface(frame, mask, "pit", "a")]).draw(40, np.random.default_rng(0))
    defect = kinds != "none"
    assert (tiles[~defect] == 7).all()


def test_two_defects_far_apart_are_both_seen_at_many_places():
    mask = np.zeros((64, 4096), bool)
    mask[36:40, 100:104] = mask[36:40, 4000:4004] = True
    frame = np.where(mask, 200 + (np.arange(4096) < 2000), 10).astype(np.uint8)
    tiles, kinds, _ = sampler([Surface(frame, mask, "pit", "a")], defect_share=0.9).draw(600, np.random.default_rng(0))
    for level in (200, 201):
        places = {tuple(np.argwhere(tile == level)[0]) for tile in tiles[kinds != "none"] if (tile == level).any()}
        assert len(places) > 80


def test_the_generator_decides_alone():
    drawn = sampler([surface(10, "pit", "a"), surface(20, "none", "b")])
    first, second = (drawn.draw(32, np.random.default_rng(3))[0] for _ in range(2))
    assert np.array_equal(first, second)


def test_the_share_of_defects_can_be_chosen():
    few = sampler([surface(10, "pit", "a"), surface(20, "none", "b")], defect_share=0.1)
    _, kinds, _ = few.draw(1000, np.random.default_rng(0))
    assert (kinds == "pit").mean() == pytest.approx(0.1, abs=0.04)


def striped(size: tuple[int, int] = (96, 96)) -> Surface:
    """Dark and bright rows of 8 px each, no defect."""
    rows = np.where(np.arange(size[0]) // 8 % 2, 200, 50).astype(np.uint8)
    return Surface(np.repeat(rows[:, np.newaxis], size[1], axis=1), np.zeros(size, np.bool_), "none", "b")


def test_another_distance_shows_the_surface_larger_and_smaller():
    tiles, _, _ = sampler([striped(), surface(10, "pit", "a")], scale=0.4).draw(300, np.random.default_rng(0))
    assert tiles.shape[1:] == (TILE, TILE)
    bright = (tiles[(tiles.std(axis=2) < 1).all(axis=1) & (tiles.max(axis=(1, 2)) == 200)] > 125)[:, :, 0]
    # Whole stripes: between two edges of the tile's own column.
    lengths = [len(run) for column in bright for run in np.split(column, np.flatnonzero(np.diff(column)) + 1)[1:-1]]
    assert min(lengths) <= 6
    assert max(lengths) >= 10


def test_at_any_distance_a_tile_is_what_its_label_says():
    drawn = sampler([surface(10, "pit", "a"), surface(20, "none", "b")], scale=0.3)
    tiles, kinds, _ = drawn.draw(600, np.random.default_rng(0))
    # A window just large enough for ten masked pixels is at least as bright somewhere, however it is resized.
    assert (tiles[kinds == "pit"].max(axis=(1, 2)) > 100).all()
    assert (tiles[kinds == "none"].max(axis=(1, 2)) <= 20).all()


def test_a_surface_of_one_tile_is_shown_as_it_is_or_larger():
    rows = np.repeat(np.arange(TILE, dtype=np.uint8)[:, np.newaxis] * 10, TILE, axis=1)
    small = Surface(rows, np.ones((TILE, TILE), np.bool_), "pit", "a")
    tiles, kinds, _ = sampler([small, surface(20, "none", "b")], scale=0.4).draw(200, np.random.default_rng(0))
    slopes = np.diff(tiles[kinds == "pit"][:, :, 0].astype(float), axis=1).mean(axis=1)
    assert slopes.max() == pytest.approx(10, abs=0.5)
    assert slopes.min() == pytest.approx(10 / 1.4, abs=0.5)


@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_the_masks_lie_where_the_defects_are(scale):
    both = sampler([surface(10, "pit", "a"), surface(20, "none", "b")], scale=scale)
    tiles, kinds, masks = both.draw(200, np.random.default_rng(5))
    assert masks.any(axis=(1, 2)).tolist() == (kinds == "pit").tolist()
    # Defects are 255 in these surfaces. A resized tile has a seam between, of which the mask takes the nearer part.
    assert (tiles[masks] > 60).all()
    assert (tiles[~masks] < 200).all()
    assert (tiles[masks] == 255).mean() > 0.5


def test_nobody_knows_where_the_defect_of_a_tile_of_the_fixed_grid_is(monkeypatch):
    monkeypatch.setattr("training.crops.ATTEMPTS", 0)
    _, kinds, masks = sampler([surface(10, "pit", "a"), surface(20, "none", "b")]).draw(40, np.random.default_rng(0))
    assert (kinds == "pit").any()
    assert not masks.any()


def test_at_the_plain_distance_nothing_is_resized():
    plain = sampler([surface(10, "pit", "a"), surface(20, "none", "b")]).draw(50, np.random.default_rng(1))[0]
    assert set(np.unique(plain)) == {10, 20, 255}
