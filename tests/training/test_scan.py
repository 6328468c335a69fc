"""The folder contract of data/README.md, and what breaks it."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from training.checks.files import column_findings
from training.checks.report import summary, write_report
from training.command import main
from training.errors import DataFault
from training.group_pattern import by_pattern
from training.scan import fingerprint, scan, unread, unread_columns
from training.validate import check

NOBODY = 65534


@pytest.mark.parametrize("header", ["file,label,group", "File,LABEL, Group ", "\ufefffile,label,GROUP"])
def test_columns_are_known_whatever_their_case(tmp_path, write_image, header):
    write_image(tmp_path / "ok/a.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "labels.csv").write_text(f"{header}\nok/a.png,ok,coil 7\n", encoding="utf-8")
    assert [record.group for record in scan(tmp_path)] == ["coil 7"]
    assert unread_columns(tmp_path) == []


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_what_a_spreadsheet_writes_is_read(tmp_path, write_image, delimiter):
    """Another delimiter, its mark of Unicode, quotes, labels with a capital, and the paths of another system."""
    write_image(tmp_path / "ok/1.png", 1)
    write_image(tmp_path / "defect/pit, deep/2.png", 2)
    rows = [
        ["File", "Label", "Defect Type", "Group"],
        ["ok\\1.png", "Ok", "", "007"],
        [r'"defect\pit, deep\2.png"', "DEFECT", '"pit, deep"', "008"],
    ]
    text = "".join(delimiter.join(row) + "\r\n" for row in rows)
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    told = [(record.file, record.label, record.defect_type, record.group) for record in scan(tmp_path)]
    assert told == [("defect/pit, deep/2.png", "defect", "pit, deep", "008"), ("ok/1.png", "ok", "none", "007")]


def test_a_name_with_a_backslash_is_that_name(tmp_path, write_image):
    write_image(tmp_path / "ok/a\\b.png", 1)
    write_image(tmp_path / "ok/a/b.png", 2)
    (tmp_path / "labels.csv").write_text("file,label\nok/a\\b.png,ok\n")
    assert "ok/a\\b.png" in {record.file for record in scan(tmp_path)}


@pytest.mark.parametrize("named", [r"..\ok\1.png", r"\ok\1.png", r"ok\..\..\1.png"])
def test_backslashes_lead_out_of_no_folder(tmp_path, write_image, named):
    write_image(tmp_path / "data/ok/1.png", 1)
    (tmp_path / "data/labels.csv").write_text(f"file,label\n{named},ok\n")
    with pytest.raises(DataFault, match="is not a path inside the data folder"):
        scan(tmp_path / "data")


def test_a_column_given_twice_is_refused(tmp_path, write_image):
    write_image(tmp_path / "ok/a.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "labels.csv").write_text("file,label,group,Group\nok/a.png,ok,7,8\n")
    with pytest.raises(DataFault, match="several columns 'group'"):
        scan(tmp_path)


@pytest.mark.parametrize(("columns", "told"), [(",coil_id", ["coil_id"]), (",group,coil_id", []), ("", [])])
def test_columns_that_may_be_the_group_are_told_where_none_is(tmp_path, write_image, columns, told):
    write_image(tmp_path / "ok/a.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "labels.csv").write_text(f"file,label{columns}\nok/a.png,ok{',7' * columns.count(',')}\n")
    assert unread_columns(tmp_path) == told
    findings = list(column_findings(tmp_path, scan(tmp_path)))
    assert [each.kind for each in findings] == ["no_group_column"] * len(told)
    assert all(f"`{name}`" in findings[0].message for name in told)
    by_name = by_pattern(scan(tmp_path), "ok/(a)")
    assert list(column_findings(tmp_path, by_name)) == [], "file names tell the groups"


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


def test_names_that_are_not_utf_8_are_written_out(tmp_path, write_image):
    latin = Path(os.fsdecode(b"Kratz\xe4r"))
    write_image(tmp_path / "defect" / latin / "a.png", 1)
    (tmp_path / latin).with_suffix(".gif").write_bytes(b"")
    records = scan(tmp_path)
    assert [(record.file, record.defect_type) for record in records] == [(r"defect/Kratz\xe4r/a.png", r"Kratz\xe4r")]
    assert unread(tmp_path, records) == {"format_not_read": [r"Kratz\xe4r.gif"]}
    assert len(fingerprint(records)) == 64

    write_image(tmp_path / "defect/Kratz\\xe4r/a.png", 2)
    with pytest.raises(DataFault, match="two images are called"):
        scan(tmp_path)


def test_two_defect_images_cannot_share_a_mask(tmp_path, write_image):
    write_image(tmp_path / "defect/pit/0.png", 1)
    write_image(tmp_path / "defect/crack/0.png", 2)
    write_image(tmp_path / "masks/0.png", 3)
    with pytest.raises(DataFault, match="share the mask"):
        scan(tmp_path)


def test_a_mask_is_of_the_defect_where_an_ok_image_has_its_name_too(tmp_path, write_image):
    write_image(tmp_path / "ok/0.png", 1)
    write_image(tmp_path / "defect/scratch/0.png", 2)
    mask = write_image(tmp_path / "masks/0.png", 3)
    assert {record.file: record.mask for record in scan(tmp_path)} == {"ok/0.png": None, "defect/scratch/0.png": mask}
    # By label, not by folder.
    (tmp_path / "labels.csv").write_text("file,label\nok/0.png,defect\ndefect/scratch/0.png,ok\n")
    assert {record.file: record.mask for record in scan(tmp_path)} == {"ok/0.png": mask, "defect/scratch/0.png": None}


def test_linked_folders_are_followed_without_loops_and_once(tmp_path, write_image):
    data, archive = tmp_path / "data", tmp_path / "archive"
    write_image(archive / "coil 7/a.png", 1)
    write_image(data / "ok/b.png", 2)
    write_image(data / "ok/z/c.png", 3)
    (data / "ok/a-link").symlink_to(archive)
    (data / "ok/again").symlink_to(archive)
    (data / "ok/b-link-to-z").symlink_to(data / "ok/z")
    (data / "ok/loop").symlink_to(data / "ok")
    (archive / "coil 7/up").symlink_to(data)
    (data / "defect").symlink_to(archive)
    files = [(record.file, record.defect_type) for record in scan(data)]
    assert files == [
        ("defect/coil 7/a.png", "coil 7"),
        ("ok/a-link/coil 7/a.png", "none"),
        ("ok/b.png", "none"),
        ("ok/z/c.png", "none"),
    ]


def test_a_linked_image_is_an_image(tmp_path, write_image):
    target = write_image(tmp_path / "elsewhere/a.png", 1)
    (tmp_path / "data/ok").mkdir(parents=True)
    (tmp_path / "data/ok/a.png").symlink_to(target)
    assert [record.file for record in scan(tmp_path / "data")] == ["ok/a.png"]


@pytest.fixture
def no_root():
    """Nothing is closed to root: for the length of a test its user is another one."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(user)


def test_a_folder_that_cannot_be_listed_is_not_passed_over(no_root, write_image):
    # The folders pytest makes belong to the user it was started as, and are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        write_image(data / "ok/closed/a.png", 1)
        write_image(data / "ok/b.png", 1)
        (data / "ok/closed").chmod(0)
        with pytest.raises(PermissionError):
            scan(data)
        (data / "ok/closed").chmod(0o700)


def test_image_files_that_are_not_read_are_named_with_the_reason(tmp_path, write_image):
    write_image(tmp_path / "ok/a.PNG", 1)
    write_image(tmp_path / "masks/a.png", 1)
    write_image(tmp_path / "masks/nobody.png", 1)
    write_image(tmp_path / "scratch/c.png", 1)
    write_image(tmp_path / "listed/d.png", 1)
    for name in ("ok/e.GIF", "defect/f.npy", "g.heic", "ok/notes.txt", "ok/.hidden.gif", "defect/Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "ok/broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "labels.csv").write_text("file,label\nlisted/d.png,ok\n")
    assert unread(tmp_path, scan(tmp_path)) == {
        "format_not_read": ["defect/f.npy", "g.heic", "ok/e.GIF"],
        "mask_unused": ["masks/nobody.png"],
        "unlabelled": ["ok/broken.png", "scratch/c.png"],
    }


def test_the_check_tells_of_files_that_are_not_read_and_shows_no_picture_of_them(tmp_path, write_image):
    for number in range(3):
        write_image(tmp_path / f"data/ok/{number}.png", number)
        write_image(tmp_path / f"data/defect/d{number}.png", number + 10)
    (tmp_path / "data/ok/frame.gif").write_bytes(b"GIF89a")
    verdict = check(scan(tmp_path / "data"), data=tmp_path / "data")
    (told,) = [found for found in verdict.findings if found.kind == "format_not_read"]
    assert (told.severity, told.files) == ("warning", ("ok/frame.gif",))
    assert told.message.startswith("1 image is in a format that is not read")
    findings = summary(verdict.records, verdict.findings, verdict.shortcuts, verdict.sound)
    page = write_report(tmp_path / "report", tmp_path / "data", findings, verdict.records).read_text()
    assert "ok/frame.gif" in page


def test_train_warns_of_files_that_are_not_read_before_it_does_anything(tmp_path, write_image, capsys):
    for number in range(3):
        write_image(tmp_path / f"data/ok/{number}.png", number)
    (tmp_path / "data/ok/frame.jp2").write_bytes(b"x")
    assert main(["train", str(tmp_path / "data"), "--models", str(tmp_path / "models")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("warning: format_not_read: 1 image is in a format that is not read")
    assert lines[1].strip() == "ok/frame.jp2"


def test_a_plain_folder_has_nothing_that_is_not_read(synthetic_folder):
    assert unread(synthetic_folder, scan(synthetic_folder)) == {}
