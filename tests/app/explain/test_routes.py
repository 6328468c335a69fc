"""What the network saw, over HTTP: of frames on record and of images that come with the request."""

import asyncio
import io
import shutil

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

from app.explain.schemas import Explanation
from app.store import schema
from app.store.numbers import number_of
from model.engine import open_engine

pytestmark = pytest.mark.anyio

UNKNOWN = "00000000000000ff"


@pytest.fixture(scope="module")
async def served(tiny_models, class_models, start, tmp_path_factory):
    """An application that keeps every frame, for the whole module: TensorFlow starts once."""
    models = shutil.copytree(tiny_models, tmp_path_factory.mktemp("explained") / "models")
    shutil.copytree(class_models / "tiny-classes", models / "tiny-classes")
    async with start(models=models, sample_ok=1.0) as one:
        await one.until_ready()
        yield one


@pytest.fixture(scope="module")
def frame(steel_frame):
    return steel_frame(150, 200, seed=3, defects=4)


@pytest.fixture
async def inspected(served, frame, as_png):
    """The reply to a frame that is on record now."""
    answer = await served.http.post("/v1/inspect", content=as_png(frame), headers={"content-type": "image/png"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["detail"]


async def test_a_frame_on_record_is_explained_as_it_was_judged(served, inspected, frame, tiny_models):
    answer = await served.http.get(f"/v1/inspections/{inspected['inspection_id']}/explain")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    explanation = Explanation.model_validate_json(answer.content)
    assert explanation.inspection_id == inspected["inspection_id"]
    assert explanation.model.version == inspected["model"]["version"]
    assert explanation.recorded.verdict == explanation.verdict == inspected["verdict"]
    assert explanation.recorded.engine == inspected["model"]["engine"]
    assert explanation.recorded.defect_probability == pytest.approx(inspected["defect_probability"])
    assert explanation.defect_probability == pytest.approx(inspected["defect_probability"], abs=1e-5)
    assert explanation.image.model_dump()["tiles"] == inspected["image"]["tiles"]
    tile = explanation.tile
    engine = open_engine("onnx", tiny_models / "tiny-64-first", 1)
    logit = float(engine.logits(frame[np.newaxis, tile.y : tile.y + 64, tile.x : tile.x + 64])[0, 0])
    weighed = next(stage.sum for stage in explanation.stages if stage.name == "logits")
    assert sum(term.product for term in weighed.largest) + weighed.others + weighed.bias == pytest.approx(
        logit, abs=1e-4
    )


async def test_each_map_is_found_large_at_its_address(served, inspected):
    stages = (await served.http.get(f"/v1/inspections/{inspected['inspection_id']}/explain")).json()["stages"]
    for stage in stages:
        assert (stage["map_url"] is not None) == (len(stage["shape"]) == 3 and stage["name"] != "pixels")
    url = next(stage["map_url"] for stage in stages if stage["name"] == "convolution_2")
    for of in ("maps", "before", "filters"):
        answer = await served.http.get(url.format(of=of, number=7))
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/png"
        image = Image.open(io.BytesIO(answer.content))
        image.load()
        assert max(image.size) > 400 if of != "filters" else max(image.size) > 200
    assert "8, counted from 0" in problem(await served.http.get(url.format(of="maps", number=8)), 404, "not_found")
    problem(await served.http.get(url.format(of="weights", number=0)), 422, "parameters_invalid")
    problem(await served.http.get(url.format(of="maps", number=-1)), 422, "parameters_invalid")
    other = f"/v1/inspections/{inspected['inspection_id']}/explain/none.png"
    assert "convolution_1" in problem(await served.http.get(other), 404, "not_found")


async def test_an_image_that_is_sent_is_explained_and_not_recorded(served, frame, as_png):
    before = (await served.http.get("/v1/record")).json()["database"]["inspections"]
    sent = {
        "image/png": {"content": as_png(frame)},
        "multipart/form-data": {"files": {"image": ("frame.png", as_png(frame))}},
        "application/octet-stream": {
            "content": frame.tobytes(),
            "params": {"width": 200, "height": 150, "pixel_format": "Mono8"},
        },
    }
    explained = []
    for content_type, content in sent.items():
        headers = {} if "files" in content else {"content-type": content_type}
        answer = await served.http.post("/v1/explain", headers=headers, **content)
        assert answer.status_code == 200, answer.text
        explained.append(answer.json())
    assert explained[0] == explained[1] == explained[2]
    assert explained[0]["inspection_id"] is None
    assert explained[0]["recorded"] is None
    assert all(stage["map_url"] is None for stage in explained[0]["stages"])
    assert (await served.http.get("/v1/record")).json()["database"]["inspections"] == before


async def test_another_version_may_be_asked(served, frame, as_png):
    png, headers = as_png(frame), {"content-type": "image/png"}
    own, other = [
        (await served.http.post("/v1/explain", content=png, headers=headers, params=params)).json()
        for params in ({}, {"version": "tiny-64-second"})
    ]
    assert [each["model"]["version"] for each in (own, other)] == ["tiny-64-first", "tiny-64-second"]
    assert own["defect_probability"] != other["defect_probability"]
    answer = await served.http.post("/v1/explain", content=png, headers=headers, params={"version": "none"})
    assert "tiny-64-second" in problem(answer, 404, "model_unknown")


async def test_what_is_no_image_is_refused_as_by_an_inspection(served):
    async def send(content, content_type="image/png", **params):
        return await served.http.post(
            "/v1/explain", content=content, headers={"content-type": content_type}, params=params
        )

    problem(await send(b"no image"), 415, "image_format_unsupported")
    problem(await send(b""), 400, "body_empty")
    problem(await send(b"x", "text/plain"), 415, "content_type_unsupported")
    problem(await send(b"x", "application/octet-stream"), 422, "parameters_invalid")
    problem(await send(b"x", camera_id="c1"), 422, "parameters_invalid")


async def test_inspections_that_are_not_there(served):
    problem(await served.http.get(f"/v1/inspections/{UNKNOWN}/explain"), 404, "not_found")
    problem(await served.http.get("/v1/inspections/none/explain"), 422, "parameters_invalid")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": None, "image_missing": "archive_full"}, "the archive was full"),
        ({"image": None}, "only a share drawn at random"),
    ],
)
async def test_a_frame_without_its_image_says_why(served, inspected, row, said):
    number = number_of(inspected["inspection_id"])
    table = schema.inspections
    await served.service.store.write(
        lambda connection: connection.execute(update(table).where(table.c.number == number).values(**row))
    )
    answer = await served.http.get(f"/v1/inspections/{inspected['inspection_id']}/explain")
    assert said in problem(answer, 404, "not_found")


async def test_a_version_that_is_gone_is_named(served, inspected):
    number = number_of(inspected["inspection_id"])
    models = schema.models

    def judged_by_another(connection):
        (gone,) = connection.execute(
            models.insert().values(
                version="long-gone", first_served_at=schema.EPOCH, review_threshold=0.3, defect_threshold=0.7
            )
        ).inserted_primary_key
        table = schema.inspections
        connection.execute(update(table).where(table.c.number == number).values(model=gone))

    await served.service.store.write(judged_by_another)
    answer = await served.http.get(f"/v1/inspections/{inspected['inspection_id']}/explain")
    assert "long-gone" in problem(answer, 404, "model_unknown")


async def test_several_at_once_wait_for_one_another_and_too_many_are_refused(served, frame, as_png):
    """More than there are places, at the same time: some are refused at once, all others are answered."""
    png, headers = as_png(frame), {"content-type": "image/png"}
    answers = await asyncio.gather(*(served.http.post("/v1/explain", content=png, headers=headers) for _ in range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) >= 4
    assert set(statuses) <= {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            problem(answer, 503, "overloaded")
            assert answer.headers["retry-after"] == "1"


async def test_a_version_of_several_classes(served, frame, as_png):
    sent = {"content": as_png(frame), "headers": {"content-type": "image/png"}, "params": {"version": "tiny-classes"}}
    explanation = (await served.http.post("/v1/explain", **sent)).json()
    assert explanation["defect_class"] in ("crack", "pit", "scratch")
