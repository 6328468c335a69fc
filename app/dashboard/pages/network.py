"""*Network*: from pixels to prediction, for any stored inspection or an image that is handed in."""

import time
from collections.abc import Awaitable
from functools import partial
from urllib.parse import urlencode

from nicegui import ui
from nicegui.element import Element
from nicegui.events import UploadEventArguments

from app.dashboard.assets import style
from app.dashboard.client import ApiError, Json
from app.dashboard.client_models import explain_image, or_refusal
from app.dashboard.pages.network_stages import Story
from app.dashboard.pages.signs import NONE
from app.dashboard.shell import Moment, api, empty, heading, page, panel, problem, table, text, verdict
from app.dashboard.words import probability

# Of these, the ones whose image is kept are offered.
LATEST, OFFERED = 60, 12
# As the server's own default; a larger body it would refuse in its own words.
MAX_UPLOAD_BYTES = 128 * 1024 * 1024


def network_url(inspection_id: str) -> str:
    """Where a stored inspection is explained: an address of its own, to hand on and to go back to.

    >>> network_url("32a18f3c9d4e2b07")
    '/network?inspection=32a18f3c9d4e2b07'
    """
    return f"/network?{urlencode({'inspection': inspection_id})}"


@page("/network", "Network")
async def network(inspection: str = "") -> None:
    """The page. inspection: the id of a stored one."""
    style("network.css")
    heading("Network: from pixels to prediction")
    seen = Seen()
    if inspection:
        ui.timer(0, partial(seen.stored, inspection), once=True)


class Seen:
    """What is asked for at the top, and what comes of it below."""

    def __init__(self) -> None:
        self._asked = 0
        with panel("What shall be explained"):
            with Element("div").classes("row-of choose"):
                self._id = ui.input("Inspection id").props("outlined dense clearable")
                self._id.on("keydown.enter", self._typed)
                text("Explain it", "button", "button").props("type=button").on("click", self._typed)
                text("or", "muted")
                upload = ui.upload(
                    auto_upload=True,
                    max_files=1,
                    max_file_size=MAX_UPLOAD_BYTES,
                    on_upload=self._uploaded,
                    on_rejected=lambda: self._say("The file has more than 128 MB, which the server would refuse."),
                ).classes("hidden-upload")
                upload.props('accept="image/*,.tif,.tiff,.bmp"')
                self._upload = upload
                choose = text("Upload an image …", "button", "button").props("type=button")
                choose.on("click", js_handler=f"() => getElement({upload.id}).$refs.qRef.pickFiles()")
                text("", "fill")
                self._more = text("Choose one of the latest", "button", "button").props(
                    "type=button aria-expanded=false"
                )
                self._more.on("click", self._list)
            self._said = Element("div").props("role=status")
            self._latest = Element("div")
        self._result = Element("div").classes("result")
        with self._result:
            empty(
                "Nothing is explained yet",
                "Choose an inspection above, or upload an image. It is shown as the network sees it: its pixels, every "
                "filter and feature map, the vector, the dense layer and the probability.",
            )

    async def stored(self, inspection_id: str) -> None:
        """Explain a stored inspection."""
        self._id.value = inspection_id
        await self._explain(f"inspection {inspection_id}", api().explain(inspection_id))

    def _typed(self) -> None:
        wanted = str(self._id.value or "").strip()
        if wanted:
            ui.navigate.to(network_url(wanted))
        else:
            self._say("Enter an inspection's id, or choose one of the latest.")

    async def _uploaded(self, event: UploadEventArguments) -> None:
        body = await event.file.read()
        self._upload.reset()
        content_type = event.file.content_type if event.file.content_type.startswith("image/") else "image/*"
        await self._explain(f"the image {event.file.name}", explain_image(api(), body, content_type))

    async def _explain(self, what: str, question: Awaitable[Json]) -> None:
        self._asked += 1
        mine = self._asked
        self._said.clear()
        self._latest.clear()
        self._result.clear()
        with self._result:
            Waiting(what)
        answer = await or_refusal(question)
        if mine != self._asked:
            # Another one has been asked for meanwhile.
            return
        self._result.clear()
        with self._result:
            if isinstance(answer, ApiError):
                problem(answer)
            else:
                text(f"This is {what}.", "muted", "p")
                Story(answer).build()

    async def _list(self) -> None:
        if self._latest.default_slot.children:
            self._latest.clear()
            self._expanded(False)
            return
        answer = await or_refusal(api().inspections(limit=LATEST))
        self._latest.clear()
        self._expanded(True)
        with self._latest:
            if isinstance(answer, ApiError):
                text(f"{answer.title}: {answer.detail}", "note", "p")
                return
            kept = [row for row in answer["inspections"] if row["has_image"]][:OFFERED]
            if kept:
                _offered(kept)
            elif answer["inspections"]:
                text(
                    "Of the latest inspections no image is kept: the archive keeps those called review or defect, and "
                    "a sample of the others.", "muted", "p",
                )  # fmt: skip
            else:
                text("No frame has been inspected yet.", "muted", "p")

    def _expanded(self, yes: bool) -> None:
        self._more.props["aria-expanded"] = "true" if yes else "false"
        self._more.update()

    def _say(self, sentence: str) -> None:
        self._said.clear()
        with self._said:
            text(sentence, "note", "p")


class Waiting(Element):
    """That something is being computed, and for how long it has been."""

    def __init__(self, what: str) -> None:
        super().__init__("div")
        self.classes("state waiting").props("role=status")
        begun = time.monotonic()
        with self:
            ui.spinner(size="34px")
            text(f"The network is looking at {what}", "state-title", "h2")
            text("The first time the server loads TensorFlow for it, which takes up to 15 seconds; later ones take a "
                 "second or two.", "state-advice", "p")  # fmt: skip
            self._since = ui.label("0 s").classes("muted")
            ui.timer(1.0, lambda: self._since.set_text(f"{time.monotonic() - begun:.0f} s"))


def _offered(rows: list[Json]) -> None:
    def link(row: Json) -> None:
        element = ui.link("Explain", network_url(row["inspection_id"])).classes("button")
        element.props["aria-label"] = f"Explain inspection {row['inspection_id']}"

    table(
        ("When", "Verdict", "Probability", "Camera", "Coil", ""),
        [
            (
                partial(Moment, row["received_at"], "ago"),
                partial(verdict, row["verdict"]),
                probability(row["defect_probability"]),
                row["camera_id"] or NONE,
                row["coil_id"] or NONE,
                partial(link, row),
            )
            for row in rows
        ],
        numbers=("Probability",),
    )
