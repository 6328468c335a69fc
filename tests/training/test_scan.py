"""The folder contract of data/README.md, and what breaks it."""

import os

import pytest

from training.errors import DataFault
from training.scan import fingerprint, scan


def test_folders_name_labels_and_defect_types(tmp_path, write_image):
    write_image(tmp_path / "ok/line1/a.png", 1)
    write_image(tmp_path / "defect/b.png", 2)
    write_image(tmp_path / "defect/scratch/deep/c.png", 3)
    write_image(tmp_path / "defect/.hidden.png", 4)
    (tmp_path / "defect/notes.txt").write_text("no image")
    found = [(record.file, record.label, record.defect_type, record.group) for record in scan(tmp_path)]
    assert found == [
        ("defect/b.png", "defect", "defect", None),
        ("defect/scratch/deep/c.png", "defect", "scratch", None),
        ("ok/line1/a.png", "ok", "none", None),
    ]


def test_labels_win_over_folders_and_reach_any_folder(tmp_path, write_image):
    write_image(tmp_path / "ok/a.png", 1)
    write_image(tmp_path / "ok/b.png", 2)
    write_image(tmp_path / "crazing/c.png", 3)
    (tmp_path / "labels.csv").write_text(
        "file,label,defect_type,group,note\nok/a.png,defect,pit,g1,x\ncrazing/c.png,defect,,,\n", encoding="utf-8-sig"
    )
    found = [(record.file, record.label, record.defect_type, record.group) for record in scan(tmp_path)]
    assert found == [
        ("crazing/c.png", "defect", "defect", None),
        ("ok/a.png", "defect", "pit", "g1"),
        ("ok/b.png", "ok", "none", None),
    ]


def test_masks_are_found_by_stem(tmp_path, write_image):
    write_image(tmp_path / "defect/a.png", 1)
    write_image(tmp_path / "defect/b.png", 1)
    mask = write_image(tmp_path / "masks/a.png", 2)
    assert [record.mask for record in scan(tmp_path)] == [mask, None]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,label\na.png,ok\n", "`file` and `label` are needed"),
        ("file,label\nmissing.png,ok\n", "line 2: there is no file"),
        ("file,label\n../outside.png,ok\n", "not a path inside"),
        ("file,label\n/etc/passwd,ok\n", "not a path inside"),
        ("file,label\n,ok\n", "not a path inside"),
        ("file,label\na.png,good\n", "neither `ok` nor `defect`"),
        ("file,label,defect_type\na.png,defect,none\n", "cannot be of the type `none`"),
        (f"file,label\n{'a' * 300}.png,ok\n", "line 2: there is no file"),
        ("file,label\na.png\n", "neither `ok` nor `defect`"),
        ("file,label\na.png,ok\na.png,defect\n", "listed twice"),
        (b"file,label\n\xff\xfe\x00,ok\n", "cannot be read"),
        (b'file,label\n"a.png,ok\n', "cannot be read"),
        (b"", "`file` and `label` are needed"),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path, write_image, table, message):
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(DataFault, match=message):
        scan(tmp_path)


def test_an_empty_or_missing_folder_says_what_is_expected(tmp_path):
    with pytest.raises(DataFault, match="no labelled images"):
        scan(tmp_path)
    with pytest.raises(DataFault, match="is not a folder"):
        scan(tmp_path / "nowhere")


def test_the_fingerprint_changes_with_every_thing_that_matters(tmp_path, write_image):
    write_image(tmp_path / "ok/a.png", 1)
    write_image(tmp_path / "defect/b.png", 2)

    def now() -> str:
        return fingerprint(scan(tmp_path))

    seen = [now()]
    assert now() == seen[0]
    write_image(tmp_path / "ok/a.png", 3)
    seen.append(now())
    write_image(tmp_path / "masks/b.png", 4)
    seen.append(now())
    (tmp_path / "labels.csv").write_text("file,label,group\nok/a.png,ok,g\n")
    seen.append(now())
    (tmp_path / "labels.csv").write_text("file,label,group\nok/a.png,defect,g\n")
    seen.append(now())
    assert len(set(seen)) == len(seen)


def test_two_masks_for_one_name_are_refused(tmp_path, write_image):
    write_image(tmp_path / "defect/a.png", 1)
    write_image(tmp_path / "masks/a.png", 2)
    write_image(tmp_path / "masks/more/a.png", 3)
    with pytest.raises(DataFault, match="masks for the same image name"):
        scan(tmp_path)


def test_a_defect_folder_cannot_be_called_none(tmp_path, write_image):
    write_image(tmp_path / "defect/none/a.png", 1)
    with pytest.raises(DataFault, match="cannot be of the type `none`"):
        scan(tmp_path)


def test_file_names_need_not_be_utf_8(tmp_path, write_image):
    write_image(tmp_path / "ok/a.png", 1).rename(os.fsdecode(os.fsencode(tmp_path / "ok") + b"/\xff.png"))
    assert len(fingerprint(scan(tmp_path))) == 64


def test_two_defect_images_cannot_share_a_mask(tmp_path, write_image):
    write_image(tmp_path / "defect/pit/0.png", 1)
    write_image(tmp_path / "defect/crack/0.png", 2)
    write_image(tmp_path / "masks/0.png", 3)
    with pytest.raises(DataFault, match="share the mask"):
        scan(tmp_path)
