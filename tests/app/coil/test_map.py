"""The map in its three forms, and the report: what they say, that they say it safely, and how large they get."""

import io
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from app.coil.counting import Stretch
from app.coil.coverage import Refused
from app.coil.examination import examine
from app.coil.map_png import png
from app.coil.map_svg import svg
from app.coil.marks import COLOURS, SHAPES, looks
from app.coil.replies import detail, mapped
from app.coil.report import report
from app.coil.scene import WIDTH, scene, steps
from app.coil.strip_map import MOST_EVENTS, strip_map
from app.plant import Camera, Plant, Roll
from tests.app.coil.coils import END, START, evidence, seen
from tests.app.coil.strip import events_at, marks, scattered, together

MILL = Plant(
    cameras=(Camera(id="c1", side="top", across_mm=0.0),), rolls=(Roll(name="work roll <4>", diameter_mm=600.0),)
)
HOSTILE = '<script>alert("&")</script>'
GAPPED = {"c1": [*seen(50_000.0, 50), Stretch(50, 100, 149, 100_000.0, 200_000.0, END, END)]}


def busy(count=300, classes=("scratch", "dent", None)):
    rng = np.random.default_rng(0)
    rolled = marks(rng, 1885.0, 200_000.0, 460.0)
    places = together(rolled, scattered(rng, count, 200_000.0, 1000.0))
    total = len(places[0])
    return events_at(
        *places,
        defect_class=[classes[place % len(classes)] for place in range(total)],
        defect_probability=rng.uniform(0.3, 1.0, total),
    )


def examined(events=None, plant=MILL, **how):
    return examine(evidence(busy() if events is None else events, **how), plant)


def drawn(examination):
    return svg(scene(strip_map(examination)))


def elements(text, tag):
    return ET.fromstring(text).iter(f"{{http://www.w3.org/2000/svg}}{tag}")


class TestLayout:
    def test_every_event_is_at_its_place(self):
        told = mapped(strip_map(examined(events_at([1000.0, 5000.0], [100.0, 900.0]))))
        (side,) = told.sides
        assert [(event.along_mm, event.across_mm) for event in side.events] == [(1000.0, 100.0), (5000.0, 900.0)]
        assert (told.first_mm, told.last_mm, told.not_drawn) == (0.0, 200_000.0, 0)

    def test_of_too_many_the_worst_are_drawn_and_the_rest_is_counted(self):
        layout = strip_map(examined(busy(20_000)))
        kept = [event.defect_probability for side in layout.sides for event in side.events]
        total = len(examined(busy(20_000)).events)
        assert len(kept) == MOST_EVENTS
        assert layout.not_drawn == total - MOST_EVENTS
        assert any(f"{layout.not_drawn} lighter events are not drawn" in note for note in layout.notes)
        everything = np.sort(examined(busy(20_000)).events.defect_probability)
        assert min(kept) == pytest.approx(everything[-MOST_EVENTS])

    def test_a_gap_says_why(self):
        refused = [Refused("c1", "overloaded", START, number, None) for number in (60, 61)]
        (gap,) = strip_map(examined(stretches=GAPPED, refused=refused)).sides[0].gaps
        assert (gap.from_mm, gap.to_mm, gap.frames) == (50_000.0, 100_000.0, 50)
        assert gap.why == "2 refused: overloaded; 48 unknown"

    def test_announced_strip_that_nobody_saw_is_a_gap_on_the_map(self):
        layout = strip_map(examined(length_mm=300_000.0))
        assert [(gap.from_mm, gap.to_mm) for gap in layout.sides[0].gaps] == [(200_000.0, 300_000.0)]
        assert layout.last_mm == 300_000.0

    def test_cameras_that_the_plant_file_does_not_name_are_told(self):
        layout = strip_map(examined(plant=Plant()))
        assert layout.sides[0].cameras[0].assumed
        assert any("not in the plant file" in note for note in layout.notes)
        assert not strip_map(examined()).notes

    def test_cameras_of_the_plant_file_that_sent_nothing_are_told(self):
        others = tuple(Camera(id=f"b{number}", side="bottom", across_mm=0.0) for number in range(10))
        plant = MILL.model_copy(update={"cameras": MILL.cameras + others})
        (note,) = strip_map(examined(plant=plant)).notes
        assert note.startswith("cameras b0, b1, b2, b3, b4, b5, b6, b7 and 2 more: in the plant file, and no frame")
        assert not strip_map(examined(events_at([], []), plant=plant, stretches={})).notes

    def test_events_without_a_place_are_told(self):
        layout = strip_map(examined(events_at([np.nan, 100.0], [0.0, 0.0])))
        assert any(note.startswith("1 events have no place") for note in layout.notes)

    def test_a_coil_without_frames_has_a_map(self):
        empty = examined(events_at([], []), stretches={})
        assert "No frame of this coil has come yet" in drawn(empty)
        assert Image.open(io.BytesIO(png(scene(strip_map(empty))))).width == WIDTH


class TestLooks:
    def test_classes_differ_in_shape_or_colour_and_neighbours_in_both(self):
        told = list(looks(f"class {number:02d}" for number in range(len(COLOURS) * len(SHAPES))).values())
        assert len({(look.colour, look.shape) for look in told}) == len(told)
        for one, other in pairwise(told):
            assert one.colour != other.colour
            assert one.shape != other.shape

    def test_up_to_nine_classes_are_told_apart_without_any_colour(self):
        told = looks([*(f"class {number}" for number in range(9)), None])
        assert len({look.shape for look in told.values()}) == 10


class TestSvg:
    def test_each_event_is_a_mark_with_its_words(self):
        text = drawn(examined(events_at([1000.0], [100.0], defect_class="dent", number=[77])))
        (mark,) = [use for use in elements(text, "use") if use.get("data-event")]
        assert mark.get("data-event") == "77"
        assert "dent, minor, 1.00 m, p 0.90" in "".join(mark.itertext())

    def test_the_roll_and_the_gap_stand_on_it(self):
        text = drawn(examined(stretches=GAPPED))
        said = "".join(ET.fromstring(text).itertext())
        assert "times: work roll <4>" in said
        assert "not inspected: 50.000 to 100.000 m, 50 frames missing" in said
        assert any("hatch" in (box.get("fill") or "") for box in elements(text, "rect"))

    def test_what_clients_named_is_text_and_nothing_else(self):
        events = busy(classes=(HOSTILE,))
        text = drawn(examined(events, coil_id=HOSTILE))
        assert "<script" not in text
        assert HOSTILE in "".join(ET.fromstring(text).itertext())

    @pytest.mark.parametrize("letter", ["\x00", "\x1b", "\ud800", "\u202e"])
    def test_no_letter_breaks_it(self, letter):
        ET.fromstring(drawn(examined(busy(classes=(f"a{letter}b",)))).encode())

    def test_it_loads_nothing(self):
        text = drawn(examined(stretches=GAPPED))
        assert not re.search(r'(href|src)="(?!#)|url\((?!#)|<style|@import', text)

    def test_it_stays_small_whatever_is_on_the_coil(self):
        broken = [
            Stretch(1, 3 * number, 3 * number, 100.0 * number, 100.0 * number + 50, START, END)
            for number in range(2000)
        ]
        long = [f"a defect class with a rather long name {number}" for number in range(40)]
        assert len(drawn(examined(busy(30_000, long), stretches={"c1": broken})).encode()) < 500_000

    @pytest.mark.parametrize(("first", "last"), [(0, 1), (0.0, 900.0), (-3.2, 11_000.0), (500.1, 500.2)])
    def test_the_axis_has_round_numbers(self, first, last):
        places = steps(first, last)
        assert 3 <= len(places) <= 10
        assert all(first - 1e-6 <= place <= last + 1e-6 for place in places)


class TestPng:
    def test_it_shows_what_the_svg_shows(self):
        drawing = scene(strip_map(examined(stretches=GAPPED)))
        image = Image.open(io.BytesIO(png(drawing)))
        assert image.size == (round(drawing.width), round(drawing.height))
        colours = {pixel for _, pixel in image.convert("RGB").getcolors(1 << 20)}
        for colour in COLOURS[:2]:
            wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
            assert min(np.abs(np.array(each) - wanted).max() for each in colours) < 24


class TestReport:
    def test_it_says_what_decides_and_on_what_it_stands(self):
        refused = [Refused("c1", "overloaded", START, 60, None)]
        page = report(examined(stretches=GAPPED, refused=refused), END)
        for words in (
            "HOLD", "Decided by:", "not inspected", "150.0 m", "50.000 m", "overloaded", "m1: 100 frames",
            "1,885", "work roll &lt;4&gt;", "Generated 2026-03-02 08:10:00 UTC", "By default, not by the plant file",
        ):  # fmt: skip
            assert words in page, words

    def test_it_stands_alone(self):
        page = report(examined(stretches=GAPPED), END)
        assert not re.search(r"<script|<link|<img|@import|https?://(?!www\.w3\.org)", page)
        assert "<svg" in page

    def test_what_clients_named_is_escaped(self):
        page = report(examined(busy(classes=(HOSTILE,)), coil_id=HOSTILE), END)
        assert "<script" not in page
        assert "&lt;script&gt;" in page

    def test_an_open_coil_without_anything_has_one(self):
        page = report(examined(events_at([], []), stretches={}, closed_at=None, closed_by=None), END)
        assert "still open" in page
        assert "No frame of this coil has come" in page


def test_the_reply_counts_what_the_record_has():
    told = detail(examined(busy(50), stretches=GAPPED))
    assert told.frames == told.verdicts["ok"] == 100
    assert sum(told.events_by_class.values()) == sum(told.events_by_side.values()) == told.defects
    assert sum(told.events_by_severity.values()) == told.defects
    assert set(told.events_by_class) == {"scratch", "dent", "unclassified"}
    probabilities = [event.defect_probability for event in told.worst_events]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(told.worst_events) == 10
