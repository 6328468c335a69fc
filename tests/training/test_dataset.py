"""Tiles and their labels; and the pixels that training sees are the pixels that serving sees."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from model.artifact import Fitting
from model.calibration import IdentityCalibrator
from model.image import decode
from model.inspector import Inspector
from model.tiling import Fit
from model.verdict import Thresholds
from training.dataset import Surfaces, choose_fit, cut, surface
from training.grouping import with_groups
from training.scan import scan

TILE = 32


class RecordingEngine:
    """An engine that keeps the tiles it is given and finds nothing."""

    name = "recording"

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def logits(self, tiles: np.ndarray) -> np.ndarray:
        self.seen.append(tiles.copy())
        return np.full((len(tiles), 1), -9, np.float32)


def tiles_of(data, fitting, min_defect_pixels=20):
    return cut(with_groups(scan(data)), fitting, min_defect_pixels, data)


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", [(TILE, TILE), (TILE * 3 + 5, TILE * 2 + 1), (9, 100), (20, 8)])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp", "16-bit.png"])
def test_training_and_serving_see_the_same_pixels(tmp_path, fit, size, suffix):
    """Bit for bit, for every container, fit and size: both sides read the same file."""
    rng = np.random.default_rng(0)
    deep = suffix == "16-bit.png"
    grey = rng.integers(0, 65536 if deep else 256, size, np.uint16 if deep else np.uint8)
    (tmp_path / "ok").mkdir()
    file = tmp_path / "ok" / f"frame.{suffix}"
    Image.fromarray(grey).save(file)
    fitting = Fitting(fit=fit, tile=TILE, stride=TILE // 2)

    trained_on = tiles_of(tmp_path, fitting).tiles
    engine = RecordingEngine()
    inspector = Inspector("v", engine, IdentityCalibrator(), Thresholds(review=1, defect=1), fitting)
    inspector.inspect(decode(file.read_bytes()))

    served = np.concatenate(engine.seen)
    assert trained_on.dtype == served.dtype == np.uint8
    assert np.array_equal(trained_on, served)


def test_tiles_are_labelled_from_the_mask(tmp_path, write_image):
    mask = np.zeros((TILE, TILE * 4), np.uint8)
    mask[0, 0:20] = 255  # 20 pixels in the first tile: a defect
    mask[0, TILE : TILE + 19] = 200  # 19 in the second: left out
    mask[0, 2 * TILE : 3 * TILE] = 127  # grey below the middle is not marked: ok
    write_image(tmp_path / "defect/a.png", 1, mask.shape)
    write_image(tmp_path / "masks/a.png", mask)
    write_image(tmp_path / "ok/b.png", 2, (TILE, TILE))
    tiles = tiles_of(tmp_path, Fitting(tile=TILE, stride=TILE))
    assert tiles.defect.tolist() == [True, False, False, False]
    assert tiles.left_out == {"tiles with 1 to 19 masked pixels": 1}
    assert tiles.file.tolist() == [0, 0, 0, 1]
    assert np.array_equal(tiles.tiles[0], decode((tmp_path / "defect/a.png").read_bytes())[:, :TILE])


def test_a_small_stride_takes_disk_and_no_memory(tmp_path, write_image):
    """Tiles of every position are 22 MB of one small image, and would be gigabytes of a large one."""
    grey, mask = np.random.default_rng(0).integers(0, 256, (128, 256), np.uint8), np.zeros((128, 256), np.uint8)
    mask[60:70, 100:140] = 255
    write_image(tmp_path / "defect/a.png", grey)
    write_image(tmp_path / "masks/a.png", mask)
    records = with_groups(scan(tmp_path))
    tracemalloc.start()
    tiles = cut(records, Fitting(tile=TILE, stride=1), 20, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tiles.tiles.nbytes > 20e6
    assert peak < tiles.tiles.nbytes / 4

    windows, masks = (np.lib.stride_tricks.sliding_window_view(each, (TILE, TILE)) for each in (grey, mask > 0))
    masked = masks.sum(axis=(2, 3)).ravel()
    used = (masked == 0) | (masked >= 20)
    assert tiles.masked.tolist() == masked[used].tolist()
    assert np.array_equal(tiles.tiles, windows.reshape(-1, TILE, TILE)[used])
    assert tiles.left_out == {"tiles with 1 to 19 masked pixels": np.count_nonzero(~used)}


@pytest.mark.parametrize("fit", list(Fit))
def test_surfaces_are_kept_as_they_were_cut(tmp_path, write_image, fit):
    grey = np.random.default_rng(0).integers(0, 256, (2 * TILE, 3 * TILE), np.uint8)
    mask = np.zeros_like(grey)
    mask[5:9, 7:40] = 255
    write_image(tmp_path / "defect/a.png", grey)
    write_image(tmp_path / "masks/a.png", mask)
    write_image(tmp_path / "ok/b.png", 2, (8, TILE))
    (tmp_path / "ok/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write_image(tmp_path / "ok/c.png", 3, (TILE, TILE))
    records, fitting = with_groups(scan(tmp_path)), Fitting(fit=fit, tile=TILE, stride=TILE)
    with Surfaces(tmp_path) as kept:
        tiles = cut(records, fitting, 20, tmp_path, keep=kept)
    for number in np.unique(tiles.file).tolist():
        for ours, read in zip(kept[number], surface(records[number], fitting)[:2], strict=True):
            assert ours.dtype == read.dtype
            assert np.array_equal(ours, read)
    with pytest.raises(KeyError):
        kept[next(number for number, record in enumerate(records) if record.path.name == "broken.png")]


def test_images_that_cannot_be_labelled_are_left_out_and_counted(tmp_path, write_image):
    white, black = np.full((TILE, TILE), 255, np.uint8), np.zeros((TILE, TILE), np.uint8)
    for name in ("good", "unmasked", "empty", "wrong"):
        write_image(tmp_path / f"defect/{name}.png", 1, (TILE, TILE))
    write_image(tmp_path / "masks/good.png", white)
    write_image(tmp_path / "masks/empty.png", black)
    write_image(tmp_path / "masks/wrong.png", white[:-1])
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    tiles = tiles_of(tmp_path, Fitting(tile=TILE, stride=TILE))
    assert len(tiles) == 1
    assert tiles.left_out == {
        "defect images without a mask": 1,
        "defect images with an empty mask": 1,
        "defect images whose mask has another size": 1,
        "images that cannot be read": 1,
    }


def test_a_folder_where_nothing_can_be_used_gives_no_tiles(tmp_path):
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok/broken.png").write_bytes(b"nothing")
    assert len(tiles_of(tmp_path, Fitting(tile=TILE, stride=TILE))) == 0


def test_masks_decide_between_tiles_and_whole_images(tmp_path, write_image):
    write_image(tmp_path / "ok/a.png", 1)
    write_image(tmp_path / "defect/b.png", 2)
    write_image(tmp_path / "masks/a.png", 3)
    assert choose_fit(scan(tmp_path)) is Fit.RESIZE
    write_image(tmp_path / "masks/b.png", 3)
    assert choose_fit(scan(tmp_path)) is Fit.TILE


def test_tiles_leave_nothing_on_the_disk(tmp_path, write_image):
    write_image(tmp_path / "ok/a.png", 1)
    tiles = tiles_of(tmp_path, Fitting(tile=TILE, stride=TILE))
    assert tiles.tiles.sum() > 0
    assert [path.name for path in tmp_path.iterdir()] == ["ok"]
