"""Review: one frame at a time, one key for each answer.

The browser shows the next frame at once and tells the desk what was said; the desk records it in that order, and a
decision that could not be recorded comes back with the reason.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from nicegui import background_tasks, ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from app.dashboard.client import Api, ApiError, Json
from app.dashboard.shell import api, empty, page, visitor

# As many frames are fetched ahead: at two a second, ten seconds of a slow network are not noticed.
AHEAD = 20
# The API's own largest page of the queue.
MOST = 200
# Details are asked for this many at a time, so that the line's own requests are not kept waiting.
AT_A_TIME = 4


class Desk(Element, component="../static/review.js"):
    """The queue and the keys. The browser emits `more`, `review` and `undo`."""

    def __init__(self, entries: list[Json], waiting: int, classes: list[str]) -> None:
        super().__init__()
        self.props["entries"] = entries
        self.props["waiting"] = waiting
        self.props["classes"] = classes
        # A person who has signed in decides under that name, and is not asked for one.
        self.props["person"] = visitor().name
        # In whose name the orders are carried out, in a task of their own.
        self._api = api()
        self._orders: asyncio.Queue[Json] = asyncio.Queue()
        self._gone = False
        self._fetching = False
        self.on("more", self._more)
        self.on("act", self._ordered)
        self.client.on_delete(self._leave)
        background_tasks.create(self._carry_out(), name="reviews of one browser")

    def _ordered(self, event: GenericEventArguments) -> None:
        self._orders.put_nowait(event.args)

    def _leave(self) -> None:
        self._gone = True
        self._orders.put_nowait({})

    async def _carry_out(self) -> None:
        """One order after another: an undo never overtakes what it undoes. Ends when the browser has gone.

        If this process is ended before, the browser still has what was not answered, and sends it to the next.
        """
        failed: set[str] = set()
        while True:
            order = await self._orders.get()
            if order:
                answer = await carried_out(self._api, order, failed)
                if not self._gone:
                    self.run_method("answered", answer)
            elif self._orders.empty():
                return

    async def _more(self, event: GenericEventArguments) -> None:
        """Frames that the browser does not have yet; event.args: `known`, the ids of those it has."""
        if self._fetching:
            return
        self._fetching = True
        try:
            entries, waiting = await upcoming(self._api, event.args["known"])
            if not self._gone:
                self.run_method("arrived", entries, waiting)
        except ApiError as error:
            if not self._gone:
                self.run_method("missed", error.detail)
        finally:
            self._fetching = False


async def carried_out(asked: Api, order: Json, failed: set[str]) -> Json:
    """Record or undo one review; order: what `review.js` sends. Whether it was done, and the reason if not.

    failed: keys of the orders before that were not done; this one is added if it is not.
    """
    answer = {"key": order["key"], "inspection_id": order["inspection_id"], "error": None}
    try:
        if order["act"] == "undo":
            # Of what was never recorded nothing is to be taken back: it would be the decision before it.
            if order.get("undoes") not in failed:
                await asked.undo_review(order["inspection_id"], order["reviewer"])
        else:
            await asked.review(
                order["inspection_id"],
                {name: order[name] for name in ("label", "defect_class", "box", "note", "reviewer")},
            )
    except ApiError as error:
        answer["error"] = error.detail
        failed.add(order["key"])
    return answer


async def upcoming(asked: Api, known: Iterable[str]) -> tuple[list[Json], int]:
    """The next frames with their events and thresholds, without those known already, and how many wait in all."""
    seen = set(known)
    answer = await asked.queue(min(MOST, AHEAD + len(seen)))
    rows = [row for row in answer["queue"] if row["inspection_id"] not in seen][:AHEAD]
    free = asyncio.Semaphore(AT_A_TIME)

    async def detailed(row: Json) -> Json:
        async with free:
            try:
                details: dict[str, Any] = await asked.inspection(row["inspection_id"])
            # One frame that cannot be read is still one to be judged, by its picture alone.
            except ApiError:
                details = {}
        return {"events": [], "thresholds": None, **row, **details}

    return list(await asyncio.gather(*(detailed(row) for row in rows))), answer["waiting"]


@page("/review", "Review", wide=True)
async def review() -> None:
    """The frames that teach the most, one after another."""
    ui.page_title("Review · Steelsight")
    if not visitor().may("review"):
        empty("Review is for reviewers", "Your role lets you look. An administrator can give you another.")
        return
    entries, waiting = await upcoming(api(), ())
    classes = await api().defect_classes()
    Desk(entries, waiting, [name for name in classes if name != "ok"])
