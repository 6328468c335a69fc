"""The export: a folder that training takes, of what was reviewed, and honest about what is not in it."""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from app.appearing import PARTIAL
from app.archive import Picture, open_archive
from app.command import main
from app.review.folder import MAX_FOLDER, Placing, entry, folder_name, group, mask, once
from app.store import reviews, schema
from app.store.database import SQLITE_FILE, open_database, sqlite_url
from app.store.migrate import migrate
from app.store.numbers import inspection_id
from app.store.reviews import Reviewed
from model.image import decode
from model.tiling import Fit
from tests.app.store.rows import add_event, add_image, add_inspection
from training.scan import scan

AT = datetime(2026, 3, 3, 23, 30, tzinfo=UTC)
ROOT = Path(__file__).parents[3]
FRAME = Reviewed(
    number=7, review=1, label="defect", defect_class="pit", received_at=AT, coil_id="C1", camera_id="cam-1",
    width=400, height=300, digest="d", file_format="png", deleted=False, boxes=((1, 2, 3, 4),),
)  # fmt: skip
TILES, WHOLE = Placing(Fit.TILE, 128), Placing(Fit.RESIZE, 128)


class TestWhereAFrameGoes:
    def test_a_defect_with_its_place(self):
        found = entry(FRAME, TILES)
        assert found.row == ("defect/pit/0000000000000007.png", "defect", "pit", "C1")
        assert found.mask == "masks/0000000000000007.png"

    def test_a_defect_of_no_class(self):
        assert entry(FRAME._replace(defect_class=None), TILES).defect_type == "defect"

    @pytest.mark.parametrize("placing", [TILES, WHOLE])
    def test_good_surface_needs_no_mask_even_where_the_model_saw_events(self, placing):
        found = entry(FRAME._replace(label="ok", defect_class=None), placing)
        assert (found.row, found.mask) == (("ok/0000000000000007.png", "ok", "none", "C1"), None)

    def test_whole_frames_have_no_masks(self):
        """One mask would change how training takes the whole folder."""
        assert entry(FRAME, WHOLE).mask is None
        assert entry(FRAME._replace(boxes=()), WHOLE).label == "defect"

    def test_a_defect_somewhere_on_a_large_frame_cannot_be_taught_in_tiles(self):
        assert entry(FRAME._replace(boxes=()), TILES) is None

    @pytest.mark.parametrize(("width", "height", "placed"), [(128, 128, True), (60, 128, True), (129, 128, False)])
    def test_a_frame_of_one_tile_is_a_defect_all_over(self, width, height, placed):
        found = entry(FRAME._replace(boxes=(), width=width, height=height), TILES)
        assert (found is not None) is placed
        assert found is None or found.boxes == ((0, 0, width, height),)


class TestGroups:
    def test_are_coils_or_a_camera_s_day(self):
        assert group(FRAME) == "C1"
        assert group(FRAME._replace(coil_id=None)) == "cam-1 2026-03-03"
        assert group(FRAME._replace(coil_id="  ", camera_id=None)) == "no camera 2026-03-03"


class TestNames:
    @pytest.mark.parametrize(
        "name", ["..", ".hidden", "a/b", "a\\b", "C:x", "nul\0", "=1+1", "x" * 64, "\u9506" * 64, "%"]
    )
    def test_of_folders_are_harmless_whatever_a_person_wrote(self, name):
        made = folder_name(name)
        assert not set(made) & set('/\\.:*?"<>|\0 =')
        assert 0 < len(made.encode()) <= MAX_FOLDER

    def test_of_different_classes_differ(self):
        names = ["a b", "a%20b", "a_b", "A b", "\u9506" * 63, "\u9506" * 64, "\u9506" * 63 + "x"]
        assert len({folder_name(name) for name in names}) == len(names)


class TestMask:
    def test_is_white_in_all_boxes_and_nowhere_else(self):
        drawn = mask(20, 10, [(2, 3, 4, 5), (15, 8, 5, 2)])
        assert drawn.shape == (10, 20)
        assert set(np.unique(drawn)) == {0, 255}
        assert (drawn > 0).sum() == 4 * 5 + 5 * 2
        assert drawn[3:8, 2:6].all()


def test_of_equal_images_what_was_said_last_counts():
    first, second = FRAME._replace(number=1, review=9, label="ok"), FRAME._replace(number=2, review=4)
    other = FRAME._replace(number=3, digest="e")
    assert once([first, second, other]) == ([first, other], 1)


class Plant:
    """A data root with a record, an archive and one active version, as a server leaves it."""

    def __init__(self, home: Path, models: Path) -> None:
        self.home = home
        shutil.copytree(models, home / "models")
        self.archive = open_archive(str(home / "archive"))
        self.database = open_database(sqlite_url(home / SQLITE_FILE))
        migrate(self.database)

    def add(self, data: bytes, label: str | None, *, boxes=(), said=None, **values) -> str:
        """An inspected frame whose image is kept, and what was said of it; its file's stem."""
        frame = decode(data)
        picture = Picture(data, "png")
        assert self.archive.put(picture).result() is None
        with self.database.writing() as connection:
            known = connection.execute(schema.images.select().where(schema.images.c.digest == picture.digest)).first()
            if known is None:
                add_image(connection, picture.digest, bytes=len(data))
            size = {"height": frame.shape[0], "width": frame.shape[1]}
            number = add_inspection(connection, image=picture.digest, **size, **values)
            for x, y, width, height in boxes:
                add_event(connection, number, x=x, y=y, width=width, height=height)
            if label:
                reviews.add(connection, number, AT, {"label": label, "reviewer": "ana", **(said or {})})
        return inspection_id(number)


@pytest.fixture
def plant(tmp_path, tiny_models):
    plant = Plant(tmp_path / "home", tiny_models)
    yield plant
    plant.archive.close()
    plant.database.close()


@pytest.fixture
def picture(steel_frame, as_png):
    """`picture(seed)`: another PNG of 96 x 200 px each time; the model's tiles have 64."""
    return lambda seed, height=96, width=200: as_png(steel_frame(height, width, seed=seed))


def exported(plant, data, capsys):
    code = main(["export", str(data), "--home", str(plant.home)])
    return code, capsys.readouterr().err


class TestExport:
    def test_is_what_training_takes(self, plant, picture, tmp_path, capsys):
        good = plant.add(picture(1), "ok", boxes=[(0, 0, 64, 64)])
        drawn = plant.add(
            picture(2), "defect", boxes=[(0, 0, 64, 64)], coil_id="C2",
            said={"defect_class": "rolled-in, scale", "x": 150, "y": 50, "width": 30, "height": 20},
        )  # fmt: skip
        confirmed = plant.add(picture(3), "defect", boxes=[(64, 0, 64, 96), (0, 0, 8, 8)], coil_id=None)
        tile = plant.add(picture(4, 64, 64), "defect")
        plant.add(picture(5), None)
        code, said = exported(plant, tmp_path / "data", capsys)
        assert code == 0
        assert "4 frames of 3 groups, 1 ok, 3 defect, 3 masks" in said
        records = {Path(record.file).stem: record for record in scan(tmp_path / "data")}
        assert set(records) == {good, drawn, confirmed, tile}
        assert records[good].path.read_bytes() == picture(1)
        assert [records[stem].label for stem in (good, drawn, confirmed, tile)] == ["ok", *["defect"] * 3]
        assert [records[stem].group for stem in (good, drawn, tile)] == ["C1", "C2", "C1"]
        assert records[confirmed].group.startswith("cam-1 2026-03-")
        assert (records[drawn].defect_type, records[tile].defect_type) == ("rolled-in, scale", "defect")
        masks = {stem: decode(records[stem].mask.read_bytes()) for stem in (drawn, confirmed, tile)}
        assert masks[drawn].shape == (96, 200)
        assert (masks[drawn] == 255).sum() == 30 * 20
        assert masks[drawn][50:70, 150:180].all()
        assert (masks[confirmed] == 255).sum() == 64 * 96 + 8 * 8
        assert masks[tile].all()
        assert records[good].mask is None

    def test_tiles_are_labelled_by_the_box(self, plant, picture, tmp_path, capsys):
        """What a person drew reaches the tiles that training cuts: those on it are defects, all others are ok."""
        from model.artifact import Fitting
        from training.dataset import choose_fit, cut

        plant.add(picture(2), "defect", said={"x": 130, "y": 20, "width": 30, "height": 20})
        exported(plant, tmp_path / "data", capsys)
        records = scan(tmp_path / "data")
        assert choose_fit(records) is Fit.TILE
        tiles = cut(records, Fitting(fit=Fit.TILE, tile=64, stride=64), 20, tmp_path)
        # Tiles at x = 0, 64, 128, 136 and y = 0, 32.
        assert tiles.defect.tolist() == [False, False, True, True] * 2
        assert not tiles.left_out

    def test_a_version_of_whole_frames_gets_no_masks(self, plant, picture, tmp_path, capsys):
        manifest = plant.home / "models" / "tiny-64-first" / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"fit": "tile"', '"fit": "resize"'))
        plant.add(picture(1), "ok")
        plant.add(picture(2), "defect", said={"x": 130, "y": 20, "width": 30, "height": 20})
        plant.add(picture(3), "defect")
        code, said = exported(plant, tmp_path / "data", capsys)
        assert code == 0
        assert "3 frames of 1 groups, 1 ok, 2 defect, 0 masks" in said
        assert not (tmp_path / "data" / "masks").exists()

    def test_says_which_defects_have_no_place(self, plant, picture, tmp_path, capsys):
        plant.add(picture(1), "ok")
        nowhere = plant.add(picture(2), "defect")
        code, said = exported(plant, tmp_path / "data", capsys)
        assert code == 0
        assert nowhere in said
        assert "1 frame: defects larger than a tile without a box" in said

    def test_an_image_comes_once(self, plant, picture, tmp_path, capsys):
        plant.add(picture(1), "ok")
        last = plant.add(picture(1), "defect", boxes=[(0, 0, 64, 64)])
        code, said = exported(plant, tmp_path / "data", capsys)
        assert (code, [record.path.stem for record in scan(tmp_path / "data")]) == (0, [last])
        assert "1 frame: the same image as one that was" in said

    def test_lost_and_damaged_images_are_named_and_the_rest_is_there(self, plant, picture, tmp_path, capsys):
        kept, lost, damaged = (plant.add(picture(seed), "ok") for seed in (1, 2, 3))
        paths = {seed: next(plant.home.glob(f"archive/*/{digest(picture(seed))}.png")) for seed in (2, 3)}
        paths[2].unlink()
        paths[3].write_bytes(paths[3].read_bytes()[:-1])
        code, said = exported(plant, tmp_path / "data", capsys)
        assert code == 1
        assert f"{lost}: the archive does not hold the file" in said
        assert f"{damaged}: its bytes are no longer those" in said
        assert "2 frames: the archive has lost or damaged the image" in said
        assert [record.path.stem for record in scan(tmp_path / "data")] == [kept]

    def test_what_retention_deleted_is_counted_and_no_fault(self, plant, picture, tmp_path, capsys):
        plant.add(picture(1), "ok")
        plant.add(picture(2), "ok")
        with plant.database.writing() as connection:
            gone = update(schema.images).where(schema.images.c.digest == digest(picture(2)))
            connection.execute(gone.values(deleted_at=AT, deleted_why="age"))
            never = add_inspection(connection, image_missing="archive_full")
            reviews.add(connection, never, AT, {"label": "ok", "reviewer": "ana"})
        code, said = exported(plant, tmp_path / "data", capsys)
        assert code == 0
        assert "1 frame: the image was deleted by the rules of retention" in said
        assert "1 frame: the image was never kept" in said

    def test_nothing_is_overwritten(self, plant, picture, tmp_path, capsys):
        plant.add(picture(1), "ok")
        data = tmp_path / "data"
        data.mkdir()
        assert exported(plant, data, capsys)[0] == 0
        before = sorted(data.rglob("*"))
        code, said = exported(plant, data, capsys)
        assert (code, sorted(data.rglob("*"))) == (1, before)
        assert "is not an empty folder" in said
        file = tmp_path / "file"
        file.write_text("mine")
        assert exported(plant, file, capsys)[0] == 1
        assert file.read_text() == "mine"

    def test_leaves_nothing_behind_where_there_is_nothing(self, plant, picture, tmp_path, capsys):
        plant.add(picture(1), None)
        code, said = exported(plant, tmp_path / "data", capsys)
        assert code == 1
        assert "there is no reviewed frame to export" in said
        assert [path.name for path in tmp_path.iterdir()] == ["home"]

    def test_ctrl_c_is_one_line_and_leaves_nothing(self, plant, picture, tmp_path, capsys, monkeypatch):
        plant.add(picture(1), "ok")

        def pressed(*_):
            raise KeyboardInterrupt

        # Amid the writing; no signal hits that moment at will.
        monkeypatch.setattr("app.review.command.sync_tree", pressed)
        assert exported(plant, tmp_path / "data", capsys) == (130, "stopped\n")
        assert [path.name for path in tmp_path.iterdir()] == ["home"]

    def test_what_a_killed_one_left_is_removed_by_the_next(self, plant, picture, tmp_path, capsys):
        plant.add(picture(1), "ok")
        left = tmp_path / f".data.0{PARTIAL}"
        left.mkdir()
        assert exported(plant, tmp_path / "data", capsys)[0] == 0
        assert not left.exists()

    def test_others_may_read_it_where_the_umask_says_so(self, plant, picture, tmp_path, capsys):
        """Whoever trains need not be who serves."""
        plant.add(picture(1), "ok")
        before = os.umask(0o022)
        try:
            exported(plant, tmp_path / "data", capsys)
        finally:
            os.umask(before)
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o755

    def test_names_that_clients_chose_stay_inside(self, plant, picture, tmp_path, capsys):
        plant.add(
            picture(1), "defect", boxes=[(0, 0, 9, 9)], coil_id='../../etc,"x"', said={"defect_class": "../../../up"}
        )
        assert exported(plant, tmp_path / "below" / "data", capsys)[0] == 0
        (record,) = scan(tmp_path / "below" / "data")
        assert (record.group, record.defect_type) == ('../../etc,"x"', "../../../up")
        assert {path.name for path in tmp_path.iterdir()} == {"home", "below"}

    @pytest.mark.parametrize("broken", ["no home", "no model"])
    def test_says_what_is_missing(self, plant, tmp_path, capsys, broken):
        if broken == "no model":
            shutil.rmtree(plant.home / "models")
        else:
            (plant.home / SQLITE_FILE).unlink()
        code, said = exported(plant, tmp_path / "data", capsys)
        assert code == 1
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert not (plant.home / SQLITE_FILE).exists() or broken == "no model"

    def test_a_record_of_another_release_is_one_line(self, plant, tmp_path, capsys):
        with plant.database.writing() as connection:
            connection.exec_driver_sql("DROP TABLE reviews")
            connection.exec_driver_sql("ALTER TABLE inspections RENAME COLUMN review TO label")
        code, said = exported(plant, tmp_path / "data", capsys)
        assert (code, said.count("\n")) == (1, 1)
        assert "the record cannot be read" in said

    def test_is_a_command_of_its_own_process(self, plant, picture, tmp_path):
        plant.add(picture(1), "ok")
        done = subprocess.run(
            [sys.executable, "-m", "app", "export", str(tmp_path / "data")],
            cwd=ROOT, env={**os.environ, "STEELSIGHT_HOME": str(plant.home)}, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with (tmp_path / "data" / "labels.csv").open(newline="") as file:
            assert [row["label"] for row in csv.DictReader(file)] == ["ok"]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
