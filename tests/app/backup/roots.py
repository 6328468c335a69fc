"""Data roots with a record and its images, as a server would have left them, and the commands as processes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from app.archive import Picture, open_archive
from app.store.database import open_database, sqlite_url
from app.store.migrate import migrate
from tests.app.conftest import png_of
from tests.app.store.rows import add_event, add_image, add_inspection
from tests.conftest import make_steel

ROOT = Path(__file__).parents[3]
WITHIN_S = 60


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Nothing of this process's settings but where programs are."""
    return {"PATH": os.environ["PATH"], "STEELSIGHT_HOME": str(home)} | variables


def app(*arguments: object, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m app ...` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        cwd=ROOT, env=environment(home, **variables), capture_output=True, text=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip


def filled(home: Path, models: Path, images: int = 12) -> Path:
    """A root with versions, keys, a plant file, and so many inspections with an image and an event each."""
    home.mkdir()
    shutil.copytree(models, home / "models")
    (home / "keys").mkdir(mode=0o700)
    (home / "keys" / "manifest.pub").write_text("public")
    (home / "keys" / "secret.pem").write_text("private")
    (home / "keys" / "secret.pem").chmod(0o600)
    (home / "plant.toml").write_text('[[camera]]\nid = "cam-1"\nside = "top"\nacross_mm = 0.0\n')
    with (
        closing(open_database(sqlite_url(home / "record.db"))) as database,
        closing(open_archive(str(home / "archive"))) as archive,
    ):
        migrate(database)
        steel = make_steel(64, 64)
        pictures = []
        for number in range(images):
            # So that no two are the same file.
            frame = steel.copy()
            frame[0, :2] = [number % 256, number // 256]
            pictures.append(Picture(png_of(frame), "png"))
        puts = [archive.put(picture) for picture in pictures]
        assert [put.result() for put in puts] == [None] * images
        with database.writing() as connection:
            for picture in pictures:
                digest = add_image(connection, picture.digest, bytes=len(picture.data))
                row = add_inspection(connection, image=digest, event_count=1, verdict="defect", width=64, height=64)
                add_event(connection, row)
    return home


def images_of(home: Path) -> list[Path]:
    """Every file of its archive."""
    return sorted((home / "archive").glob("??/*"))


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own at a folder that is not there yet; only root mounts one. size: an option of tmpfs."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "steelsight", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
