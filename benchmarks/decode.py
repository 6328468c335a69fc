"""Time to decode one image file, beside reading it through Pillow alone, as before `model/png.py` and `model/jpeg.py`.

    python -m benchmarks.decode [--rounds N] [--json FILE]

Both are measured in turns, in the same run, in one thread, in processor time: of this process only, so that what else
the machine does hardly counts. The files are generated steel. Every figure is the median of the rounds. The Pillow way
reads the header twice (once for a second frame) and refuses no file that lacks pixels in its middle: it is a floor for
what it would cost, not a substitute. About half a minute.
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from benchmarks.machine import measure
from model.image import FORMATS, decode

# Of one measurement of one file: long enough for the clock, short enough for many files.
SECONDS = 0.05
SIZES = {"tile 128 x 128": (128, 128), "frame 1024 x 512": (512, 1024), "frame 4096 x 512": (512, 4096)}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PNG grey": ("grey", "PNG", {}),
    "PNG grey 16 bit": ("deep", "PNG", {}),
    "PNG colour": ("colour", "PNG", {}),
    "JPEG grey": ("grey", "JPEG", {"quality": 90}),
    "JPEG grey progressive": ("grey", "JPEG", {"quality": 90, "progressive": True}),
    "JPEG colour": ("colour", "JPEG", {"quality": 90}),
    "BMP grey": ("grey", "BMP", {}),
    "BMP colour": ("colour", "BMP", {}),
}


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()

    machine = measure()
    print(f"{machine.processor}, one thread of {machine.cores} cores; medians of {arguments.rounds} rounds\n")
    print("| file | kilobytes | decode ms | Pillow ms | decode / Pillow | Mpx/s |\n|---|---|---|---|---|---|")
    figures = []
    for size, (height, width) in SIZES.items():
        for kind, (pixels, container, options) in KINDS.items():
            data = encoded(steel(pixels, height, width), container, **options)
            if not np.array_equal(decode(data), by_pillow(data)):
                raise SystemExit(f"{kind}, {size}: the two ways differ")
            ours, pillows = in_turns(data, arguments.rounds)
            figures.append(
                {"kind": kind, "size": size, "bytes": len(data), "ms": ours * 1e3, "pillow_ms": pillows * 1e3}
            )
            print(
                f"| {kind}, {size} | {len(data) / 1e3:.0f} | {ours * 1e3:.3f} | {pillows * 1e3:.3f} "
                f"| {ours / pillows:.2f} | {height * width / ours / 1e6:.0f} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps({"rounds": arguments.rounds, "files": figures}, indent=2))


def steel(pixels: str, height: int, width: int) -> np.ndarray:
    """Rolled texture with noise: uint8 (height, width), uint16 with empty low bits, or three of it as colour."""
    rng = np.random.default_rng(0)
    streaks = ndimage.gaussian_filter(rng.normal(size=(height, width)), (6, 1), mode="wrap")
    grey = np.clip(130 + 60 * streaks + rng.normal(0, 4, (height, width)), 0, 255).astype(np.uint8)
    if pixels == "deep":
        return grey.astype(np.uint16) << 8
    return grey if pixels == "grey" else np.dstack([grey, grey // 2 + 60, grey[::-1]])


def encoded(pixels: np.ndarray, container: str, **options: Any) -> bytes:
    """The file's bytes."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, container, **options)
    return target.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    """What `model.image.decode` did with these files before: open, look for a second frame, load, turn, convert."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    try:
        Image.open(io.BytesIO(data), formats=FORMATS).seek(1)
    except EOFError:
        image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return (np.asarray(upright).astype(np.uint16, copy=False) >> 8).astype(np.uint8)
    return np.asarray(upright.convert("L"))


def in_turns(data: bytes, rounds: int) -> tuple[float, float]:
    """Seconds of processor time for one file: ours, and Pillow's."""
    repeats = max(1, round(SECONDS / seconds(by_pillow, data, 1)))
    pairs = [(seconds(decode, data, repeats), seconds(by_pillow, data, repeats)) for _ in range(rounds)]
    return statistics.median(ours for ours, _ in pairs), statistics.median(pillows for _, pillows in pairs)


def seconds(work: Callable[[bytes], object], data: bytes, repeats: int) -> float:
    """Of processor time, for one of `repeats`."""
    start = time.process_time()
    for _ in range(repeats):
        work(data)
    return (time.process_time() - start) / repeats


if __name__ == "__main__":
    main()
