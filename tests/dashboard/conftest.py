"""A real server, a real desk on it, and Chromium: each as its user starts it."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page

from app.access.keys import create_key
from app.access.people import Role, add_person
from app.access.principal import Scope
from model.image import Frame

ROOT = Path(__file__).parents[2]
WITHIN_S = 30
# What a page may be slow by on a machine that has other work; how fast it must be is asked where that is the point.
PATIENCE_MS = 15_000
COIL, HOSTILE_COIL = "C-1", "<img src=x onerror=alert(1)>/7"
REVIEWER = "M. Huber"
PASSWORD = "rolling mills at dawn"


def until(true: Callable[[], object], why: Callable[[], str]) -> None:
    """Wait until a condition holds; a refused connection counts as no."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(f"did not come true within {WITHIN_S} s: {why()}")


@dataclass
class Started:
    """A process of ours that listens: `python -m app ...`."""

    name: str
    process: subprocess.Popen[str]
    url: str
    log: Path
    variables: dict[str, str]

    def again(self) -> AbstractContextManager["Started"]:
        """The same on the same port, after it was stopped."""
        return program(self.name, self.log, "--port", self.url.rpartition(":")[2], **self.variables)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)


@contextmanager
def program(name: str, log: Path, *flags: str, **variables: str) -> Iterator[Started]:
    """`python -m app NAME FLAGS`, its address read off what it prints; ended with the block."""
    environment = {"PATH": os.environ["PATH"], "STEELSIGHT_HOME": str(log.with_suffix("")), **variables}
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "app", name, *flags],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            address = re.search(r"https?://127\.0\.0\.1:\d+", first)
            assert address, first + process.stderr.read()
            yield Started(name, process, address[0], log, variables)
        finally:
            process.kill()


@dataclass
class Site:
    """A server and a desk on it."""

    server: Started
    desk: Started
    sent: list[dict[str, Any]]
    running: ExitStack = field(default_factory=ExitStack)
    key: str | None = None

    def crash(self) -> None:
        """The server is gone at once, as by `kill -9`."""
        self.server.process.kill()
        self.server.process.wait(WITHIN_S)

    def restart(self) -> None:
        """It is back, on the same port and record."""
        self.server = self.running.enter_context(self.server.again())
        until(lambda: httpx.get(f"{self.server.url}/readyz").is_success, self.server.log.read_text)

    @property
    def http(self) -> httpx.Client:
        headers = {"x-api-key": self.key} if self.key else {}
        return httpx.Client(base_url=self.server.url, timeout=WITHIN_S, trust_env=False, headers=headers)

    def get(self, path: str, **query: Any) -> Any:
        """An answer of the API, which must be one."""
        with self.http as http:
            return http.get(path, params=query).raise_for_status().json()

    def post(self, frame: Frame, kind: str = "png", **query: Any) -> dict[str, Any]:
        """Send a frame as a camera does, in an image file of that kind."""
        target = io.BytesIO()
        Image.fromarray(frame).save(target, kind)
        headers = {"content-type": f"image/{kind}"}
        with self.http as http:
            answer = http.post("/v1/inspect", content=target.getvalue(), headers=headers, params=query)
        assert answer.status_code == 200, answer.text
        self.sent.append(answer.json())
        return self.sent[-1]

    def review_of(self, inspection_id: str) -> list[dict[str, Any]]:
        """The reviews of a frame that are not undone."""
        reviews = self.get(f"/v1/inspections/{inspection_id}")["reviews"]
        return [each for each in reviews if each["undone_at"] is None]


Start = Callable[..., Site]
Surface = Callable[[int], Frame]


@pytest.fixture(scope="session")
def surface(steel_frame: Callable[..., Frame]) -> Surface:
    """`surface(number)`: 128 x 192 px, each another; by `desk_models` ok, review and defect by turns."""

    def frame(number: int) -> Frame:
        brightness = (0.3, 0.7, 1.3)[number % 3]
        return np.clip(steel_frame(128, 192, seed=number, defects=number % 4) * brightness, 0, 255).astype(np.uint8)

    return frame


@pytest.fixture(scope="session")
def desk_models(class_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`class_models` with thresholds between which the verdicts on `surface` are each of the three."""
    models = Path(shutil.copytree(class_models, tmp_path_factory.mktemp("desk") / "models"))
    manifest = next(models.glob("*/manifest.json"))
    told = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**told, "thresholds": {"review": 0.53, "defect": 0.63}}), encoding="utf-8")
    return models


@pytest.fixture(scope="session")
def start_site(desk_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`start_site(**variables)`: a server and a desk, both up, with an empty record; variables: more settings.

    people: who may sign in, with `PASSWORD`; then the server asks for keys, and `Site.key` may do everything.
    """
    with ExitStack() as running:

        def start(people: Mapping[str, Role] | None = None, **variables: str) -> Site:
            folder = tmp_path_factory.mktemp("site")
            home, key, own = folder / "server", None, {}
            for name, role in (people or {}).items():
                add_person(home, name, role, PASSWORD)
            if people:
                key = create_key(home, "tests", list(Scope))[1]
                own = {"STEELSIGHT_DESK_KEY": create_key(home, "desk", [Scope.READ])[1]}
                own |= {name: value for name, value in variables.items() if "OIDC" in name}
                variables.pop("STEELSIGHT_OIDC_CLIENT_SECRET", None)
            settings = {
                "STEELSIGHT_MODELS": str(desk_models),
                "STEELSIGHT_ENGINE": "onnx",
                "STEELSIGHT_CONCURRENCY": "1",
                "STEELSIGHT_SAMPLE_OK": "1",
                "STEELSIGHT_SAMPLE_CALLED": "1",
                **variables,
            }
            server = running.enter_context(program("serve", folder / "server.log", "--port", "0", **settings))
            at = ("--port", "0", "--api", server.url)
            desk = running.enter_context(program("dashboard", folder / "desk.log", *at, **own))
            site = Site(server, desk, [], running, key)
            until(lambda: httpx.get(f"{server.url}/readyz").is_success, server.log.read_text)
            # Before anybody has signed in.
            until(lambda: httpx.get(f"{desk.url}/static/desk.css").is_success, desk.log.read_text)
            return site

        yield start


@pytest.fixture(scope="session")
def bare(start_site: Start) -> Site:
    """Nothing was ever inspected here. Never change it."""
    return start_site()


@pytest.fixture(scope="session")
def site(start_site: Start, surface: Surface) -> Site:
    """Two cameras, one of which lost two frames; every verdict; an open coil, a closed one, one with a hostile name.

    Tests may add frames of other cameras and coils, and review these.
    """
    one = start_site()
    for number in range(12):
        side = ("top", "bottom")[number % 2]
        sequence = number // 2 if number < 8 else number // 2 + 2 * (side == "bottom")
        one.post(
            surface(number),
            camera_id=f"{side}-1",
            side=side,
            coil_id=COIL,
            sequence=sequence,
            position_mm=sequence * 64.0,
            mm_per_pixel=0.5,
        )
    assert {each["verdict"] for each in one.sent} == {"ok", "review", "defect"}
    for coil_id in ("C-0", HOSTILE_COIL):
        one.post(surface(2), coil_id=coil_id, camera_id="<b>bold</b>/2")
    with one.http as http:
        http.post("/v1/coils/C-0/close").raise_for_status()
    return one


@dataclass
class Watched:
    """What a browser asked for and complained of."""

    requests: list[str]
    complaints: list[str]


@contextmanager
def watching(context: BrowserContext) -> Iterator[Watched]:
    """Everything that all pages of a context do. On the way out: nothing left this machine, nothing went wrong."""
    watched = Watched([], [])
    context.on("request", lambda request: watched.requests.append(request.url))
    context.on("weberror", lambda error: watched.complaints.append(str(error.error)))
    context.on(
        "console",
        lambda message: (
            watched.complaints.append(f"{message.text} ({message.location['url']})")
            if message.type in ("error", "warning")
            else None
        ),
    )
    yield watched


Open = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """`open_page(site, "/line", width=1280, height=900, dark=False, reviewer=REVIEWER, mishaps=())`: a loaded page.

    After the test: no request went anywhere but to the desk, and the console has no complaint but those that contain
    one of `mishaps`.
    """
    opened: list[tuple[Site, BrowserContext, Watched, tuple[str, ...]]] = []
    with ExitStack() as held:

        def open_one(
            site: Site,
            path: str,
            width: int = 1280,
            height: int = 900,
            dark: bool = False,
            reviewer: str | None = REVIEWER,
            mishaps: tuple[str, ...] = (),
        ) -> Page:
            context = chromium.new_context(
                viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
            )
            context.set_default_timeout(PATIENCE_MS)
            if reviewer is not None:
                # A page that is not the desk's yet (about:blank) has no such store.
                stored = f"localStorage.setItem('steelsight-reviewer', {reviewer!r})"
                context.add_init_script(f"if (location.protocol === 'http:' && origin !== 'null') {stored}")
            watched = held.enter_context(watching(context))
            opened.append((site, context, watched, mishaps))
            page = context.new_page()
            page.goto(site.desk.url + path)
            page.wait_for_function("window.socket?.connected && document.querySelector('main')")
            return page

        yield open_one
    for site, context, watched, mishaps in opened:
        context.close()
        own = (site.desk.url, site.desk.url.replace("http", "ws"), f"blob:{site.desk.url}", "data:")
        assert watched.requests
        assert not [url for url in watched.requests if not url.startswith(own)]
        assert not [each for each in watched.complaints if not any(known in each for known in mishaps)]
