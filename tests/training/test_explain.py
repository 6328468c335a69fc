"""`python -m training explain`: a folder a person can read, and a clear refusal of what it cannot explain."""

import base64
import html
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.artifact import Fitting, Interval
from model.calibration import PlattCalibrator
from model.errors import SteelsightError
from model.explain import Explainer
from model.feature_maps import Stage, Window
from model.network import Block, NetworkConfig
from model.registry import Registry
from model.verdict import Thresholds
from training.command import main
from training.errors import DataFault, UsageFault
from training.explain import explain_image
from training.explain.page import MAPS_SHOWN, render
from training.explain.story import follow_convolution, follow_pooling, hottest_patch, telling_numbers
from training.wording import probability

VERSION = "tiny-64-first"


@pytest.fixture(scope="module")
def image(tmp_path_factory, steel_frame) -> Path:
    path = tmp_path_factory.mktemp("image") / "<b>coil & 7.png"
    Image.fromarray(steel_frame(64, 64, seed=1, defects=3)).save(path)
    return path


@pytest.fixture(scope="module")
def explained(tmp_path_factory, tiny_models, image) -> Path:
    """A folder that was written once. Never change it."""
    out = tmp_path_factory.mktemp("explained") / "out"
    explain_image(VERSION, image, out, tiny_models)
    return out


@pytest.fixture(scope="module")
def explainer(tiny_models) -> Explainer:
    return Explainer.load(Registry(tiny_models), VERSION)


class Links(HTMLParser):
    """Every address a page would load, and every element that was opened and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in {"src", "href", "data", "action"}]
        if tag not in {"meta", "img", "rect", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in {"rect", "path"}:
            assert self.open.pop() == tag


def read(page: Path) -> tuple[str, Links]:
    text = page.read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    return text, links


class TestFolder:
    def test_holds_the_page_and_every_picture_of_it(self, explained):
        text, links = read(explained / "explain.html")
        assert links.open == []
        assert len(links.addresses) > 8
        prefix = "data:image/png;base64,"
        assert all(address.startswith(prefix) for address in links.addresses)
        shown = {base64.b64decode(address.removeprefix(prefix)) for address in links.addresses}
        assert {path.read_bytes() for path in explained.glob("*.png")} == shown
        assert "url(" not in text
        assert "<script" not in text

    def test_names_follow_the_order_of_the_network(self, explained):
        names = [path.name for path in sorted(explained.glob("*.png"))]
        assert [name[:2] for name in names] == [f"{number:02d}" for number in range(1, len(names) + 1)]
        order = ["parts", "grad-cam", "occlusion", "pixels", "convolution_1-filters", "convolution_1-before-relu"]
        order += ["convolution_1", "pool_1", "convolution_2-before-relu", "convolution_2", "pool_2", "flatten", "dense"]
        assert [name[3:-4] for name in names] == ["tile", *order]

    def test_pictures_are_pictures(self, explained):
        for path in explained.glob("*.png"):
            pixels = np.asarray(Image.open(path).convert("RGBA"))
            assert min(pixels.shape[:2]) >= 100
            assert pixels.std() > 5, f"{path.name} shows nothing"

    def test_teaches_and_shows_the_worked_examples(self, explained):
        text = html.unescape((explained / "explain.html").read_text(encoding="utf-8"))
        for sentence in (
            "Convolution keeps the structure",
            "Pooling keeps the strongest signal",
            "Flattening comes last",
        ):
            assert sentence in text
        cells = re.findall(r"<td[^>]*>([^<]*)</td>", text)
        for example in (["34", "36", "39", "40", "45", "48", "42", "50", "52"], ["8", "2", "9", "8"]):
            assert any(cells[start : start + len(example)] == example for start in range(len(cells)))
        assert "\N{MINUS SIGN}23" in cells

    def test_the_image_s_name_is_text(self, explained):
        text, _ = read(explained / "explain.html")
        assert "<b>coil" not in text
        assert "&lt;b&gt;coil &amp; 7.png" in text

    def test_the_page_states_the_inspector_s_probability(self, explained, explainer, image):
        inspected = explainer.inspector.inspect(np.asarray(Image.open(image))).defect_probability
        text, _ = read(explained / "explain.html")
        assert f"defect probability <strong>{probability(inspected)}</strong>" in text

    def test_what_is_next_to_0_or_1_is_not_told_as_that(self, explainer, image, tiny_models):
        figures = {
            "metrics": {"escape_rate": Interval(value=0.0004)},
            "thresholds": Thresholds(review=0.00002, defect=0.99998),
        }
        manifest = Registry(tiny_models).manifest(VERSION).model_copy(update=figures)
        explanation = explainer.explain(np.asarray(Image.open(image)))
        sure = replace(explanation, inspection=replace(explanation.inspection, defect_probability=0.99997))
        page = render(sure, manifest, "image")["explain.html"].decode()
        assert "defect probability <strong>0.99997</strong>" in page
        assert "review from 2e-05<" in page
        assert "defect from 0.99998<" in page
        assert "Review begins at 2e-05, defect at 0.99998:" in page
        assert "escape rate 0.0004." in page

    @pytest.mark.parametrize(
        ("training", "told", "not_told"),
        [
            ({}, "The model's test figures: AUROC 0.900.", "recipe"),
            ({"figures": "Of K networks."}, "Of K networks. Of the recipe: AUROC 0.900.", "test figures"),
        ],
    )
    def test_says_whose_figures_it_shows(self, explainer, image, tiny_models, training, told, not_told):
        figures = {
            "metrics": {"auroc": Interval(value=0.9)},
            "calibrator": PlattCalibrator(slope=1, intercept=0),
            "training": training,
        }
        manifest = Registry(tiny_models).manifest(VERSION).model_copy(update=figures)
        explanation = explainer.explain(np.asarray(Image.open(image)))
        page = html.unescape(render(explanation, manifest, "image")["explain.html"].decode())
        assert told in page
        assert not_told not in page
        assert ("fitted on surfaces of their own" in page) == (not training)


@pytest.fixture
def rendered(explainer, seeded_network, steel_frame):
    """`rendered(config, training)`: what `render` makes of a network of random weights, and of how it was trained."""

    def render_one(config, training=None):
        from model.engine import network_input
        from model.network import logits_model

        network = seeded_network(config, 1)

        class Engine:
            name = "keras"

            def logits(self, tiles):
                return np.asarray(logits_model(network)(network_input(tiles, config.channels)))

        inspector, fitting = explainer.inspector, Fitting(tile=32, stride=32)
        classes = ("ok", "pit", "crack")[: max(2, config.outputs)]
        opened = type(inspector)("x", Engine(), inspector.calibrator, inspector.thresholds, fitting, classes)
        told = {"classes": classes, "network": config, "fitting": fitting, "training": training or {}}
        manifest = explainer.manifest.model_copy(update=told)
        explanation = Explainer(manifest, opened, network).explain(steel_frame(32, 20, seed=2, defects=1))
        return render(explanation, manifest, "frame.png")

    return render_one


class TestNetworksOfOtherShapes:
    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"global_pooling": True, "channels": 3}, "here each map becomes one number"),
            (
                {"outputs": 3, "blocks": (Block(filters=4, pooling="average"),), "dropout": 0.5},
                "<td>crack over ok</td>",
            ),
            ({"blocks": (Block(filters=4, pool_before=2, pool_after=1),)}, "Convolution keeps the structure"),
            ({"blocks": (Block(filters=4, normalize=True),)}, "multiplied with its weights and added up."),
            (
                {"blocks": (Block(filters=4), Block(filters=4, pool_after=3, pooling="max_and_average"))},
                "the strongest signal and the mean go on",
            ),
            ({"blocks": (Block(filters=MAPS_SHOWN + 6, kernel=9, pool_after=24),)}, f"The {MAPS_SHOWN} strongest of"),
        ],
    )
    def test_have_a_page(self, rendered, fields, sentence):
        files = rendered(NetworkConfig(**{"input_size": 32, "blocks": (Block(filters=4),), "dense_units": 8} | fields))
        assert sentence in files["explain.html"].decode()
        assert "nan" not in re.sub('base64,[^"]*', "", files["explain.html"].decode())
        assert list(files)[-1] == "explain.html"
        for name in files:
            assert name == "explain.html" or Image.open(io.BytesIO(files[name])).size > (100, 100)

    @pytest.mark.parametrize(
        ("experiment", "taught"),
        [({"mask_weight": 0.5}, ["normalization_2"]), ({"mask_weight": 0.0}, []), ({}, [])],
    )
    def test_a_map_that_masks_have_taught_is_named(self, rendered, experiment, taught):
        blocks = (Block(filters=4, normalize=True), Block(filters=4, normalize=True, pool_after=13))
        config = NetworkConfig(input_size=32, blocks=blocks, dense_units=8)
        page = rendered(config, {"experiment": experiment})["explain.html"].decode()
        sections = [part for part in page.split("<section>") if "had a second teacher" in part]
        assert [name for part in sections for name in re.findall(r"normalization_\d", part)[:1]] == taught


class TestStory:
    def test_the_followed_convolution_adds_up_to_the_network_s_value(self, explainer, steel_frame):
        for seed in range(4):
            tile = explainer.explain_tile(steel_frame(64, 64, seed=seed, defects=2))
            patch = hottest_patch(tile)
            product = follow_convolution(tile.stages[0], tile.stages[1], tile, patch)
            assert product.products.sum() + product.bias == pytest.approx(product.total, abs=1e-5)
            assert product.total == tile.stages[1].before[product.y, product.x, product.number]
            grey = tile.tile[product.y : product.y + 3, product.x : product.x + 3]
            np.testing.assert_allclose(product.pixels * 255, grey, atol=1e-4)
            y, x, height, width = patch
            assert y <= product.y <= y + height - 3
            assert x <= product.x <= x + width - 3

            pooling = follow_pooling(tile.stages[1], tile.stages[2], product)
            assert pooling.values.max() == pooling.kept
            assert max(product.total, 0) in pooling.values

    def test_telling_numbers_come_from_where_they_say(self, explainer, steel_frame):
        tile = explainer.explain_tile(steel_frame(64, 64, seed=1, defects=2))
        maps = tile.stages[4].output
        shown = telling_numbers(tile.stage("flatten"), tile.map_parts)
        assert [one.position for one in shown[:4]] == [0, 1, 2, maps.shape[2]]
        assert all(one.value == maps[one.y, one.x, one.number] for one in shown)
        assert shown[-1].part == tile.map_parts.values.max()

    def test_nothing_is_followed_where_it_cannot_be_shown(self, explainer, steel_frame):
        tile = explainer.explain_tile(steel_frame(64, 64, seed=1))
        first, second = tile.stages[:2]
        patch = hottest_patch(tile)
        differing = Stage("colour", "Conv2D", np.dstack([first.output, first.output + 1]))
        smaller = Stage("smaller", "MaxPooling2D", first.output[::2, ::2])
        huge = Stage("huge", "Conv2D", second.output, weights=second.weights, window=Window((40, 40), (1, 1), (0, 0)))
        assert follow_convolution(differing, second, tile, patch) is None
        assert follow_convolution(smaller, second, tile, patch) is None
        assert follow_convolution(first, huge, tile, patch) is None
        assert follow_pooling(second, tile.stages[2], None) is None


class TestRefusals:
    @pytest.fixture
    def refused(self, capfd, tiny_models):
        def run(image, out, version=VERSION):
            arguments = ["explain", version, image, "--out", out, "--models", tiny_models]
            code = main([str(argument) for argument in arguments])
            captured = capfd.readouterr()
            assert captured.out == ""
            return code, captured.err.splitlines()[-1]

        return run

    def test_an_unknown_version(self, refused, image, tmp_path):
        code, line = refused(image, tmp_path / "out", "none")
        assert code == 1
        assert VERSION in line
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\nbroken"])
    def test_a_broken_image(self, refused, tmp_path, content):
        broken = tmp_path / "broken.png"
        broken.write_bytes(content)
        code, line = refused(broken, tmp_path / "out")
        assert code == 1
        assert str(broken) in line
        assert not (tmp_path / "out").exists()

    def test_an_image_that_is_not_there_or_a_folder(self, refused, tmp_path):
        for path in (tmp_path / "none.png", tmp_path):
            code, line = refused(path, tmp_path / "out")
            assert (code, str(path) in line) == (1, True)

    def test_a_folder_with_anything_else_in_it_is_left_alone(self, refused, image, tmp_path):
        (tmp_path / "01-holiday.png").write_bytes(b"dear")
        code, line = refused(image, tmp_path)
        assert (code, "new or empty folder" in line) == (2, True)
        (tmp_path / "explain.html").write_text("")
        (tmp_path / "notes.txt").write_text("dear")
        assert refused(image, tmp_path)[0] == 2
        assert (tmp_path / "01-holiday.png").read_bytes() == b"dear"

    def test_out_is_a_file(self, refused, image, tmp_path):
        (tmp_path / "out").write_text("dear")
        assert refused(image, tmp_path / "out")[0] == 2
        assert refused(image, tmp_path / "out" / "below")[0] == 2
        assert (tmp_path / "out").read_text() == "dear"

    def test_without_an_active_version(self, image, tmp_path):
        with pytest.raises(SteelsightError, match="no model version is active"):
            explain_image("active", image, tmp_path / "out", tmp_path / "models")

    def test_kinds_of_refusal(self, image, tmp_path, tiny_models):
        with pytest.raises(DataFault):
            explain_image(VERSION, tmp_path / "none.png", tmp_path / "out", tiny_models)
        (tmp_path / "mine").write_text("")
        with pytest.raises(UsageFault):
            explain_image(VERSION, image, tmp_path, tiny_models)


def test_the_command_writes_over_an_earlier_page_and_prints_where_it_is(
    capfd, explained, tiny_models, steel_frame, tmp_path
):
    strip = tmp_path / "strip.png"
    Image.fromarray(steel_frame(70, 100, seed=2, defects=3)).save(strip)
    out = Path(shutil.copytree(explained, tmp_path / "out"))
    (out / "99-left.png").write_bytes(b"of an earlier network")
    assert main(["explain", "active", str(strip), "--out", str(out), "--models", str(tiny_models), "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["page"] == str(out / "explain.html")
    assert said["tile"].keys() == {"x", "y", "width", "height"}
    assert f"<strong>{said['defect_probability']:.4f}</strong>" in (out / "explain.html").read_text(encoding="utf-8")
    assert not (out / "99-left.png").exists()
    assert {"frame", "frame-parts", "frame-grad-cam", "frame-occlusion"} <= {path.stem[3:] for path in out.iterdir()}
