"""A picture says what the numbers say: the value of each cell can be read back from its colour."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from app.explain import pictures
from app.explain.pictures import MAPS_SHOWN, MOST_CELLS, STEPS
from model.heatmap import colour_table


def opened(picture):
    data = base64.b64decode(picture.source.removeprefix("data:image/png;base64,"))
    image = Image.open(io.BytesIO(data))
    image.load()
    assert (image.format, image.size) == ("PNG", (picture.width, picture.height))
    return image


def cells(sheet):
    """Levels of every map of a sheet, cut out by what the sheet says of itself: (maps, height, width)."""
    levels = np.asarray(opened(sheet))
    found = []
    for place in range(len(sheet.numbers)):
        y = place // sheet.columns * (sheet.cell_height + sheet.gap)
        x = place % sheet.columns * (sheet.cell_width + sheet.gap)
        found.append(levels[y : y + sheet.cell_height, x : x + sheet.cell_width])
    return np.stack(found)[:, :: sheet.enlarged, :: sheet.enlarged]


def lightness(colours):
    """CIE L* of sRGB colours (n, 3)."""
    linear = np.where(colours / 255 <= 0.04045, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


@pytest.mark.parametrize(("count", "height", "width"), [(1, 5, 7), (16, 9, 9), (65, 1, 1), (32, 61, 61)])
@pytest.mark.parametrize("least", [0, -1])
def test_every_value_is_read_back_from_its_cell(count, height, width, least):
    maps = np.random.default_rng(1).uniform(least, 3, (height, width, count)).astype(np.float32)
    sheet = pictures.sheet(maps)
    assert sheet.colours == ("signed" if least else "strength")
    assert (sheet.numbers, sheet.maps, sheet.reduced) == (list(range(count)), count, 1)
    levels = cells(sheet)
    step = (sheet.high - sheet.low) / (STEPS[sheet.colours] - 1)
    np.testing.assert_allclose(sheet.low + levels * step, np.moveaxis(maps, 2, 0), atol=step / 2 + 1e-6)
    assert max(sheet.width, sheet.cell_width) <= 1100
    shown = np.asarray(opened(sheet))
    assert (shown == STEPS[sheet.colours]).sum() == shown.size - count * sheet.cell_width * sheet.cell_height
    assert opened(sheet).info["transparency"] == STEPS[sheet.colours]


def test_of_very_many_maps_the_strongest_are_shown_in_order():
    maps = np.zeros((1, 1, MAPS_SHOWN + 100), np.float32)
    maps[0, 0, 50:] = 1 + np.arange(MAPS_SHOWN + 50)
    sheet = pictures.sheet(maps)
    assert sheet.numbers == list(range(100, MAPS_SHOWN + 100))
    assert sheet.maps == MAPS_SHOWN + 100


def test_large_maps_are_reduced_to_their_strongest_values():
    maps = np.zeros((600, 500, 4), np.float32)
    maps[599, 0, 0], maps[0, 499, 3] = -8, 2
    sheet = pictures.sheet(maps)
    assert sheet.reduced == 3
    levels = cells(sheet)
    assert levels.size <= MOST_CELLS
    assert levels[0, -1, 0] == 0
    assert levels[3, 0, -1] == round((2 + 8) / 16 * (STEPS["signed"] - 1))
    assert (levels == 0).sum() == 1


def test_a_bright_border_does_not_leave_the_rest_dark():
    maps = np.full((100, 100, 1), 0.5, np.float32)
    maps[0, :40] = 50
    sheet = pictures.sheet(maps, held=0.995)
    assert sheet.high == pytest.approx(0.5)
    assert cells(sheet)[0, 50, 50] == cells(sheet)[0, 0, 0] == STEPS["strength"] - 1


def test_a_single_spot_is_seen_however_few_cells_are_held():
    maps = np.zeros((100, 100, 1), np.float32)
    maps[70, 30] = 50
    np.testing.assert_array_equal(np.argwhere(cells(pictures.sheet(maps, held=0.995))[0]), [[70, 30]])


@pytest.mark.parametrize("value", [0, 3, -3])
def test_a_constant_map_is_drawn_on_a_scale_that_holds_it(value):
    sheet = pictures.sheet(np.full((4, 4, 2), value, np.float32))
    assert sheet.low <= value <= sheet.high
    assert np.unique(cells(sheet)).size == 1
    pictures.sheet(np.full((4, 4, 1), value, np.float32), as_grey=True)


@pytest.mark.parametrize(("size", "rows"), [(128, 1), (30 * 30 * 32, 30), (7, 7)])
def test_a_strip_keeps_the_order_of_the_vector(size, rows):
    strip = pictures.strip(np.arange(size, dtype=np.float32), rows)
    levels = np.asarray(opened(strip))
    lines = levels[:: levels.shape[0] // rows]
    assert lines.shape[0] == rows
    assert (np.diff(lines.astype(int).ravel()) >= 0).all()
    assert (lines[0, 0], lines[-1, -1]) == (0, STEPS["strength"] - 1)


def test_heat_shows_where_it_is_and_leaves_the_rest_grey(steel_frame):
    frame = steel_frame(64, 64, seed=1)
    heat = np.zeros((64, 64), np.float32)
    heat[40:48, 8:16] = 5
    image = np.asarray(opened(pictures.over(frame, heat)).convert("RGB")).astype(int)
    scale = image.shape[0] // 64
    colourful = (image.max(axis=2) - image.min(axis=2))[::scale, ::scale] > 20
    np.testing.assert_array_equal(colourful, heat > 0)


def test_pixels_are_drawn_as_they_are(steel_frame):
    frame = steel_frame(64, 64, seed=1)
    sheet = pictures.one_grey(frame)
    np.testing.assert_allclose(cells(sheet)[0] * (255 / (STEPS["grey"] - 1)), frame, atol=1)


@pytest.mark.parametrize(("height", "width"), [(100, 100), (4096, 2048), (3, 100_000)])
def test_a_frame_is_reduced_to_what_a_picture_may_hold(height, width):
    small, side = pictures.reduced_frame(np.zeros((height, width), np.uint8), 10_000)
    assert small.shape == (-(-height // side), -(-width // side))
    assert small.size <= 10_000
    assert side == 1 or -(-height // (side - 1)) * -(-width // (side - 1)) > 10_000


def test_colours_are_told_apart_by_lightness():
    """So without any colour vision: rising where values are strengths, falling away from the middle where signed."""
    assert (np.diff(lightness(pictures.table("strength"))) > 0).all()
    signed = lightness(pictures.table("signed"))
    middle = STEPS["signed"] // 2
    assert (np.diff(signed[: middle + 1]) > 0).all()
    assert (np.diff(signed[middle:]) < 0).all()
    assert pictures.colours()["strength"][-1] == "#" + colour_table()[-1].tobytes().hex()
