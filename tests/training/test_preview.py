"""Contact sheets and the preview page: what they show is what training draws, and the page loads nothing."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from training.__main__ import main
from training.augment import augment
from training.config import Augmentation, Experiment
from training.contact_sheet import MARK, Picture, Row, contact_sheet
from training.preview import CHANGES, NOTHING, _AlwaysAt, write_preview

EVERYTHING = Augmentation(turns=True, blur=6, scale=0.2)


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def tile(seed: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)


def places(sheet: np.ndarray, wanted: np.ndarray) -> int:
    """How many times a grey picture is pasted somewhere in a sheet."""
    grey = np.repeat(wanted[..., np.newaxis], 3, axis=2)
    height, width = wanted.shape
    corners = np.argwhere((sheet[: -height + 1, : -width + 1] == grey[0, 0]).all(axis=2))
    return sum(np.array_equal(sheet[y : y + height, x : x + width], grey) for y, x in corners)


class TestContactSheet:
    def test_every_tile_is_there_pixel_by_pixel(self):
        tiles = [tile(number, 96) for number in range(5)]
        rows = [
            Row("ok", [Picture(one, "drawn") for one in tiles[:3]]),
            Row("pit", [None, *(Picture(one, "") for one in tiles[3:])]),
        ]
        sheet = opened(contact_sheet(rows))
        assert [places(sheet, one) for one in tiles] == [1] * 5

    def test_small_tiles_are_enlarged_by_whole_numbers(self):
        sheet = opened(contact_sheet([Row("", [Picture(tile(1), "")])]))
        assert places(sheet, np.kron(tile(1), np.ones((3, 3), np.uint8))) == 1

    def test_the_rim_of_a_mask_is_marked_and_its_inside_is_not(self):
        mask = np.zeros((96, 96), np.bool_)
        mask[20:40, 30:60] = True
        sheet = opened(contact_sheet([Row("", [Picture(tile(1, 96), "", mask)])]))
        marked = (sheet == MARK).all(axis=2)
        assert marked.sum() == 2 * (20 + 30) - 4
        assert places(sheet, tile(1, 96)[21:39, 31:59]) == 1

    def test_long_captions_do_not_widen_the_sheet(self):
        long = "a caption of very many words " * 5 + "x" * 400
        sizes = {
            opened(contact_sheet([Row(text, [Picture(tile(1), text), Picture(tile(2), text)])])).shape
            for text in ("", long)
        }
        assert len(sizes) == 1


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_of_a_change_are_those_of_the_augmentation(name, share):
    """No draw goes past what is shown as its end; noise has no end, only a largest deviation."""
    alone = NOTHING.model_copy(update={name: getattr(EVERYTHING, name)})
    one = np.full((1, 24, 24), 100, np.uint8) if name in ("gain", "offset", "gamma") else tile(3, 24)[np.newaxis]
    end = augment(one, alone, _AlwaysAt(share))
    drawn = augment(np.repeat(one, 200, axis=0), alone, np.random.default_rng(0))
    if name in ("gain", "offset", "gamma"):
        other = augment(one, alone, _AlwaysAt(1 - share))
        assert end.min() != other.min()
        assert drawn.min() >= min(end.min(), other.min())
        assert drawn.max() <= max(end.max(), other.max())
    elif name in ("flips", "turns"):
        assert any(np.array_equal(end[0], one) for one in drawn)
    else:
        far = np.abs(end - one).mean()
        assert (
            np.abs(drawn - one).mean(axis=(1, 2))
            <= max(far, np.abs(augment(one, alone, _AlwaysAt(1)) - one).mean()) * 1.1
        ).all()


class TestPreview:
    def test_one_page_that_loads_nothing_and_its_sheets(self, synthetic_folder, tmp_path, capsys):
        config = tmp_path / "on.toml"
        config.write_text("synthetic_defects = 0.5\n[augmentation]\nblur = 4\nscale = 0.1\nturns = true\n")
        out = tmp_path / "out"
        arguments = ["preview", str(synthetic_folder), "--config", str(config), "--out", str(out), "--json"]
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out) == {
            "page": str(out / "preview.html"),
            "sheets": ["drawn", "limits", "blended"],
        }
        assert {path.name for path in out.iterdir()} == {"preview.html", "drawn.png", "limits.png", "blended.png"}
        page = (out / "preview.html").read_text()
        assert len(re.findall(r'src="data:image/png;base64,', page)) == 3
        assert not re.findall(r'(?:src|href)="(?!data:)', page)
        assert "Off, and so not shown" not in page
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        assert main(arguments) == 0
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    def test_what_is_off_is_said_and_not_shown(self, synthetic_folder, tmp_path):
        written = write_preview(synthetic_folder, Experiment(augmentation=NOTHING), tmp_path / "out")
        assert written.sheets == ("drawn",)
        page = written.page.read_text()
        assert "gain, offset, gamma, gradient, blur, noise, flips, turns, scale" in page
        assert not (tmp_path / "out/limits.png").exists()

    def test_without_augmentation_what_is_drawn_is_what_the_network_gets(self, synthetic_folder, tmp_path):
        write_preview(synthetic_folder, Experiment(augmentation=NOTHING), tmp_path / "out")
        sheet = np.asarray(Image.open(tmp_path / "out/drawn.png"))
        # The first row: an ok tile as drawn, an empty place for the outline, and what became of it.
        first = sheet[25 : 25 + 128, 112 : 112 + 128]
        assert places(sheet, first[..., 0]) >= 6

    def test_another_s_folder_is_left_alone(self, synthetic_folder, tmp_path, capsys):
        (tmp_path / "notes.txt").write_text("mine")
        assert main(["preview", str(synthetic_folder), "--out", str(tmp_path)]) == 2
        assert "notes.txt" in capsys.readouterr().err
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_a_folder_that_training_refuses_is_refused(self, tmp_path, write_image, capsys):
        write_image(tmp_path / "data/ok/a.png", 1)
        assert main(["preview", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
