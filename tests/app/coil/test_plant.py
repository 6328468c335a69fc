"""The plant file: what it says is what counts, and a mistake in it is told in one line."""

import re
from pathlib import Path

import pytest

from app.plant import ACCEPTANCE, SEVERITIES, Plant, PlantError, load_plant, parse_plant

ROOT = Path(__file__).parents[3]


def documented():
    page = (ROOT / "docs" / "plant-file.md").read_text(encoding="utf-8")
    return re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1]


def test_the_documented_example_is_read():
    plant = parse_plant(documented())
    assert [camera.id for camera in plant.cameras] == ["top-1", "top-2", "bottom-1"]
    assert plant.cameras[1].across_mm == 640.0
    assert [roll.diameter_mm for roll in plant.rolls] == [600.0, 820.0]
    assert plant.acceptance[1].defect_class == "scratch"
    assert plant.coverage.reject_above == 0.1
    assert plant.defaults == ()


def test_the_documented_example_has_every_key():
    text = documented()
    for part in (Plant, *(type(each[0]) for each in (ACCEPTANCE, SEVERITIES))):
        for name, field in part.model_fields.items():
            key = field.alias or name
            assert re.search(rf"^(\[\[?)?{key}\b", text, re.MULTILINE), f"{key} is in no line of the example"


def test_the_documented_defaults_are_the_defaults():
    example = parse_plant(documented())
    assert example.severities == SEVERITIES
    assert example.acceptance[0] == ACCEPTANCE[0]
    assert example.periodic == Plant().periodic


def test_no_file_is_all_defaults(tmp_path):
    plant = load_plant(tmp_path / "plant.toml")
    assert plant == Plant()
    assert plant.defaults == ("severity", "acceptance", "coverage")


def test_a_part_that_is_written_is_no_default():
    assert parse_plant("[[acceptance]]\nhold_above = 3").defaults == ("severity", "coverage")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rolls = 3", "rolls: is no key of the plant file"),
        ('[[camera]]\nid = "a"\nside = "top"', "camera 1, across_mm: is missing"),
        ('[[camera]]\nid = "a"\nside = "top"\nacross_mm = nan', "camera 1, across_mm: received nan"),
        (
            '[[camera]]\nid = "a"\nside = "top"\nacross_mm = -1e308',
            "camera 1, across_mm: received -1e+308; input should",
        ),
        ("[[acceptance]]\nhold_above = " + "9" * 400, "acceptance 1, hold_above: received 999"),
        ("[[acceptance]]\nhold_above = " + "9" * 5000, "is not TOML: "),
        ("rolls = " + "[" * 10_000, "is not TOML: "),
        ('[[roll]]\nname = "r"\ndiameter_mm = -1', "roll 1, diameter_mm: received -1; input should be greater than 0"),
        ('[[camera]]\nid = "a"\nside = "t"\nacross_mm = 0\n' * 2, "the camera id 'a' stands there more than once"),
        ('[[acceptance]]\nseverity = "grave"\nhold_above = 0', "severity 'grave'; there are minor, major, critical"),
        ('[[acceptance]]\ndefect_class = "dent"', "acceptance 1: a rule has hold_above, reject_above or both"),
        ("[[acceptance]]\nhold_above = 3\nreject_above = 2", "reject_above is at least hold_above"),
        ('[[severity]]\nname = "a"\nleast_mm = 5', "severities go from the lightest, least_mm = 0"),
        ('[[severity]]\nname = "a"\nleast_mm = 0', "need [[acceptance]] rules of your own"),
        ("[coverage]\nhold_above = 2", "coverage, hold_above: received 2; input should be less than or equal to 1"),
        ("[periodic]\nleast_mm = 900\nmost_mm = 800", "most_mm is greater than least_mm"),
        ("[[camera]", "is not TOML"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path, text, said):
    file = tmp_path / "plant.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PlantError) as caught:
        load_plant(file)
    told = str(caught.value)
    assert told.startswith(f"{file}: ")
    assert said in told
    assert "\n" not in told


def test_what_is_no_file_of_text_is_told(tmp_path):
    file = tmp_path / "plant.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PlantError, match="not UTF-8"):
        load_plant(file)
    with pytest.raises(PlantError, match="cannot be read"):
        load_plant(tmp_path)
    file.write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(PlantError, match="is longer than"):
        load_plant(file)
