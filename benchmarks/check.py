"""Images a second of `training check` on 200 x 200 px JPEGs, beside the limit: decoding the same files alone.

    python -m benchmarks.check [--images N] [--rounds N] [--folder DIR] [--json FILE]

Both are measured in turns, in the same run, with two processes; the limit has no hashing, no comparison and no finding
in it. The images are generated steel, all different, written once into a temporary folder (or DIR, which is kept and
used again). Every figure is the median of the rounds. About a minute for 10,000 images.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.machine import measure
from model.image import decode
from training.checks.survey import CHUNK, WORKERS
from training.scan import scan
from training.validate import check

SIDE_PX = 200
JPEG_QUALITY = 90
# Steel is drawn in plates of this side and cut: drawing every image alone takes longer than checking it.
PLATE = 10


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the images are, or shall be kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()

    with folder_of(arguments.folder) as data:
        write_images(data, arguments.images)
        decoding, checking = [], []
        for _ in range(arguments.rounds):
            decoding.append(arguments.images / seconds(lambda: decode_all(data)))
            checking.append(arguments.images / seconds(lambda: check(scan(data))))
    figures = {
        "images": arguments.images,
        "decode_images_per_second": statistics.median(decoding),
        "check_images_per_second": statistics.median(checking),
        # Linux counts kilobytes.
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    machine = measure()
    print(f"{machine.processor}, {machine.cores} cores; {arguments.images} JPEGs of {SIDE_PX} x {SIDE_PX} px")
    print(f"decoding alone (the limit) {figures['decode_images_per_second']:8,.0f} images/s")
    print(f"training check             {figures['check_images_per_second']:8,.0f} images/s")
    print(f"share of the limit         {figures['check_images_per_second'] / figures['decode_images_per_second']:8.0%}")
    print(f"memory of the main process {figures['memory_mb']:8,.0f} MB")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


@contextmanager
def folder_of(kept: Path | None) -> Iterator[Path]:
    """The folder to keep, or one that goes away."""
    if kept:
        yield kept
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def write_images(data: Path, count: int) -> None:
    """Half ok and half defect; a kept folder is used as it is, and must have as many."""
    kept = sum(1 for _ in data.glob("*/*.jpg"))
    if kept == count:
        return
    if kept:
        sys.exit(f"{data} holds {kept} images; give --images {kept}, or another folder")
    rng = np.random.default_rng(0)
    for label in ("ok", "defect"):
        (data / label).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        if number % PLATE**2 == 0:
            side = PLATE * SIDE_PX
            grain = 60 * ndimage.gaussian_filter(rng.normal(size=(side, side)), (6, 1))
            plate = np.clip(130 + grain + rng.normal(0, 4, (side, side)), 0, 255).astype(np.uint8)
        y, x = (SIDE_PX * place for place in divmod(number % PLATE**2, PLATE))
        label = "defect" if number % 2 else "ok"
        image = Image.fromarray(plate[y : y + SIDE_PX, x : x + SIDE_PX])
        image.save(data / label / f"{number:06d}.jpg", quality=JPEG_QUALITY)


def decode_all(data: Path) -> None:
    """Read and decode every file, by as many processes as the check has, and keep nothing."""
    files = [record.path for record in scan(data)]
    with ProcessPoolExecutor(WORKERS) as pool:
        if sum(pool.map(decoded, files, chunksize=CHUNK)) != len(files):
            sys.exit("a generated image could not be decoded")


def decoded(path: Path) -> bool:
    """Whether the file is an image, as served."""
    return decode(path.read_bytes()).size > 0


def seconds(work: Callable[[], object]) -> float:
    """How long it took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
