"""Review: what the keys do to the record, and how soon the next frame stands there."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from app.dashboard.gate import BY_TIMER, by_hand

from .conftest import REVIEWER

FRAMES = 8
CLASSES = ["crack", "pit", "scratch"]


@pytest.fixture(scope="module")
def site(start_site):
    """A site of its own: what is reviewed here would change the coils of all tests."""
    return start_site()


@pytest.fixture
def reviewing(site, surface, open_page):
    """Exactly `FRAMES` frames wait for review; the page on them."""
    with site.http as http:
        for inspection_id in queue(site):
            said = {"label": "ok", "reviewer": "the test before"}
            http.post(f"/v1/inspections/{inspection_id}/review", json=said).raise_for_status()
    for number in range(FRAMES):
        site.post(surface(number), camera_id="c1", coil_id="C-9")
    assert site.get("/v1/reviews/queue")["waiting"] == FRAMES
    return site, open_page(site, "/review", mishaps=("502",))


def queue(own) -> list[str]:
    return [row["inspection_id"] for row in own.get("/v1/reviews/queue", limit=200)["queue"]]


def recorded(page: Page) -> None:
    """Wait until nothing is being recorded."""
    expect(page.locator(".review-head [role=status]")).to_have_count(0)


def shown(page: Page) -> str:
    """The id of the frame on the page."""
    address = page.locator(".review-frame img").get_attribute("src")
    assert address is not None
    return address.split("/")[-2]


def test_nothing_waits(bare, open_page):
    page = open_page(bare, "/review")
    expect(page.locator(".state")).to_contain_text("Nothing waits for review")


def test_a_page_at_rest_is_no_sign_of_a_person(bare, open_page):
    page = open_page(bare, "/review")
    said: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: said.append(str(frame))))
    page.reload()
    expect(page.locator(".state")).to_contain_text("Nothing waits for review")
    page.wait_for_timeout(4000)
    # It has looked again meanwhile.
    assert [each for each in said if BY_TIMER in each]
    assert not [each for each in said if by_hand(each)]


def test_a_name_is_asked_for_first(bare, open_page):
    page = open_page(bare, "/review", reviewer=None)
    expect(page.get_by_role("button", name="OK")).to_have_count(0)
    page.get_by_label("Your name").fill("E. Roth")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator(".review-head")).to_contain_text("E. Roth")


def test_the_keys_change_the_record(reviewing):
    own, page = reviewing
    first, second, third, fourth, *_ = queue(own)
    assert shown(page) == first
    page.keyboard.press("o")
    page.keyboard.press("d")
    page.keyboard.press("2")
    recorded(page)
    expect(page.locator(".review-count").first).to_have_text("3 done")
    expect(page.locator(".review-count").nth(1)).to_have_text(f"{FRAMES - 3} waiting")
    said = [own.review_of(each) for each in (first, second, third)]
    assert [(each["label"], each["defect_class"], each["reviewer"]) for (each,) in said] == [
        ("ok", None, REVIEWER),
        ("defect", None, REVIEWER),
        ("defect", CLASSES[1], REVIEWER),
    ]
    assert shown(page) == fourth

    page.keyboard.press("u")
    recorded(page)
    assert own.review_of(third) == []
    assert shown(page) == third

    # Looking back at the first: it says what was decided, and may be decided otherwise.
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert shown(page) == first
    expect(page.locator(".review-facts")).to_contain_text("✓ OK")
    page.keyboard.press("3")
    recorded(page)
    assert own.review_of(first)[-1]["defect_class"] == CLASSES[2]
    assert own.get(f"/v1/inspections/{first}")["review"] == "defect"
    assert shown(page) == second
    page.keyboard.press("ArrowRight")
    assert shown(page) == third


def test_undo_leads_to_what_counts_in_the_record(reviewing):
    own, page = reviewing
    first, *_ = queue(own)
    facts, done = page.locator(".review-facts"), page.locator(".review-count").first
    page.keyboard.press("o")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("d")
    page.keyboard.press("u")
    recorded(page)
    assert own.get(f"/v1/inspections/{first}")["review"] == "ok"
    expect(facts).to_contain_text("✓ OK")
    expect(done).to_have_text("1 done")
    page.keyboard.press("u")
    recorded(page)
    assert own.review_of(first) == []
    expect(facts).to_contain_text("Not decided")
    expect(done).to_have_text("0 done")

    page.keyboard.press("o")
    recorded(page)
    with own.http as http:
        http.post(f"/v1/inspections/{first}/review", json={"label": "defect", "reviewer": "E. Roth"}).raise_for_status()
    page.keyboard.press("u")
    expect(page.get_by_role("alert")).to_contain_text("A decision was not taken back")
    expect(page.get_by_role("alert")).to_contain_text("by E. Roth")
    assert [each["reviewer"] for each in own.review_of(first)] == [REVIEWER, "E. Roth"]
    expect(done).to_have_text("1 done")


def test_what_was_never_recorded_is_not_taken_back(reviewing):
    own, page = reviewing
    first, *_ = queue(own)
    page.keyboard.press("o")
    recorded(page)
    page.keyboard.press("ArrowLeft")
    # Refused, and taken back before the answer has come: the first decision is not what was meant.
    page.get_by_label("Another class").fill("none")
    page.evaluate(
        """() => {
            document.querySelector(".review-keys form button").click();
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "u", bubbles: true }));
        }"""
    )
    expect(page.get_by_role("alert")).to_contain_text("not recorded")
    recorded(page)
    assert [each["label"] for each in own.review_of(first)] == ["ok"]
    assert shown(page) == first
    expect(page.locator(".review-facts")).to_contain_text("✓ OK")


def test_buttons_do_what_keys_do(reviewing):
    own, page = reviewing
    first, second, third, *_ = queue(own)
    page.get_by_role("button", name="O ✓ OK").click()
    page.get_by_role("button", name="3 scratch").click()
    page.get_by_label("Another class").fill("dent")
    page.get_by_role("button", name="Defect of this class").click()
    recorded(page)
    found = [own.review_of(each)[0] for each in (first, second, third)]
    assert [(each["label"], each["defect_class"]) for each in found] == [
        ("ok", None),
        ("defect", "scratch"),
        ("defect", "dent"),
    ]
    # It is a class like the others now: with a button, and a key.
    expect(page.get_by_role("button", name="4 dent")).to_be_visible()
    page.get_by_role("button", name="U Undo").click()
    recorded(page)
    assert own.review_of(third) == []


@pytest.mark.alone
def test_the_next_frame_is_there_within_a_tenth_of_a_second(reviewing):
    _, page = reviewing
    # Each is fetched ahead; what is measured is from the key to a whole picture of another frame on the screen.
    page.wait_for_function("performance.getEntriesByType('resource').filter(e => /\\/image$/.test(e.name)).length >= 8")
    page.evaluate(
        """() => {
            window.took = [];
            document.addEventListener("keydown", () => {
                const began = performance.now(), before = document.querySelector(".review-frame img").src;
                const look = () => {
                    const image = document.querySelector(".review-frame img");
                    if (image && image.src !== before && image.complete && image.naturalWidth) {
                        window.took.push(performance.now() - began);
                    } else requestAnimationFrame(look);
                };
                requestAnimationFrame(look);
            }, true);
        }"""
    )
    for count in range(1, FRAMES):
        page.keyboard.press("o")
        page.wait_for_function(f"window.took.length === {count}")
    took = page.evaluate("window.took")
    assert max(took) < 100, took


@pytest.mark.parametrize("key", ["o", "Enter"])
def test_a_held_key_judges_one_frame(reviewing, key):
    own, page = reviewing
    page.get_by_role("button", name="O ✓ OK").focus()
    for _ in range(4):
        page.keyboard.down(key)  # the second to fourth are repeats, as a key that is held down sends them
    page.keyboard.up(key)
    recorded(page)
    expect(page.locator(".review-count").first).to_have_text("1 done")
    assert own.get("/v1/reviews/queue")["waiting"] == FRAMES - 1


def test_blind_hides_the_model_until_decided(reviewing):
    own, page = reviewing
    first = own.get(f"/v1/inspections/{shown(page)}")
    facts, boxes = page.locator(".review-facts"), page.locator(".review-box")
    probability = f"{first['defect_probability']:.3f}"
    expect(facts).to_contain_text(probability)
    expect(boxes).to_have_count(len(first["events"]))
    page.get_by_role("button", name="Blind").click()
    expect(facts).not_to_contain_text(probability)
    expect(facts).not_to_contain_text("Thresholds")
    expect(boxes).to_have_count(0)
    page.keyboard.press("o")
    page.keyboard.press("ArrowLeft")
    expect(facts).to_contain_text(probability)


def test_a_frame_that_no_browser_shows_is_seen_without_its_heat_map(reviewing, surface):
    own, page = reviewing
    sent = own.post(surface(FRAMES), "tiff", camera_id="c1", coil_id="C-tiff")
    page.reload()
    page.get_by_role("button", name="Blind").click()
    while shown(page) != sent["inspection_id"]:
        page.keyboard.press("ArrowRight")
    picture = page.locator(".review-frame img")
    expect(picture).to_have_attribute("src", re.compile(r"/image\?format=png$"))
    expect(picture).to_have_js_property("naturalWidth", 192)


def test_boxes_stand_where_the_events_are(reviewing):
    own, page = reviewing
    known = own.get(f"/v1/inspections/{shown(page)}")
    while not known["events"]:
        page.keyboard.press("ArrowRight")
        known = own.get(f"/v1/inspections/{shown(page)}")
    frame, box = (page.locator(each).first.bounding_box() for each in (".review-frame", ".review-box"))
    assert frame is not None and box is not None
    event = known["events"][0]
    scale = frame["width"] / known["width"]
    assert box["x"] - frame["x"] == pytest.approx(event["x"] * scale, abs=1)
    assert box["height"] == pytest.approx(event["height"] * scale, abs=1)
    # The frame's edge hides nothing of what is written at the box.
    label = page.locator(".review-box small").first.bounding_box()
    assert label is not None
    assert label["y"] + label["height"] <= frame["y"] + frame["height"] + 1
    page.keyboard.press("b")
    expect(page.locator(".review-box")).to_have_count(0)


def drag(page: Page, left: float, top: float, right: float, bottom: float) -> None:
    """Over shares of the frame."""
    frame = page.locator(".review-frame").bounding_box()
    assert frame is not None
    page.mouse.move(frame["x"] + left * frame["width"], frame["y"] + top * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + right * frame["width"], frame["y"] + bottom * frame["height"], steps=4)
    page.mouse.up()


def test_a_box_that_is_drawn_goes_with_a_defect(reviewing):
    own, page = reviewing
    first, second, third, fourth, *_ = queue(own)
    known = own.get(f"/v1/inspections/{first}")
    # From any corner to the opposite one.
    drag(page, 0.75, 0.5, 0.25, 0.25)
    expect(page.locator(".review-drawn")).to_have_count(1)
    page.keyboard.press("2")
    expect(page.locator(".review-drawn")).to_have_count(0)
    # Past the edge the frame ends the box; what is good has none.
    drag(page, 0.5, 0.5, 1.4, 0.75)
    page.keyboard.press("o")
    drag(page, 0.1, 0.1, 0.5, 0.5)
    page.keyboard.press("Escape")
    expect(page.locator(".review-drawn")).to_have_count(0)
    page.keyboard.press("d")
    drag(page, 0.4, 0.4, 1.3, 1.2)
    # A click alone takes it away.
    drag(page, 0.2, 0.2, 0.2, 0.2)
    expect(page.locator(".review-drawn")).to_have_count(0)
    drag(page, 0.4, 0.4, 1.3, 0.9)
    page.keyboard.press("d")
    recorded(page)
    of_first, of_second, of_third, of_fourth = (own.review_of(each)[0] for each in (first, second, third, fourth))
    assert of_first["defect_class"] == "pit"
    for name, share, whole in (
        ("x", 0.25, "width"),
        ("width", 0.5, "width"),
        ("y", 0.25, "height"),
        ("height", 0.25, "height"),
    ):
        assert of_first["box"][name] == pytest.approx(share * known[whole], abs=2)
    assert of_second["box"] is None and of_third["box"] is None
    assert of_third["label"] == "defect"
    assert of_fourth["box"]["x"] + of_fourth["box"]["width"] == known["width"]


def test_why_it_is_in_the_queue(reviewing):
    own, page = reviewing
    words = {"near_threshold": "Near a threshold", "sample": "Random sample", "shadow": "The shadow disagrees"}
    for row in own.get("/v1/reviews/queue")["queue"]:
        expect(page.locator(".review-facts")).to_contain_text(words[row["why"]])
        page.keyboard.press("ArrowRight")
    expect(page.locator(".state")).to_contain_text(f"You passed over {FRAMES} frames")
    page.get_by_role("button", name="Back to the first of them").click()
    assert shown(page) == queue(own)[0]


def test_a_decision_that_is_refused_comes_back_with_the_reason(reviewing):
    own, page = reviewing
    first, second, *_ = queue(own)
    page.get_by_label("Another class").fill("none")  # by the API's rules the name of good surface, not of a defect
    page.get_by_role("button", name="Defect of this class").click()
    expect(page.get_by_role("alert")).to_contain_text("ok and none are names of good surface")
    # Not under the reviewer's fingers: what is shown stays, the other comes next, and nothing is counted as done.
    assert shown(page) == second
    expect(page.locator(".review-count").first).to_have_text("0 done")
    page.keyboard.press("o")
    assert shown(page) == first
    page.keyboard.press("d")
    recorded(page)
    assert [own.review_of(each)[0]["label"] for each in (first, second)] == ["defect", "ok"]


def test_decisions_outlive_a_server_and_a_page_that_go(reviewing):
    own, page = reviewing
    first, second, *_ = queue(own)
    own.crash()
    page.keyboard.press("o")
    refused = page.get_by_role("alert").filter(has_text="not recorded")
    expect(refused).to_contain_text("A decision was not recorded")
    expect(refused).to_contain_text("does not answer")
    page.keyboard.press("d")
    # One sentence for all of which the reason is the same: they must not hide the frame.
    expect(refused).to_contain_text("2 decisions were not recorded")
    # What a page that was closed before it got its answer leaves behind is sent by the next one.
    order = {"key": "k", "act": "review", "inspection_id": second, "reviewer": REVIEWER, "label": "defect",
             "defect_class": "pit", "box": None, "note": None}  # fmt: skip
    page.evaluate("orders => sessionStorage.setItem('steelsight-unsaved-reviews', orders)", json.dumps({"k": order}))
    own.restart()
    page.reload()
    page.wait_for_function("window.socket?.connected && document.querySelector('.review-head')")
    recorded(page)
    assert own.review_of(second)[0]["defect_class"] == "pit"
    assert own.review_of(first) == []
    assert shown(page) == first


def test_any_number_of_frames_may_be_passed_over(reviewing, surface):
    own, page = reviewing
    many = 130  # beyond what a page of the queue adds to those that are known
    for number in range(many):
        own.post(surface(number % 3), camera_id="c1", coil_id="C-9")
    for _ in range(FRAMES + many):
        expect(page.locator(".review-frame")).to_have_count(1)
        page.keyboard.press("ArrowRight")
    expect(page.locator(".state")).to_contain_text(f"You passed over {FRAMES + many} frames")
