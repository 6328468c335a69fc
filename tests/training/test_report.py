"""The report says what was measured, stands alone, and shows the tiles it speaks of."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from model.image import decode
from model.tiling import Fit
from model.verdict import Thresholds
from training.evaluate import evaluate
from training.galleries import (
    AGAINST,
    FOR_DEFECT,
    exhibits,
    first_of_each,
    heat_map,
    outline,
    worst_escapes,
    worst_false_calls,
)
from training.model_card import model_card
from training.report import CARD, FIGURES, PAGE, write_report

# What the usual margins leave of a sheet of A4, in CSS pixels.
PAPER_PX = 718
HOSTILE = "<script>alert(1)</script>|`$x$"


def darkest(tiles):
    """Scores a tile by how far its darkest pixel lies below the mean."""
    return np.clip((tiles.mean(axis=(1, 2)) - tiles.min(axis=(1, 2))) / 160, 0, 1)


@pytest.fixture(scope="module")
def examination(examine, synthetic_folder):
    return examine(synthetic_folder, darkest)


@pytest.fixture(scope="module")
def report(examination, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "new" / "report"
    write_report(folder, examination)
    return folder


def test_three_files_and_nothing_else(report):
    assert {path.name for path in report.iterdir()} == {PAGE, FIGURES, CARD}


def test_the_json_holds_the_figures_of_evaluate(report, examination):
    found = json.loads((report / FIGURES).read_text())
    tiles = examination.tiles
    metrics = evaluate(
        tiles.defect, examination.probabilities, tiles.group, examination.manifest.thresholds, examination.seed
    )
    assert list(found)[:4] == ["version", "tiles", "groups", "metrics"]
    assert found["metrics"] == {name: interval.model_dump() for name, interval in metrics.items()}
    assert (found["tiles"], found["groups"]) == (len(tiles), tiles.groups)
    assert sum(row["tiles"] for row in found["by_defect_class"]) == tiles.defect.sum()
    assert sum(row["tiles"] for row in found["by_defect_size"]) == tiles.defect.sum()
    assert sum(row["escapes"] for row in found["by_group"]) == found["confusion"]["defect"]["ok"]
    assert found["roc"][0] == [0, 0]
    assert found["roc"][-1] == [1, 1]
    assert found["precision_recall"][-1] == [1, pytest.approx(tiles.defect.mean(), abs=1e-6)]


def test_the_page_loads_nothing_and_runs_nothing(report):
    page = re.sub(r"(?<=base64,)[^\"]*", "", (report / PAGE).read_text())
    assert not re.search(r"https?://|//[a-z]|@import|url\((?!#)|<script|<link|<iframe| on\w+=", page)
    sources = re.findall(r'(?<!xlink:)\b(?:href|src)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)


def test_curves_take_their_ink_from_the_page(report):
    page = (report / PAGE).read_text()
    assert "prefers-color-scheme: dark" in page
    assert page.count('<svg role="img" aria-label="ROC curve"') == 1
    assert "currentColor" in page
    assert "#010203" not in page
    assert "#000000" not in page


def test_the_page_shows_every_figure_class_and_change(report):
    page, found = (report / PAGE).read_text(), json.loads((report / FIGURES).read_text())
    for row in found["by_defect_class"] + found["by_defect_size"]:
        assert f"<td>{row['name']}</td><td>{row['tiles']}</td>" in page
    for interval in found["metrics"].values():
        assert f"<td>{interval['value']:.3f}</td>" in page
    for row in found["robustness"]:
        assert f'<td class="text">{row["level"]}</td>' in page
    assert "Learning curves" in page


def test_thresholds_from_costs_are_told_with_what_they_cost_here(examination, tmp_path):
    prices = {"escape_cost": 9000.0, "overkill_cost": 1000.0, "review_cost": None, "defect_share": 0.01}
    training = examination.manifest.training | {"thresholds": prices}
    manifest = examination.manifest.model_copy(update={"training": training})
    write_report(tmp_path, replace(examination, manifest=manifest))
    metrics = json.loads((tmp_path / FIGURES).read_text())["metrics"]
    escaped, called = (metrics[name]["value"] for name in ("escape_rate", "overkill_rate_at_defect"))
    cost = metrics["cost_per_tile"]
    assert cost["value"] == pytest.approx(0.01 * 9000 * escaped + 0.99 * 1000 * called)
    # No share: it has digits that count and no place on a bar from 0 to 1.
    told = f"{cost['value']:.4g}"
    assert re.search(
        rf"<td>cost per tile</td><td>{told}</td><td>\s*<small>[^<]+</small>\s*</td>", (tmp_path / PAGE).read_text()
    )
    assert f"| cost\\_per\\_tile | {told} | {cost['low']:.4g} to {cost['high']:.4g} |" in (tmp_path / CARD).read_text()


@pytest.mark.parametrize(("medium", "width_px"), [("print", PAPER_PX), ("screen", 1000)])
def test_no_column_lies_beyond_the_page(chromium, naming, tmp_path, medium, width_px):
    """Nor does a long name push one there; the escape rate is the last column."""
    long = "W" * 120
    records = [replace(record, defect_type=long) for record in naming.records]
    manifest = naming.manifest.model_copy(update={"classes": (*naming.manifest.classes[:-1], long)})
    write_report(tmp_path, replace(naming, records=records, manifest=manifest))
    page = chromium.new_page(viewport={"width": width_px, "height": 800})
    page.emulate_media(media=medium)
    page.goto((tmp_path / PAGE).as_uri())
    ends = page.locator("th, td").evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().right)")
    page.close()
    assert max(ends) <= width_px


def test_the_same_examination_gives_the_same_bytes(report, examination, tmp_path):
    write_report(tmp_path, examination)
    for name in (PAGE, FIGURES, CARD):
        assert (tmp_path / name).read_bytes() == (report / name).read_bytes()


def test_names_stay_text(examination, tmp_path):
    records = [replace(record, defect_type=HOSTILE, group=HOSTILE) for record in examination.records]
    hostile = replace(examination, records=records, data=HOSTILE)
    write_report(tmp_path, hostile)
    for name in (PAGE, CARD):
        text = (tmp_path / name).read_text()
        assert "<script" not in text
        assert "&lt;script&gt;" in text
    # In a table of the card, a bar in a name must not open a new cell.
    rows = [line for line in (tmp_path / CARD).read_text().splitlines() if line.startswith("| &lt;script")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [6]


@pytest.fixture
def naming(examination):
    """The same tiles, judged by a version with a class for each type: right or wrong by chance."""
    types = sorted({record.defect_type for record in examination.records} - {"none"})
    draws = np.random.default_rng(0).random((len(examination.tiles), 1 + len(types)))
    manifest = examination.manifest.model_copy(update={"classes": ("ok", *types)})
    return replace(examination, manifest=manifest, class_probabilities=draws / draws.sum(axis=1, keepdims=True))


def test_classes_are_shown_where_a_version_tells_them_apart(naming, tmp_path):
    found = write_report(tmp_path, naming)
    assert [row["name"] for row in found["classes"]["table"]] == list(naming.manifest.classes)
    assert sum(row["tiles"] for row in found["classes"]["table"]) == len(naming.tiles)
    assert found["metrics"]["class_accuracy"]["value"] < 0.5
    page, card = (tmp_path / PAGE).read_text(), (tmp_path / CARD).read_text()
    assert "<h2>Classes</h2>" in page
    assert "## Classes" in card
    for name, row in found["classes"]["confusion"].items():
        assert f"| {name.replace('_', chr(92) + '_')} | {' | '.join(map(str, row.values()))} |" in card


def test_a_binary_version_has_no_classes_to_show(report):
    assert json.loads((report / FIGURES).read_text())["classes"] is None
    assert "<h2>Classes</h2>" not in (report / PAGE).read_text()
    assert "## Classes" not in (report / CARD).read_text()


def test_class_names_stay_text_too(naming, tmp_path):
    classes = (*naming.manifest.classes[:-1], HOSTILE)
    hostile = replace(naming, manifest=naming.manifest.model_copy(update={"classes": classes}))
    assert write_report(tmp_path, hostile)["classes"]["unknown"] > 0
    assert "<script" not in (tmp_path / PAGE).read_text()
    rows = [line for line in (tmp_path / CARD).read_text().splitlines() if line.startswith("| &lt;script")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [6, len(classes) + 2]


def test_groups_of_the_training_are_named_as_such(examination, tmp_path):
    groups = np.unique(examination.tiles.group)
    used = {record.file for record in examination.records if record.group in groups[::2]}
    found = write_report(tmp_path, replace(examination, files_used=used))
    assert found["known_groups"] == -(-len(groups) // 2)
    assert "flattering" in (tmp_path / PAGE).read_text()
    assert "flattering" in (tmp_path / CARD).read_text()


def test_where_nobody_knows_what_the_training_saw_the_report_says_so(examination, tmp_path):
    assert write_report(tmp_path, replace(examination, files_used=None))["known_groups"] is None
    assert "without a list of the images" in (tmp_path / PAGE).read_text()
    assert "without a list of the images" in (tmp_path / CARD).read_text()


def test_nothing_wrong_shows_empty_galleries(examination, tmp_path):
    perfect = replace(examination, probabilities=examination.tiles.defect.astype(float))
    found = write_report(tmp_path, perfect)
    assert found["worst_escapes"] == found["worst_false_calls"] == []
    assert (tmp_path / PAGE).read_text().count("<p>None.</p>") == 2
    assert f"- None of the {found['defect_tiles']} defect tiles escapes." in (tmp_path / CARD).read_text()


def test_the_card_tells_of_each_figure_the_change_that_costs_it_most(report):
    found = json.loads((report / FIGURES).read_text())
    unchanged, *changed = found["robustness"]
    (told,) = re.findall("^- At worst, under the changes tried: .*$", (report / CARD).read_text(), re.MULTILINE)
    for name, said, worst in (("auroc", "AUROC", min), ("escape_rate", "escape rate", max)):
        row = worst(changed, key=lambda row: row["metrics"][name]["value"])
        before, after = (f"{each['metrics'][name]['value']:.3f}" for each in (unchanged, row))
        assert f"{said} {before} becomes {after} ({row['change']}, {row['level']})" in told


def test_the_card_says_of_how_many_tiles_the_changes_were_tried_where_not_of_all(report, examination):
    found = json.loads((report / FIGURES).read_text())
    found["robustness"][0]["tiles"] = 40
    card = model_card(examination.manifest, found)
    assert "under the changes tried on 40 of the tiles, of whole groups drawn at random: " in card


def test_thresholds_and_rates_next_to_0_and_1_are_not_told_as_that(examination, tmp_path):
    thresholds = Thresholds(review=3e-5, defect=0.9999982)
    manifest = examination.manifest.model_copy(update={"thresholds": thresholds})
    write_report(tmp_path, replace(examination, manifest=manifest))
    for page in (PAGE, CARD):
        text = (tmp_path / page).read_text()
        assert "from a defect probability of 3e-05" in text
        assert "0.999998" in text


def test_images_without_masks_are_reported_whole(examine, write_image, tmp_path):
    for number in range(12):
        write_image(tmp_path / "data" / ("ok" if number % 2 else "defect") / f"{number}.png", number)
    examination = examine(tmp_path / "data", lambda tiles: (tiles[:, 0, 0] / 255).astype(np.float64))
    assert examination.fitting.fit is Fit.RESIZE
    found = write_report(tmp_path / "report", examination)
    assert found["by_defect_size"] == []
    assert "By defect size" not in (tmp_path / "report" / PAGE).read_text()


def test_the_worst_come_first(examination):
    probabilities, thresholds = examination.probabilities, examination.manifest.thresholds
    escapes, false_calls = worst_escapes(examination), worst_false_calls(examination)
    assert examination.tiles.defect[escapes].all()
    assert not examination.tiles.defect[false_calls].any()
    assert (np.diff(probabilities[escapes]) >= 0).all()
    assert (np.diff(probabilities[false_calls]) <= 0).all()
    assert (probabilities[escapes] < thresholds.review).all()
    assert len(escapes) == ((probabilities < thresholds.review) & examination.tiles.defect).sum()
    assert len(first_of_each(escapes, examination.tiles.group)) == len(set(examination.tiles.group[escapes]))


def test_an_exhibit_is_the_tile_at_its_place_with_its_mask(examination):
    records = {record.file: record for record in examination.records}
    chosen = np.flatnonzero(examination.tiles.defect)[:10]
    for index, exhibit in zip(chosen, exhibits(examination, chosen, heat=False), strict=True):
        image = decode(records[exhibit.file].path.read_bytes())
        mask = decode(records[exhibit.file].mask.read_bytes()) >= 128
        box = np.s_[exhibit.y : exhibit.y + 64, exhibit.x : exhibit.x + 64]
        png = base64.b64decode(exhibit.picture.removeprefix("data:image/png;base64,"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), image[box])
        assert mask[box].sum() == examination.tiles.masked[index]
        assert exhibit.outline == outline(mask[box])
        assert exhibit.is_defect


@pytest.mark.parametrize(("grey", "colour"), [(20, FOR_DEFECT), (250, AGAINST)])
def test_a_heat_map_is_red_on_what_speaks_for_a_defect(grey, colour):
    """To the scorer a dark blob is a defect, and a bright one makes good surface."""
    tile = np.full((64, 64), 128, np.uint8)
    tile[8:16, 40:48] = grey
    heat = heat_map(lambda tiles: 1 - tiles.mean(axis=(1, 2)) / 255, tile)
    assert heat.shape == (16, 16, 4)
    strongest = np.unravel_index(heat[..., 3].argmax(), (16, 16))
    assert strongest[0] in {2, 3}
    assert strongest[1] in {10, 11}
    assert heat[strongest][:3].tolist() == list(colour)
    assert (heat[10:, :, 3] == 0).all(), "grey on grey changes nothing"


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_a_score_that_sees_nothing_has_no_heat(probability):
    heat = heat_map(lambda tiles: np.full(len(tiles), probability), np.zeros((32, 32), np.uint8))
    assert (heat[..., 3] == 0).all()


def test_a_file_that_changed_since_is_shown_as_it_was_scored(examine, write_image, tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[10:20, 10:20] = 255
    for number in range(4):
        write_image(tmp_path / "ok" / f"ok{number}.png", number, (64, 64))
        write_image(tmp_path / "defect" / f"bad{number}.png", 9 + number, (64, 64))
        write_image(tmp_path / "masks" / f"bad{number}.png", mask)
    examination = examine(tmp_path, darkest)
    index = np.flatnonzero(examination.tiles.defect)[:1]
    write_image(tmp_path / "defect" / "bad0.png", 77, (64, 64))
    (exhibit,) = exhibits(examination, index, heat=False)
    assert (exhibit.x, exhibit.y, exhibit.outline) == (None, None, "")


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_an_outline_runs_along_every_edge_of_the_mask_once(mask):
    padded = np.pad(mask, 1)
    edges = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    assert sum(int(length) for length in re.findall(r"[hv](\d+)", outline(mask))) == edges
