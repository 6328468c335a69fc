"""model.heatmap: what is drawn over a frame is what its tiles were given."""

import io

import numpy as np
import pytest
from PIL import Image

from model.heatmap import colour_table, grid_map, picture, pixel_map
from model.inspector import Inspector
from model.registry import Registry
from model.tiling import TileGrid


@pytest.fixture(scope="module")
def inspector(tiny_models):
    return Inspector.load(Registry(tiny_models), "tiny-64-first", "onnx", threads=1, stride=32)


def test_a_pixel_has_the_largest_value_of_the_tiles_over_it():
    grid = TileGrid.cover(20, 27, tile=8, stride=5)
    scores = np.random.default_rng(0).random((len(grid.rows), len(grid.columns)))
    heat = pixel_map(grid, scores, 20, 27)
    for y, x in np.ndindex(20, 27):
        over = [
            scores[i, j]
            for i, top in enumerate(grid.rows)
            for j, left in enumerate(grid.columns)
            if top <= y < top + 8 and left <= x < left + 8
        ]
        assert heat[y, x] == np.float32(max(over))


def test_rows_of_the_frame_before_have_none():
    grid = TileGrid.cover(300, 64, tile=64, stride=64, overlap=150)
    heat = pixel_map(grid, np.ones((len(grid.rows), 1)), 300, 64)
    assert np.isnan(heat[:86]).all()
    assert (heat[86:] == 1).all()


@pytest.mark.parametrize(("height", "width", "overlap"), [(64, 64, 0), (10, 30, 0), (200, 151, 0), (300, 64, 200)])
def test_picture_has_the_size_of_the_frame_and_its_colours(inspector, steel_frame, height, width, overlap):
    frame = steel_frame(height, width, defects=2)
    inspection = inspector.inspect(frame, overlap)
    drawn = np.asarray(Image.open(io.BytesIO(picture(inspection, frame))))
    assert drawn.shape == (height, width, 3)
    untouched = np.isnan(pixel_map(inspection.grid, inspection.scores, height, width))
    grey = np.repeat(frame[..., np.newaxis], 3, axis=2)
    np.testing.assert_array_equal(drawn[untouched], grey[untouched])
    assert (drawn[~untouched] != grey[~untouched]).any()
    for event in inspection.events:
        assert (drawn[event.y, event.x : event.x + event.width] == 255).all()


def test_the_more_probable_the_brighter(inspector, steel_frame):
    """In grey too: on a frame of one value the picture's luminance rises with the probability."""
    colours = colour_table()
    luminance = colours @ np.array([299, 587, 114]) / 1000
    assert colours.shape == (256, 3)
    assert (np.diff(luminance) > 0).all()


def test_grid_map_names_every_tile(inspector, steel_frame):
    inspection = inspector.inspect(steel_frame(150, 201))
    told = grid_map(inspection.grid, inspection.scores)
    assert told["tile"] == 64
    assert (told["y"], told["x"]) == (list(inspection.grid.rows), list(inspection.grid.columns))
    assert max(map(max, told["defect_probability"])) == inspection.defect_probability
    assert np.array(told["defect_probability"]).shape == inspection.scores.shape
