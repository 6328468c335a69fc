"""The archive on S3: against a real server process that speaks its protocol."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app import archive as archive_room
from app import retention
from app.archive import Archive, ArchiveError, Picture, open_archive
from app.retention import Policy
from tests.app.store.rows import add_image

WITHIN_S = 60
BUCKET = "steelsight-images"
PICTURE = Picture(b"BM a picture", "bmp")


@dataclass
class S3:
    """A server process, and how it is reached."""

    process: subprocess.Popen[str]
    url: str

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "plant", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": self.url, "AWS_ALLOW_HTTP": "true",
        } | more  # fmt: skip


@contextmanager
def serving(**environment: str) -> Iterator[S3]:
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"} | environment,
    ) as process:  # fmt: skip
        try:
            url = None
            while url is None and (line := process.stderr.readline()):
                url = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert url
            assert httpx.put(f"{url[0]}/{BUCKET}", timeout=WITHIN_S).status_code == 200
            yield S3(process, url[0])
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with serving() as server:
        yield server


@pytest.fixture
def archive(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    with closing(open_archive(f"s3://{BUCKET}")) as opened:
        yield opened


def test_what_is_put_is_there_and_goes(archive):
    assert archive.kind == "s3"
    assert archive.free_bytes() is None
    assert not archive.holds(PICTURE.digest, "bmp")
    assert archive.put(PICTURE).result() is None
    assert archive.put(PICTURE).result() is None
    assert archive.get(PICTURE.digest, "bmp") == PICTURE.data
    assert archive.holds(PICTURE.digest, "bmp")
    (listed,) = [file for files in archive.listed(PICTURE.digest[:2]) for file in files]
    assert (listed.digest, listed.format, listed.bytes) == (PICTURE.digest, "bmp", len(PICTURE.data))
    assert abs(listed.put_at - datetime.now(UTC)) < timedelta(minutes=5)
    archive.delete(PICTURE.digest, "bmp")
    archive.delete(PICTURE.digest, "bmp")
    assert not archive.holds(PICTURE.digest, "bmp")


def test_one_that_is_missing_is_told(archive):
    with pytest.raises(ArchiveError, match="does not hold the file"):
        archive.get("0" * 64, "png")


def test_its_share_is_kept(s3, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    with closing(open_archive(f"s3://{BUCKET}", max_bytes=len(PICTURE.data))) as archive:
        assert archive.put(PICTURE).result() is None
        error = archive.put(Picture(b"BM another", "bmp")).result()
        assert error is not None
        assert error.full
        archive.delete(PICTURE.digest, "bmp")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_retention_deletes_there(archive, database):
    at = datetime.now(UTC)
    assert archive.put(PICTURE).result() is None
    with database.writing() as connection:
        add_image(connection, PICTURE.digest, format="bmp", bytes=12, verdict="ok", stored_at=at - timedelta(days=31))
    with database.writing() as connection:
        retention.mark(connection, retention.expired(connection, Policy("ok", timedelta(days=30), None), at), at)
    with database.writing() as connection:
        assert retention.purge(connection, archive, at) == 12
    assert not archive.holds(PICTURE.digest, "bmp")


@pytest.mark.parametrize(
    ("bucket", "environment"), [("no-such-bucket", {}), (BUCKET, {"AWS_ENDPOINT": "http://127.0.0.1:1"})]
)
def test_a_bucket_or_a_server_that_is_not_there_is_one_line(s3, monkeypatch, bucket, environment):
    monkeypatch.setattr(archive_room, "PATIENCE", _impatient())
    for name, value in s3.environment(**environment).items():
        monkeypatch.setenv(name, value)
    with closing(open_archive(f"s3://{bucket}")) as archive:
        error = archive.put(PICTURE).result()
        assert isinstance(error, ArchiveError)
        assert not error.full
        assert "\n" not in str(error)
        assert "secret" not in str(error)


def test_credentials_that_it_does_not_know_are_one_line(monkeypatch):
    # The bucket may be made without any; from then on it asks for them.
    with serving(INITIAL_NO_AUTH_ACTION_COUNT="1") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        with closing(open_archive(f"s3://{BUCKET}")) as archive:
            error = archive.put(PICTURE).result()
            assert isinstance(error, ArchiveError)
            assert "\n" not in str(error)
            assert "secret" not in str(error)
            with pytest.raises(ArchiveError, match="cannot be read"):
                archive.get(PICTURE.digest, "bmp")


def _impatient() -> dict:
    return {
        "client_options": {"timeout": "1s", "connect_timeout": "1s"},
        "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=1)},
    }


@pytest.mark.anyio
@pytest.mark.parametrize("when_full", ["refuse", "continue-without-image"])
async def test_a_server_that_goes_amid_frames(start, tiny_models, png, monkeypatch, when_full):
    """What was answered before has its image; after, each frame is refused or says that it has none, as was set."""
    monkeypatch.setattr(archive_room, "PATIENCE", _impatient())
    with serving() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        settings = {"archive": f"s3://{BUCKET}", "sample_ok": 1.0, "archive_when_full": when_full}
        async with start(models=tiny_models, **settings) as running:
            await running.until_ready()
            headers = {"content-type": "image/png"}
            first = await running.http.post("/v1/inspect", content=png, headers=headers)
            assert first.status_code == 200
            image = await running.http.get(f"/v1/inspections/{first.json()['inspection_id']}/image")
            assert image.content == png
            server.process.kill()
            server.process.wait()
            begun = time.monotonic()
            second = await running.http.post("/v1/inspect", content=png, headers=headers)
            assert time.monotonic() - begun < 20
            if when_full == "refuse":
                assert (second.status_code, second.json()["code"]) == (503, "archive_full")
            else:
                assert second.status_code == 200
                row = (await running.http.get(f"/v1/inspections/{second.json()['inspection_id']}")).json()
                assert row["has_image"] is False
                assert row["image_missing"] == "archive_failed"
            lost = await running.http.get(f"/v1/inspections/{first.json()['inspection_id']}/image")
            assert lost.status_code == 503
