"""The page stands alone, shows examples of every finding, and believes no file name."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from training.checks.report import EXAMPLES, THUMBNAIL_PX
from training.command import main

HOSTILE = "a<script>alert('x')&amp;.png"


@pytest.fixture
def faulty(tmp_path, write_image):
    """Three groups of each label; an exact copy under both labels, an empty mask, and broken files."""
    data = tmp_path / "data"
    for number in range(4):
        write_image(data / f"ok/ok{number}.png", number, (300, 200))
        write_image(data / f"defect/pit/pit{number}.png", 10 + number, (300, 200))
        write_image(data / f"masks/pit{number}.png", np.full((300, 200), 255 * (number > 0), np.uint8))
    write_image(data / "defect/pit/copy.png", 0, (300, 200))
    write_image(data / "masks/copy.png", np.full((300, 200), 255, np.uint8))
    for number in range(EXAMPLES + 4):
        (data / f"ok/broken{number}.png").write_bytes(b"nothing")
    (data / "ok" / HOSTILE).write_bytes(b"nothing")
    return data


@pytest.fixture
def report(faulty, tmp_path, capsys):
    assert main(["check", str(faulty), "--report", str(tmp_path / "new/report"), "--json"]) == 1
    return tmp_path / "new/report", json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_file_beside_the_page_is_what_json_prints(report):
    folder, told = report
    assert json.loads((folder / "check.json").read_text()) == told
    assert set(told) == {"images", "groups", "sound", "findings", "shortcuts"}
    assert {finding["kind"] for finding in told["findings"]} == {"labelled_both_ways", "mask_empty", "unreadable"}
    assert all({"kind", "severity", "message", "files"} <= set(finding) for finding in told["findings"])


def test_the_page_loads_nothing_and_escapes_what_it_shows(report):
    page = (report[0] / "check.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    sources = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "url(" not in page


def test_thumbnails_are_small_and_few_and_pairs_stand_together(report):
    page = (report[0] / "check.html").read_text()
    encoded = re.findall(r"data:image/png;base64,([^\"]*)", page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(one))).size for one in encoded]
    # The pair labelled both ways, and the image with its empty mask.
    assert len(sizes) == 4
    assert max(max(size) for size in sizes) == THUMBNAIL_PX
    assert page.count("unreadable</div>") == EXAMPLES


def test_a_file_in_place_of_the_report_folder_is_wrong_usage(faulty, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["check", str(faulty), "--report", str(tmp_path / "taken")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_clean_folder_has_a_page_too(synthetic_folder, tmp_path):
    assert main(["check", str(synthetic_folder), "--report", str(tmp_path)]) == 0
    assert "Sound" in (tmp_path / "check.html").read_text()
