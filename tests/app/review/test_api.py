"""Reviews over HTTP, on a running application: said, superseded, taken back, refused."""

import json

import pytest
from sqlalchemy import select

from app.store import schema

pytestmark = pytest.mark.anyio
REVIEW = {"label": "defect", "defect_class": "pit", "reviewer": "Ana"}


@pytest.fixture(scope="module")
async def served(start, class_models, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    async with start(home=home, models=class_models, sample_ok=1.0) as one:
        await one.until_ready()
        yield one


@pytest.fixture
async def inspected(served, post, png):
    """The id of a frame of 200 x 100 px."""
    reply = await post(png, coil_id="C1")
    assert reply.status_code == 200, reply.text
    return reply.json()["inspection_id"]


@pytest.fixture
def path(inspected):
    return f"/v1/inspections/{inspected}/review"


class TestReview:
    async def test_counts_from_the_reply_on(self, http, inspected, path):
        box = {"x": 150, "y": 60, "width": 50, "height": 40}
        reply = await http.post(path, json=REVIEW | {"box": box, "note": "two lines\nof text \u9506"})
        assert reply.status_code == 200, reply.text
        said = reply.json()
        assert said.pop("at").endswith("Z")
        assert said.pop("review") > 0
        assert said == {
            "inspection_id": inspected, "reviewer": "Ana", "label": "defect", "defect_class": "pit", "box": box,
            "note": "two lines\nof text \u9506", "undone_at": None, "undone_by": None,
        }  # fmt: skip
        row = (await http.get(f"/v1/inspections/{inspected}")).json()
        assert row["review"] == "defect"
        assert [each["box"] for each in row["reviews"]] == [box]

    async def test_a_later_one_supersedes_and_undo_goes_back(self, http, path):
        first = (await http.post(path, json=REVIEW)).json()
        second = (await http.post(path, json={"label": "ok", "reviewer": "Ben"})).json()
        assert second["review"] > first["review"]
        undone = await http.delete(path, params={"reviewer": "Ben"})
        assert undone.json() == first
        assert (await http.delete(path, params={"reviewer": "Ben"})).json() is None
        refused = await http.delete(path, params={"reviewer": "Ben"})
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")

    async def test_of_somebody_else_s_an_own_undo_takes_nothing(self, http, inspected, path):
        await http.post(path, json=REVIEW)
        await http.post(path, json={"label": "ok", "reviewer": "Ben"})
        refused = await http.delete(path, params={"reviewer": "Ana", "own": "true"})
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
        assert "is by Ben" in refused.json()["detail"]
        assert (await http.get(f"/v1/inspections/{inspected}")).json()["review"] == "ok"
        own = await http.delete(path, params={"reviewer": "Ben", "own": "true"})
        assert own.json()["reviewer"] == "Ana"

    async def test_a_double_click_is_two_reviews(self, http, inspected, path):
        for _ in range(2):
            assert (await http.post(path, json=REVIEW)).status_code == 200
        assert len((await http.get(f"/v1/inspections/{inspected}")).json()["reviews"]) == 2
        await http.delete(path, params={"reviewer": "Ana"})
        assert (await http.get(f"/v1/inspections/{inspected}")).json()["review"] == "defect"

    async def test_spaces_round_a_class_are_none_of_it(self, http, path):
        assert (await http.post(path, json=REVIEW | {"defect_class": " pit "})).json()["defect_class"] == "pit"


# Each breaks one rule; the text is the body as it is sent.
REFUSED = {
    "no label": {"reviewer": "Ana"},
    "no reviewer": {"label": "ok"},
    "another label": REVIEW | {"label": "maybe"},
    "ok with a class": REVIEW | {"label": "ok"},
    "ok with a box": {"label": "ok", "reviewer": "Ana", "box": {"x": 0, "y": 0, "width": 1, "height": 1}},
    "an unknown field": REVIEW | {"lable": "ok"},
    "a class too long": REVIEW | {"defect_class": "x" * 65},
    "a class of a control character": REVIEW | {"defect_class": "a\nb"},
    "an empty class": REVIEW | {"defect_class": "  "},
    "a class named like good surface": REVIEW | {"defect_class": "None"},
    "a note too long": REVIEW | {"note": "x" * 2001},
    "a note with NUL": REVIEW | {"note": "a\0b"},
    "a list": [],
    "an empty reviewer": REVIEW | {"reviewer": ""},
    "a reviewer that is a number": REVIEW | {"reviewer": 7},
    "a box outside": REVIEW | {"box": {"x": 190, "y": 0, "width": 11, "height": 1}},
    "a box below": REVIEW | {"box": {"x": 0, "y": 100, "width": 1, "height": 1}},
    "an empty box": REVIEW | {"box": {"x": 0, "y": 0, "width": 0, "height": 1}},
    "half a box": REVIEW | {"box": {"x": 0, "y": 0, "width": 1}},
    "a box of fractions": REVIEW | {"box": {"x": 0.5, "y": 0, "width": 1, "height": 1}},
    "a box of text": REVIEW | {"box": {"x": "0", "y": 0, "width": 1, "height": 1}},
    "a huge box": REVIEW | {"box": {"x": 10**30, "y": 0, "width": 1, "height": 1}},
}
BROKEN = {
    "no JSON": b"label=ok",
    "half": b'{"label": "ok", ',
    "NaN": b'{"label": "ok", "reviewer": "Ana", "box": NaN}',
    "a huge exponent": b'{"label": "defect", "reviewer": "a", "box": {"x": 1e999, "y": 0, "width": 1, "height": 1}}',
    "a number of a thousand digits": b'{"label": "ok", "reviewer": ' + b"9" * 1000 + b"}",
    "a lone surrogate": b'{"label": "ok", "reviewer": "\\ud800"}',
    "a lone surrogate in a note": b'{"label": "ok", "reviewer": "a", "note": "\\udfff"}',
    "a lone surrogate as a name": b'{"label": "ok", "reviewer": "a", "\\ud800": 1}',
    "not UTF-8": b'{"label": "ok", "reviewer": "\xff\xfe"}',
    "UTF-16": json.dumps(REVIEW).encode("utf-16"),
    "nested": b'{"label": ' * 2000 + b"1" + b"}" * 2000,
    "nested lists": b"[" * 20_000,
    "a repeated name in a million places": b'{"a":1,' * 5000,
}


class TestRefused:
    @pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
    async def test_what_breaks_a_rule(self, http, path, body):
        await self.refused(await http.post(path, json=body), 422)

    @pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
    async def test_what_is_no_json_of_ours(self, http, path, body):
        await self.refused(await http.post(path, content=body), 400)

    @pytest.mark.parametrize(("body", "status"), [(b"", 400), (b" " * 65_537, 413)], ids=["nothing", "too much"])
    async def test_bodies_of_the_wrong_length(self, http, path, body, status):
        await self.refused(await http.post(path, content=body), status)

    @staticmethod
    async def refused(reply, status):
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/problem+json"
        assert len(reply.json()["detail"]) < 3000

    @pytest.mark.parametrize("wrong", ["0" * 16, "7" + "f" * 15, "f" * 16, "nobody", "%00", "..%2f..", "0x" + "0" * 14])
    async def test_inspections_that_are_not_there(self, http, wrong):
        for reply in (
            await http.post(f"/v1/inspections/{wrong}/review", json=REVIEW),
            await http.delete(f"/v1/inspections/{wrong}/review", params={"reviewer": "Ana"}),
        ):
            assert (reply.status_code, reply.json()["code"]) == (404, "not_found")

    async def test_a_refused_review_leaves_nothing(self, served, http, inspected, path):
        for body in (REFUSED["a box outside"], REFUSED["a note with NUL"]):
            await http.post(path, json=body)
        with served.service.store.reading() as connection:
            rows = connection.execute(select(schema.reviews.c.inspection)).scalars().all()
        assert int(inspected, 16) not in rows

    @pytest.mark.parametrize("query", [{}, {"reviewer": ""}, {"reviewer": "a\nb"}, {"reviewer": "a", "by": "b"}])
    async def test_undo_by_nobody(self, http, path, query):
        assert (await http.delete(path, params=query)).status_code == 422

    @pytest.mark.parametrize("limit", ["0", "201", "1.0", "x", "9" * 30])
    async def test_limits_of_the_queue(self, http, limit):
        assert (await http.get("/v1/reviews/queue", params={"limit": limit})).status_code == 422


class TestQueueAndRates:
    async def test_a_frame_leaves_the_queue_with_its_review(self, http, inspected, path):
        before = (await http.get("/v1/reviews/queue", params={"limit": 200})).json()
        (row,) = [row for row in before["queue"] if row["inspection_id"] == inspected]
        assert row["has_image"]
        assert row["why"] == ("sample" if row["sampled"] else "near_threshold")
        assert (await http.get(f"/v1/inspections/{inspected}/image")).status_code == 200
        await http.post(path, json=REVIEW)
        after = (await http.get("/v1/reviews/queue", params={"limit": 200})).json()
        assert inspected not in [row["inspection_id"] for row in after["queue"]]
        assert after["waiting"] == before["waiting"] - 1
        assert len((await http.get("/v1/reviews/queue", params={"limit": 1})).json()["queue"]) <= 1

    async def test_rates_are_told_for_each_version(self, http, inspected):
        (rates,) = (await http.get("/v1/reviews/rates")).json()["versions"]
        assert rates["version"] == "tiny-classes"
        assert rates["frames"] == rates["ok"] + rates["called"] > 0
        assert rates["sentence"]

    async def test_classes_of_the_model_come_first_and_those_of_persons_after(self, http, path):
        await http.post(path, json=REVIEW | {"defect_class": "a dent"})
        await http.post(path, json=REVIEW | {"defect_class": "pit"})
        assert (await http.get("/v1/reviews/classes")).json() == {
            "defect_classes": ["crack", "pit", "scratch", "a dent"]
        }


class TestWithoutARecord:
    async def test_everything_says_so(self, start, tiny_models, tmp_path):
        async with start(home=tmp_path, models=tiny_models, record="off") as one:
            for reply in (
                await one.http.get("/v1/reviews/queue"),
                await one.http.get("/v1/reviews/rates"),
                await one.http.post(f"/v1/inspections/{'0' * 16}/review", json=REVIEW),
            ):
                assert (reply.status_code, reply.json()["code"]) == (503, "record_unavailable")
