"""Contact sheets and the preview page: what they show is what training draws, and the page loads nothing."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from training import preview
from training.augment import augment
from training.command import main
from training.config import Augmentation, Experiment
from training.contact_sheet import MARK, Picture, Row, contact_sheet
from training.crops import CropSampler, Surface
from training.dataset import TileSet
from training.preview import CHANGES, LEFT, NOTHING, _AlwaysAt, _blends, write_preview

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
        written = write_preview(synthetic_folder, Experiment(augmentation=NOTHING), tmp_path / "out", tmp_path)
        assert written.sheets == ("drawn",)
        page = written.page.read_text()
        assert "gain, offset, gamma, gradient, blur, noise, flips, turns, scale" in page
        assert not (tmp_path / "out/limits.png").exists()

    def test_of_many_defect_types_it_says_how_many_are_shown(self, synthetic_folder, tmp_path, monkeypatch):
        write_preview(synthetic_folder, Experiment(preset="steel-64"), tmp_path / "all", tmp_path)
        assert "defect types are shown" not in (tmp_path / "all/preview.html").read_text()
        monkeypatch.setattr(preview, "KINDS_SHOWN", 3)
        write_preview(synthetic_folder, Experiment(preset="steel-64"), tmp_path / "few", tmp_path)
        assert re.search(r"2 of the [3-9] defect types are shown\.", (tmp_path / "few/preview.html").read_text())

    def test_without_augmentation_what_is_drawn_is_what_the_network_gets(self, synthetic_folder, tmp_path):
        write_preview(synthetic_folder, Experiment(augmentation=NOTHING), tmp_path / "out", tmp_path)
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

    def test_a_network_that_training_refuses_is_refused(self, synthetic_folder, tmp_path, capsys):
        arguments = ["preview", str(synthetic_folder), "--preset", "rgb-224", "--out", str(tmp_path / "out")]
        assert main(arguments) == 2
        assert "take a network with one output" in capsys.readouterr().err

    def test_whole_images_show_neither_moved_defects_nor_other_distances(self, synthetic_folder, tmp_path):
        """Training blends none of them there, and cuts no window out of them."""
        recipe = Experiment(preset="steel-64-line", fit="resize", augmentation=Augmentation(scale=0.2))
        assert recipe.synthetic_defects
        written = write_preview(synthetic_folder, recipe, tmp_path / "out", tmp_path)
        assert written.sheets == ("drawn", "limits")
        assert "Off, and so not shown above: blur, turns, scale." in written.page.read_text()
        drawn = recipe.model_copy(update={"moved_share": 0.5})
        assert "blended" in write_preview(synthetic_folder, drawn, tmp_path / "out", tmp_path).sheets

    def test_with_folds_all_groups_are_drawn_from(self, tmp_path, write_image, capsys):
        """Two groups of each label are enough for two folds, and far too few for four parts."""
        for number in range(2):
            write_image(tmp_path / f"data/ok/{number}.png", np.full((64, 64), 60 + 60 * number, np.uint8))
            write_image(tmp_path / f"data/defect/{number}.png", np.full((64, 64), 90 + 60 * number, np.uint8))
        rows = [f"{kind}/{number}.png,{kind},{kind}{number}" for kind in ("ok", "defect") for number in range(2)]
        (tmp_path / "data/labels.csv").write_text("\n".join(["file,label,group", *rows]) + "\n")
        shown = set()
        # Of a few tiles that are drawn from two groups all may be of one: of four sheets hardly ever.
        for seed in range(4):
            plain = Experiment(preset="steel-64", augmentation=NOTHING, folds=2, seed=seed)
            page = write_preview(tmp_path / "data", plain, tmp_path / "out", tmp_path).page
            sheet = np.asarray(Image.open(tmp_path / "out/drawn.png"))
            shown |= {level for level in (60, 90, 120, 150) if places(sheet, np.full((64, 64), level, np.uint8))}
        assert shown == {60, 90, 120, 150}
        assert "all groups" in page.read_text()
        (tmp_path / "folds.toml").write_text("folds = 3\n")
        arguments = ["preview", str(tmp_path / "data"), "--config", str(tmp_path / "folds.toml")]
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
        assert "take fewer folds" in capsys.readouterr().err


@pytest.mark.parametrize(("level", "blended"), [(0, False), (120, True)])
def test_an_own_defect_that_stayed_is_not_called_blended(level, blended):
    """On a black tile nothing that is blended would be seen."""
    surfaces = {}
    for number, kind in enumerate(("pit", "none")):
        mask = np.zeros((64, 64), np.bool_)
        mask[6:14, 6:14] = kind == "pit"
        surfaces[number] = Surface(np.where(mask, 250, level).astype(np.uint8), mask, kind, kind)
    frames = np.stack([surface.frame for surface in surfaces.values()])
    grid = TileSet(frames, np.array([True, False]), np.array(["pit", "none"]), np.arange(2))
    rows = list(_blends(CropSampler(surfaces, grid, 20), Experiment(moved_share=1), np.random.default_rng(0)))
    captions = [picture.caption for row in rows for picture in row.pictures if picture and picture.caption]
    assert len(captions) == 24
    assert set(captions) == {"pit" if blended else f"{LEFT}: pit"}
