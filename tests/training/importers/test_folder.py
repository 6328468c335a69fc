"""The writer of data folders: whole or not at all, unchanged bytes, names that stay apart and inside."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.classes import RESERVED
from training.errors import DataFault, UsageFault
from training.importers import FORMATS, import_source
from training.importers.folder import safe_name, unique_stems
from training.importers.names import OK_NAMES
from training.scan import scan

ROOT = Path(__file__).parents[3]
names = st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=30)


@given(st.lists(st.tuples(names, names), max_size=12))
def test_stems_are_apart_also_without_case_and_stay_plain_names(pairs):
    stems = unique_stems([f"{folder}/{stem}.png" for folder, stem in pairs])
    assert len(stems) == len(pairs)
    assert len({stem.casefold() for stem in stems}) == len(stems)
    for stem in stems:
        assert Path(stem).name == stem
        assert not stem.startswith((".", "-"))
        stem.encode()


@given(st.text(max_size=400))
def test_a_safe_name_fits_a_file_system_and_is_its_own_safe_name(text):
    name = safe_name(text)
    assert 0 < len(name.encode()) <= 200
    assert safe_name(name) == name


def test_no_importer_makes_a_class_that_training_refuses():
    assert RESERVED <= OK_NAMES


@pytest.mark.parametrize("written", [".", "../source", "../other/../source"])
@pytest.mark.parametrize(("name", "leads_out"), [("a.jpg", False), ("../outside.jpg", True)])
def test_a_source_given_relatively_is_looked_at_the_same(source, photograph, monkeypatch, written, name, leads_out):
    photograph(source / "a.jpg")
    photograph(source.parent / "outside.jpg")
    (source.parent / "other").mkdir()
    (source / "a.json").write_text(json.dumps({"shapes": [], "imagePath": name}))
    monkeypatch.chdir(source)
    if leads_out:
        with pytest.raises(DataFault, match="lies outside"):
            import_source("labelme", Path(written), Path("../data"))
    else:
        assert import_source("labelme", Path(written), Path("../data")).ok == 1


def test_hostile_file_names_of_the_source(source, photograph):
    for seed, name in enumerate(
        ["a\nb.png", "=1+1.png", "a,b.png", "-rf.png", "x" * 240 + ".png", "ä.PNG", "a\x1b[2J.png"]
    ):
        photograph(source / "ok" / name, seed=seed)
    done_rows = import_source("folders", source, source.parent / "data")
    assert done_rows.ok == 7
    assert len(scan(source.parent / "data")) == 7
    assert all(record.path.name.isprintable() for record in scan(source.parent / "data"))


def test_an_occupied_folder_is_refused_and_stays(source, photograph, tmp_path):
    photograph(source / "ok/a.png")
    own = photograph(tmp_path / "data/ok/mine.png")
    with pytest.raises(UsageFault, match=r"already holds files, such as ok/mine\.png"):
        import_source("folders", source, tmp_path / "data")
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == [own]


@pytest.mark.parametrize("place", ["source", "source/data", "."])
def test_source_and_data_must_lie_apart(source, photograph, tmp_path, place):
    photograph(source / "ok/a.png")
    with pytest.raises(UsageFault, match="lie in one another"):
        import_source("folders", source, tmp_path / place)


def test_data_must_be_a_folder_and_source_must_exist(source, photograph, tmp_path):
    file = photograph(tmp_path / "file.png")
    with pytest.raises(UsageFault, match="is a file"):
        import_source("folders", source, file)
    for nowhere in (tmp_path / "nowhere", file):
        with pytest.raises(DataFault, match="is not a folder"):
            import_source("folders", nowhere, tmp_path / "data")


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_source_is_refused_and_leaves_nothing(source, tmp_path, name):
    with pytest.raises(DataFault, match="source"):
        import_source(name, source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_an_empty_folder_that_was_there_stays_there(source, tmp_path):
    (tmp_path / "data").mkdir()
    (source / "cover.txt").write_text("nothing")
    with pytest.raises(DataFault, match="no image to import"):
        import_source("folders", source, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError("no space left")])
def test_an_import_that_stops_takes_away_what_it_wrote(source, photograph, tmp_path, stop):
    for seed in range(3):
        photograph(source / "ok" / f"{seed}.png", seed=seed)

    def interrupt(done: int, total: int) -> None:
        assert list((tmp_path / "data").rglob("*.png"))
        if done == 2:
            raise stop

    with pytest.raises((KeyboardInterrupt, DataFault)):
        import_source("folders", source, tmp_path / "data", interrupt)
    assert not (tmp_path / "data").exists()
    seen = []
    import_source("folders", source, tmp_path / "data", lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_ctrl_c_in_the_terminal_leaves_nothing(source, photograph, tmp_path):
    photograph(source / "ok/0.png", 2000, 2000)
    content = (source / "ok/0.png").read_bytes()
    for number in range(1, 400):
        (source / f"ok/{number}.png").write_bytes(content)
    data = tmp_path / "data"
    command = [sys.executable, "-m", "training", "import", "folders", str(source), str(data)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not data.exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert not data.exists()


def test_a_link_is_copied_as_a_file(source, photograph, tmp_path):
    photograph(tmp_path / "elsewhere.png")
    (source / "ok").mkdir()
    (source / "ok/a.png").symlink_to(tmp_path / "elsewhere.png")
    import_source("folders", source, tmp_path / "data")
    assert not (tmp_path / "data/ok/a.png").is_symlink()
    assert (tmp_path / "data/ok/a.png").read_bytes() == (tmp_path / "elsewhere.png").read_bytes()


def test_sixteen_bit_and_turned_photographs_keep_mask_and_pixels_together(source, photograph, voc, imported):
    """An orientation in the file turns the photograph when it is read: so must the box be drawn on it."""
    from PIL import Image

    (source / "IMAGES").mkdir()
    turned = Image.fromarray(np.zeros((64, 96), np.uint8))
    orientation = Image.Exif()
    orientation[0x0112] = 6
    turned.save(source / "IMAGES/a.jpg", exif=orientation)
    Image.fromarray(np.zeros((64, 96), np.uint16)).save(source / "IMAGES/b.png")
    voc(source / "ANNOTATIONS/a.xml", [("patches", 1, 90, 9, 96)], size=(96, 64))
    voc(source / "ANNOTATIONS/b.xml", [("patches", 90, 1, 96, 9)])
    done = imported("neu-det")
    assert done.mask("IMAGES/a.jpg").shape == (96, 64)
    assert done.mask("IMAGES/a.jpg").sum() == done.mask("IMAGES/b.png").sum() == 63
