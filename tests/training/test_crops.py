"""Drawn tiles are what their label says, from anywhere, and balanced."""

from collections import Counter

import numpy as np
import pytest

from training.crops import CropSampler, Surface
from training.dataset import TileSet

TILE = 16


def sampler(surfaces: list[Surface], min_defect_pixels: int = 10) -> CropSampler:
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
    return CropSampler(dict(enumerate(surfaces)), grid, min_defect_pixels)


def surface(level: int, defect_type: str, group: str, size: tuple[int, int] = (64, 96)) -> Surface:
    """Grey values name the surface; defect pixels are marked 255."""
    frame, mask = np.full(size, level, np.uint8), np.zeros(size, bool)
    if defect_type != "none":
        mask[20:26, 30:40] = True
        frame[mask] = 255
    return Surface(frame, mask, defect_type, group)


def test_a_drawn_tile_is_what_its_label_says():
    drawn = sampler([surface(10, "pit", "a"), surface(20, "none", "b")])
    tiles, defect = drawn.draw(400, np.random.default_rng(0))
    shown = (tiles == 255).sum(axis=(1, 2))
    assert (shown[defect] >= 10).all()
    assert (shown[~defect] == 0).all()
    assert 0.4 < defect.mean() < 0.6


def test_a_defect_is_seen_at_many_places_of_the_tile():
    tiles, defect = sampler([surface(10, "pit", "a")]).draw(400, np.random.default_rng(0))
    first = {tuple(np.argwhere(tile == 255)[0]) for tile in tiles[defect]}
    assert len(first) > 50


def test_good_surface_of_a_defect_image_is_drawn_too():
    tiles, defect = sampler([surface(10, "pit", "a")]).draw(100, np.random.default_rng(0))
    assert (~defect).any()
    assert (tiles[~defect] == 10).all()


def test_types_and_groups_count_the_same_however_many_images_they_have():
    common = [surface(level, "pit", "a") for level in range(10, 19)] + [surface(19, "pit", "b")]
    drawn = sampler([*common, surface(50, "fold", "c"), *(surface(60, "none", "d") for _ in range(5))])
    tiles, defect = drawn.draw(3000, np.random.default_rng(0))
    levels = Counter(int(tile.min()) for tile in tiles[defect])
    total = sum(levels.values())
    assert levels[50] / total == pytest.approx(0.5, abs=0.05)
    assert levels[19] / total == pytest.approx(0.25, abs=0.05)


def test_a_surface_of_one_tile_is_that_tile():
    one = surface(10, "pit", "a", (TILE * 2, TILE * 3))
    small = Surface(one.frame[16:32, 28:44], one.mask[16:32, 28:44], "pit", "a")
    tiles, defect = sampler([small, surface(20, "none", "b", (TILE, TILE))]).draw(20, np.random.default_rng(1))
    assert all(np.array_equal(tile, small.frame) for tile in tiles[defect])


def test_where_no_position_fits_by_chance_the_grid_does():
    """Only one window of this surface has no masked pixel: hardly ever drawn, but known from the grid."""
    mask = np.ones((TILE * 4, TILE * 4), bool)
    mask[:TILE, :TILE] = False
    frame = np.where(mask, 255, 7).astype(np.uint8)
    tiles, defect = sampler([Surface(frame, mask, "pit", "a")]).draw(40, np.random.default_rng(0))
    assert (tiles[~defect] == 7).all()


def test_the_generator_decides_alone():
    drawn = sampler([surface(10, "pit", "a"), surface(20, "none", "b")])
    first, second = (drawn.draw(32, np.random.default_rng(3))[0] for _ in range(2))
    assert np.array_equal(first, second)
