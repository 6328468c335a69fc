"""An explanation on the page: what was decided, the way in one line, and every stage with its sentence and pictures."""

from collections.abc import Callable
from functools import partial

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from app.dashboard.client import Json
from app.dashboard.pages.network_reach import reaches, told
from app.dashboard.pages.network_sums import PixelGrid, Weighing, legend, number, picture, sum_table, to_verdict
from app.dashboard.pages.signs import TIMES
from app.dashboard.shell import facts, panel, text, verdict
from app.dashboard.words import percent, probability

TITLES = {
    "pixels": "The pixels",
    "levelling": "Levelling",
    "rescaling": "Rescaling",
    "convolution": "Convolution",
    "normalisation": "Normalisation",
    "activation": "ReLU",
    "pooling": "Pooling",
    "flatten": "Flattening",
    "dense": "Dense layer",
    "dropout": "Dropout",
    "probability": "The probability",
}
# What they show is what stood before them in another unit: there for who wants it, and not in the way.
FOLDED = frozenset({"levelling", "rescaling", "normalisation"})
METHODS = {"grad_cam": "Grad-CAM", "parts": "Exact parts"}


class Maps(Element, component="network_maps.js"):
    """Maps side by side, each beside its filter; chosen: called with the number of a map."""

    def __init__(self, title: str, maps: Json, filters: Json | None, chosen: Callable[[int], None]) -> None:
        super().__init__()
        self.props["title"] = title
        self.props["maps"] = maps
        self.props["filters"] = filters

        def choose(event: GenericEventArguments) -> None:
            if isinstance(event.args, int) and event.args in maps["numbers"]:
                chosen(event.args)

        self.on("choose", choose)


class CloseUp(Element, component="network_close.js"):
    """One map large, its filter, and the pixels that a cell of it sees."""

    def __init__(self, look: Json) -> None:
        super().__init__()
        self.props["look"] = look


class Story:
    """One explanation, from the pixels to the verdict."""

    def __init__(self, explanation: Json) -> None:
        self._told = explanation
        self._stages: list[Json] = explanation["stages"]
        self._reaches = reaches(self._stages)
        self._pixels = self._stages[0]

    def build(self) -> None:
        """All of it, here."""
        self._decided()
        self._way()
        self._where()
        for place, stage in enumerate(self._stages):
            self._stage(place, stage)

    def _decided(self) -> None:
        explained, tile, image = self._told, self._told["tile"], self._told["image"]
        with panel("What was decided"):
            with Element("div").classes("row-of"):
                verdict(explained["verdict"])
                text(f"defect probability {probability(explained['defect_probability'])}", "strong")
                if explained["defect_class"]:
                    text(f"most like {explained['defect_class']}")
            pairs = [("Version", explained["model"]["version"])]
            if explained["inspection_id"]:
                pairs.append(("Inspection", explained["inspection_id"]))
            pairs.append(("Image", f"{image['width']:,} {TIMES} {image['height']:,} pixels, {image['tiles']:,} tiles"))
            side = f"{tile['size']} {TIMES} {tile['size']} pixels"
            place = f"the worst one, {side} from column {tile['x']:,}, row {tile['y']:,} on"
            pairs.append(("Tile", f"the whole image, resized to {side}" if tile["fit"] == "resize" else place))
            facts(pairs)
            recorded = explained["recorded"]
            if recorded and recorded["verdict"] != explained["verdict"]:
                text(
                    f"▲ When the frame came, engine {recorded['engine']} said {recorded['verdict']} with "
                    f"{probability(recorded['defect_probability'])}; here the network is computed anew in full "
                    "precision, and the probability lies on the other side of a threshold.", "note", "p",
                )  # fmt: skip

    def _way(self) -> None:
        with panel("From pixels to prediction"), Element("ol").classes("way"):
            for place, stage in enumerate(self._stages):
                with Element("li"):
                    link = ui.link(target=f"#stage-{place}").classes(f"way-stop way-{stage['kind']}")
                    with link:
                        text(TITLES[stage["kind"]], "way-name")
                        text(self._size(stage), "way-size")

    def _size(self, stage: Json) -> str:
        if stage["probability"]:
            return probability(stage["probability"]["calibrated"])
        return f" {TIMES} ".join(f"{side:,}" for side in stage["shape"])

    def _where(self) -> None:
        with panel("Where it looked"), Element("div").classes("heats"):
            # Exact parts first: they tell the most, also where Grad-CAM's means cancel out to nothing.
            for heat in sorted(
                self._told["heat"], key=lambda heat: (heat["over"] != "tile", heat["method"] != "parts")
            ):
                shown = heat["picture"]
                with Element("figure").classes(f"heat-{heat['over']}"):
                    over = "the tile" if heat["over"] == "tile" else "the whole frame"
                    name = f"{METHODS.get(heat['method'], heat['method'])} over {over}"
                    text(name, "subtitle", "h3")
                    with Element("div").classes("tile"):
                        picture(shown["source"], name, "heat")
                        if heat["over"] == "frame" and self._told["tile"]["fit"] == "tile":
                            self._mark_tile()
                    legend(self._told["colours"][shown["colours"]], shown["low"], shown["high"])
                    text(heat["sentence"], "muted", "figcaption")

    def _mark_tile(self) -> None:
        tile, image = self._told["tile"], self._told["image"]
        _mark(tile["x"], tile["y"], tile["width"], tile["height"], image["width"], image["height"])

    def _stage(self, place: int, stage: Json) -> None:
        kind = stage["kind"]
        with panel(classes=f"stage stage-{kind}") as section:
            section.props["id"] = f"stage-{place}"
            with Element("div").classes("stage-head"):
                text(str(place), "stage-number").props("aria-hidden=true")
                text(TITLES[kind], "panel-title", "h2")
                if kind != "pixels":
                    text(stage["name"], "muted", "code")
                text("", "fill")
                text(self._passage(stage), "muted")
            text(stage["sentence"], "sentence", "p")
            if kind == "pixels":
                self._grid(stage["pixels"])
            if stage["picture"] is not None and kind != "pixels":
                self._maps(place, stage)
            if stage["vector"] is not None:
                self._vector(stage["vector"])
            if stage["sum"] is not None:
                text("One of its sums, written out" if stage["sum"]["unit"] is not None else "The sum, written out",
                     "subtitle", "h3")  # fmt: skip
                sum_table(stage["sum"], self._weighing(place, stage))
            if stage["probability"] is not None:
                to_verdict(stage["probability"])

    def _passage(self, stage: Json) -> str:
        into, out = (f" {TIMES} ".join(f"{side:,}" for side in stage[key]) for key in ("input_shape", "shape"))
        learned = f", {stage['weights']:,} learned numbers" if stage["weights"] else ""
        return (out if stage["kind"] == "pixels" else f"{into} → {out}") + learned

    def _weighing(self, place: int, stage: Json) -> Weighing:
        """Of a dense layer: the last speaks for or against a defect, one before it lifts and lowers its unit."""
        count, last = stage["input_shape"][0], stage["sum"]["unit"] is None
        of_units = any(before["kind"] == "dense" for before in self._stages[:place])
        laid = next((before["vector"] for before in self._stages if before["vector"]), None)
        placed = laid is not None and laid["height"] * laid["width"] > 1
        ways = ("for a defect", "against") if last else ("lifts the unit", "lowers it")
        return Weighing(count, "unit" if of_units else "number", placed, *ways)

    def _grid(self, pixels: Json) -> None:
        patch, sheet = pixels["patch"], self._pixels["picture"]
        size = self._pixels["shape"][0]
        with Element("div").classes("pixels"):
            with Element("figure"), Element("div").classes("tile"):
                picture(sheet["source"], "The tile, with the patch marked", "tile-picture")
                _mark(patch["x"], patch["y"], patch["width"], patch["height"], size, size)
            with Element("figure"):
                PixelGrid(patch["values"])
                text(
                    f"The marked patch, which speaks most for a defect: rows {patch['y']} to "
                    f"{patch['y'] + patch['height'] - 1}, columns {patch['x']} to {patch['x'] + patch['width'] - 1}, "
                    "every pixel with its grey value.", "muted", "figcaption",
                )  # fmt: skip

    def _maps(self, place: int, stage: Json) -> None:
        maps, filters = stage["picture"], stage["filters"]
        if stage["kind"] in FOLDED:
            with Element("details"):
                text("Its maps", tag="summary")
                self._sheet(place, stage)
        else:
            self._sheet(place, stage)
        if filters is not None:
            with Element("div").classes("row-of legends"):
                text("Filters, the small ones:", "muted")
                legend(self._told["colours"][filters["colours"]], filters["low"], filters["high"])
        if maps["maps"] > len(maps["numbers"]):
            text(f"The {len(maps['numbers'])} strongest of {maps['maps']} maps.", "muted", "p")

    def _sheet(self, place: int, stage: Json) -> None:
        maps = stage["picture"]
        Maps(f"{stage['name']}, map", maps, stage["filters"], partial(self._enlarge, place))
        with Element("div").classes("row-of legends"):
            text("Maps:", "muted")
            legend(self._told["colours"][maps["colours"]], maps["low"], maps["high"])
            if stage["kind"] in ("convolution", "activation", "pooling"):
                text(f"{percent(stage['zeros'], 0)} of the values are 0.", "muted")
            text("Press a map to enlarge it.", "muted")

    def _enlarge(self, place: int, number_of_map: int) -> None:
        stage, reach = self._stages[place], self._reaches[place]
        assert reach is not None
        filters = stage["filters"]
        look = {
            "layer": stage["name"],
            "number": number_of_map,
            "shape": stage["shape"][:2],
            "inputs": stage["input_shape"][-1],
            "maps": stage["picture"],
            "filters": filters if filters is not None and number_of_map in filters["numbers"] else None,
            "tile": {"size": self._pixels["shape"][0], "sheet": self._pixels["picture"]},
            "values": self._pixels["pixels"]["values"],
            "reach": told(reach),
        }
        title = f"{TITLES[stage['kind']]} {stage['name']}, map {number_of_map}"
        with ui.dialog() as dialog, Element("div").classes("panel enlarged"):
            with Element("div").classes("stage-head"):
                text(title, "panel-title", "h2")
                text("", "fill")
                close = text("Close", "button", "button").props("type=button autofocus")
                close.on("click", dialog.close)
            CloseUp(look)
            legend(self._told["colours"][look["maps"]["colours"]], look["maps"]["low"], look["maps"]["high"])
        dialog.on("hide", dialog.delete)
        dialog.open()

    def _vector(self, vector: Json) -> None:
        strip, weighed = vector["strip"], vector["to_logit"]
        places = vector["height"] * vector["width"]
        count, placed = places * vector["maps"], places > 1
        with Element("figure"):
            picture(strip["source"], "All numbers of the vector, in order", "strip")
            legend(self._told["colours"][strip["colours"]], strip["low"], strip["high"])
            text(
                f"All {count:,} numbers in order, one for each map." if not placed else
                f"All {count:,} numbers in order, read as lines of text: {vector['height']} lines, one for each row of "
                f"cells. What map m has in row r and column c stands at (r {TIMES} {vector['width']} + c) {TIMES} "
                f"{vector['maps']} + m.",
                "muted", "figcaption",
            )  # fmt: skip
        text("What its numbers add to the logit", "subtitle", "h3")
        text(
            "With the units that speak settled, all layers behind are one weighted sum, and nothing is left over: "
            f"it comes to {number(weighed['total'])}.", "muted", "p",
        )  # fmt: skip
        sum_table(weighed, Weighing(count, placed=placed))


def _mark(x: int, y: int, width: int, height: int, of_width: int, of_height: int) -> None:
    """A frame around a part of the picture that it lies in, all in pixels of what the picture shows."""
    across, down = 100 / of_width, 100 / of_height
    mark = Element("span").classes("mark")
    mark.style(
        f"left: {across * x:.3f}%; top: {down * y:.3f}%; width: {across * width:.3f}%; height: {down * height:.3f}%"
    )
