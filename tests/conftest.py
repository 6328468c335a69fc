"""Fixtures for every package: made-up steel, a small models folder, and the shared real data where there is some."""

import os
import signal

# Before anything imports TensorFlow: quiet, and on the CPU, so that results do not depend on the machine.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trustme
from hypothesis import settings
from scipy import ndimage

from model.artifact import Fitting, Manifest, staging, write_manifest
from model.calibration import IdentityCalibrator
from model.engine import KerasEngine, OnnxEngine
from model.export import parity, save_keras, save_onnx
from model.image import Frame
from model.network import Block, NetworkConfig
from model.registry import Registry
from model.trial.scores import recorded
from model.verdict import Thresholds
from tests.left_out import left_out

if TYPE_CHECKING:
    import keras
    from playwright.sync_api import Browser

# How long an example takes is the machine's affair.
settings.register_profile("steelsight", deadline=None)
settings.load_profile("steelsight")

# A shell starts what it puts in the background with Ctrl-C ignored, and every process below inherits that: the tests
# that send it to their own processes would wait for nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

TINY_NETWORK = NetworkConfig(input_size=64, blocks=(Block(filters=4), Block(filters=8)), dense_units=16)
TINY_THRESHOLDS = Thresholds(review=0.3, defect=0.7)
TINY_VERSIONS = ("tiny-64-first", "tiny-64-second")
TINY_CLASSES = ("ok", "crack", "pit", "scratch")


def make_steel(height: int, width: int, seed: int = 0, defects: int = 0) -> Frame:
    """Rolled texture, streaked along y, and dark blobs: uint8 of shape (height, width)."""
    rng = np.random.default_rng(seed)
    surface = 130 + 60 * ndimage.gaussian_filter(rng.normal(size=(height, width)), (6, 1), mode="wrap")
    surface += rng.normal(0, 4, (height, width))
    ys, xs = np.mgrid[:height, :width]
    for _ in range(defects):
        y, x, radius = rng.integers(0, height), rng.integers(0, width), rng.integers(4, 12)
        surface[(ys - y) ** 2 + (xs - x) ** 2 < radius**2] -= 90
    return np.clip(surface, 0, 255).astype(np.uint8)


def make_tiles(count: int, size: int, seed: int = 0) -> Frame:
    """Tiles with and without blobs, of many brightnesses, noise, and both constant extremes: (count, size, size)."""
    rng = np.random.default_rng(seed)
    steel = [make_steel(size, size, seed=seed + number, defects=number % 4) for number in range(count // 2)]
    noise = list(rng.integers(0, 256, (count - len(steel) - 2, size, size), np.uint8))
    return np.stack([*steel, *noise, np.zeros((size, size), np.uint8), np.full((size, size), 255, np.uint8)])


def seeded_model(config: NetworkConfig, seed: int) -> "keras.Model":
    """A network with fixed weights whose logits over `make_tiles` have mean 0 and spread 2."""
    import keras

    from model.network import build, logits_model

    keras.utils.set_random_seed(seed)
    model = build(config)
    tiles = make_tiles(32, config.input_size)[..., np.newaxis].astype(np.float32)
    logits = np.asarray(logits_model(model)(np.repeat(tiles, config.channels, axis=3)))
    scale = 2 / logits.std()
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * scale, (bias - logits.mean(axis=0)) * scale])
    return model


def publish(models: Path, version: str, model: "keras.Model", network: NetworkConfig, **fields: Any) -> Path:
    """Publish a version as `training` does, with the parity that was measured; `fields` replace manifest fields."""
    tiles = make_tiles(32, network.input_size, seed=100)
    calibrator = IdentityCalibrator()
    with staging(models, version) as folder:
        save_keras(model, folder)
        save_onnx(model, folder)
        scores = {
            engine.name: calibrator.probabilities(engine(folder, 1).logits(tiles))
            for engine in (KerasEngine, OnnxEngine)
        }
        measured = {"onnx": parity(scores["keras"], scores["onnx"], TINY_THRESHOLDS, "onnx")}
        manifest = Manifest(
            version=version,
            created_at=datetime.now(UTC),
            classes=("ok", *(f"defect_{number}" for number in range(1, max(2, network.outputs)))),
            network=network,
            fitting=Fitting(tile=network.input_size, stride=network.input_size),
            calibrator=calibrator,
            thresholds=TINY_THRESHOLDS,
            metrics={},
            parity=measured,
            fixed_scores=recorded(folder, KerasEngine(folder, 1), network.input_size, measured),
            data={},
            training={"seed": 0},
            packages={},
            files={},
        )
        write_manifest(folder, manifest.model_copy(update=fields))
    return models / version


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two small versions whose probabilities spread over (0, 1); the first is active. Never change it."""
    models = tmp_path_factory.mktemp("tiny") / "models"
    for seed, version in enumerate(TINY_VERSIONS, start=1):
        publish(models, version, seeded_model(TINY_NETWORK, seed), TINY_NETWORK)
    Registry(models).activate(TINY_VERSIONS[0])
    return models


@pytest.fixture(scope="session")
def class_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one small, active version, `tiny-classes`, that tells `TINY_CLASSES` apart. Never change it."""
    models = tmp_path_factory.mktemp("classes") / "models"
    network = TINY_NETWORK.model_copy(update={"outputs": len(TINY_CLASSES)})
    publish(models, "tiny-classes", seeded_model(network, 1), network, classes=TINY_CLASSES)
    Registry(models).activate("tiny-classes")
    return models


@pytest.fixture
def own_models(tiny_models: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_models` that the test may change."""
    return Path(shutil.copytree(tiny_models, tmp_path / "models"))


@pytest.fixture(scope="session")
def seeded_network() -> "Callable[[NetworkConfig, int], keras.Model]":
    """`seeded_network(config, seed)`: a Keras model with fixed weights whose probabilities spread."""
    return seeded_model


@pytest.fixture(scope="session")
def steel_frame() -> Callable[..., Frame]:
    """`steel_frame(height, width, seed=0, defects=0)`: a textured grey frame."""
    return make_steel


@pytest.fixture(scope="session")
def steel_tiles() -> Callable[..., Frame]:
    """`steel_tiles(count, size, seed=0)`: tiles that spread over brightness and content, both extremes last."""
    return make_tiles


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and broken files: the folder named by STEELSIGHT_TEST_DATA, with `data/` and `badinputs/`."""
    named = os.environ.get("STEELSIGHT_TEST_DATA")
    if not named:
        left_out("STEELSIGHT_TEST_DATA is not set: it names the folder that has data/ and badinputs/")
    folder = Path(named)
    missing = [name for name in ("data", "badinputs") if not (folder / name).is_dir()]
    if missing:
        pytest.fail(f"STEELSIGHT_TEST_DATA={named} has no folder {' and no folder '.join(missing)}")
    return folder


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whoever issues a plant's certificates."""
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority, tmp_path_factory) -> tuple[Path, Path]:
    """The files of a certificate for 127.0.0.1 and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(folder / "certificate.pem", append=number > 0)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "certificate.pem", folder / "key.pem"


# Not for the whole session: Playwright runs an event loop in the tests' thread, beside which no other can begin.
@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """The system's Chromium, without a window."""
    executable = shutil.which("chromium")
    if executable is None:
        left_out("chromium is not installed: pages are tested in it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
