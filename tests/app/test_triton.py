"""Another server's client, `tritonclient`, against ours: real sockets, its own words."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
import uvicorn
from tritonclient.utils import InferenceServerException

from app.main import create_app
from app.protocol import BoundedProtocol
from app.settings import load
from model.inspector import Inspector
from model.registry import Registry
from tests.app.waiting import wait_until

TILE = 64


@pytest.fixture(scope="module")
def client(tiny_models: Path) -> Iterator[triton.InferenceServerClient]:
    """A client of a server that runs in a thread."""
    app = create_app(load({}, {"models": tiny_models}))
    config = uvicorn.Config(app, port=0, http=BoundedProtocol, lifespan="on", ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as one:
        wait_until(one.is_server_ready)
        yield one
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def version(tiny_models: Path) -> str:
    return Registry(tiny_models).require_active()


@pytest.fixture(scope="module")
def tiles(steel_tiles) -> np.ndarray:
    return steel_tiles(6, TILE)[..., np.newaxis]


@pytest.fixture(scope="module")
def expected(tiny_models: Path, version: str, tiles: np.ndarray) -> np.ndarray:
    return Inspector.load(Registry(tiny_models), version, "onnx").probabilities(tiles[..., 0])[:, np.newaxis]


def test_health_and_metadata(client, version):
    assert client.is_server_live()
    assert client.is_model_ready("steelsight")
    assert client.is_model_ready("steelsight", version)
    assert not client.is_model_ready("steelsight", "none")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata("steelsight", version)
    assert metadata["versions"] == [version]
    assert metadata["inputs"][0]["shape"] == [-1, TILE, TILE, 1]


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_infer(client, version, tiles, expected, count, datatype, binary_in, binary_out):
    data = tiles[:count].astype(np.uint8 if datatype == "UINT8" else np.float32)
    image = triton.InferInput("image", list(data.shape), datatype)
    image.set_data_from_numpy(data, binary_data=binary_in)
    asked = None if binary_out is None else [triton.InferRequestedOutput("defect_probability", binary_data=binary_out)]
    result = client.infer("steelsight", [image], outputs=asked, request_id="coil 7", model_version=version, timeout=10)
    found = result.as_numpy("defect_probability")
    assert (found.dtype, found.shape) == (np.float32, (count, 1))
    assert np.allclose(found, expected[:count], atol=1e-6)
    reply = result.get_response()
    assert (reply["id"], reply["model_name"], reply["model_version"]) == ("coil 7", "steelsight", version)


def test_a_refusal_is_an_exception_that_says_why(client):
    image = triton.InferInput("image", [1, 32, 32, 1], "UINT8")
    image.set_data_from_numpy(np.zeros((1, 32, 32, 1), np.uint8))
    with pytest.raises(InferenceServerException, match=r"raw_frame_invalid: the shape of `image`") as caught:
        client.infer("steelsight", [image])
    assert caught.value.status() == "422"


def test_compression_is_refused(client, tiles):
    image = triton.InferInput("image", list(tiles.shape), "UINT8")
    image.set_data_from_numpy(tiles)
    with pytest.raises(InferenceServerException, match="content_type_unsupported"):
        client.infer("steelsight", [image], request_compression_algorithm="gzip")
