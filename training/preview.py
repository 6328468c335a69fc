"""What a network would be trained on, to look at before it is: contact sheets and one page that loads nothing.

Tiles come from the sampler and the augmentation that `train` uses, on the train part that it would choose; with `folds`
on all groups, as those of the network that is published.
"""

import base64
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model.files import replace_text
from model.image import Frame
from model.tiling import Fit, resize
from training.augment import augment
from training.blend import BlendedSampler, blended_share
from training.checkpoint import Checkpoint, Run
from training.config import Augmentation, Experiment
from training.contact_sheet import Picture, Row, contact_sheet
from training.crops import CropSampler
from training.cross_validation import dealt
from training.dataset import Mask
from training.errors import UsageFault
from training.prepare import (
    Prepared,
    drawn_scale,
    labelled_records,
    prepare,
    prepared_for,
    read_folder,
    require_binary,
)
from training.scan import NO_DEFECT, as_text, fingerprint
from training.split import Part
from training.teacher import teachers_split

PAGE, TEMPLATE = "preview.html", "preview.html"
DRAWN, LIMITS, BLENDED = "drawn", "limits", "blended"
OURS = frozenset({PAGE, *(f"{name}.png" for name in (DRAWN, LIMITS, BLENDED))})

# What is written over an own defect that nothing was blended in place of.
LEFT = "not blended"

# Per kind of tile: enough to see whether they are alike, few enough for one look.
TILES_EACH, DRAWS_EACH = 3, 5
KINDS_SHOWN = 12
BLENDS = 24
BATCH = 32
# A kind that this many batches did not show is not in the train part.
MOST_BATCHES = 40

# Each change alone, with what it stands for; `scale` is shown by windows, since the sampler makes it.
CHANGES = {
    "gain": "gain: exposure",
    "offset": "offset: black level",
    "gamma": "gamma: the camera's curve",
    "gradient": "gradient: light from one side",
    "blur": "blur: the strip moves on",
    "noise": "noise of the sensor",
    "flips": "flips",
    "turns": "turns: no rolling direction",
}
NOTHING = Augmentation(flips=False, turns=False, gain=0, offset=0, gamma=0, gradient=0, noise=0, blur=0, scale=0)


@dataclass(frozen=True)
class Sheet:
    """One contact sheet of the page. name: of its PNG file, without the ending."""

    name: str
    title: str
    sentence: str
    png: bytes

    @property
    def source(self) -> str:
        """The picture as an address, so that the page needs no second file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Preview:
    """What was written."""

    page: Path
    sheets: tuple[str, ...]


@dataclass(frozen=True)
class _Drawn:
    """A tile as it was drawn, its mask, or None where there is nothing to outline, and its defect type."""

    tile: Frame
    mask: Mask | None
    kind: str


Examples = dict[str, list[_Drawn]]


def write_preview(data: Path, experiment: Experiment, out: Path, models: Path) -> Preview:
    """Write the page and its sheets into `out`. models: where a teacher is, whose split is taken over.

    Raises `DataFault`, `UsageFault` and `SteelsightError` as training would, `UsageFault` for `out`.
    """
    require_binary(experiment)
    _require_ours(out)
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(
            version="preview",
            data=data,
            fingerprint=fingerprint(labelled_records(data, experiment)),
            experiment=experiment,
        )
        prepared = _prepared(run, Checkpoint(Path(scratch)), models)
        fit = prepared.fitting.fit
        sheets = list(_sheets(prepared.crops, experiment, fit))
    off = [name for name in CHANGES if not getattr(experiment.augmentation, name)]
    off += [] if drawn_scale(experiment, fit) else ["scale"]
    html = (
        _environment()
        .get_template(TEMPLATE)
        .render(data=as_text(Path(data.name)), experiment=experiment, sheets=sheets, off=off)
    )
    for path in out.iterdir():
        path.unlink()
    for sheet in sheets:
        (out / f"{sheet.name}.png").write_bytes(sheet.png)
    replace_text(out / PAGE, html)
    return Preview(out / PAGE, tuple(sheet.name for sheet in sheets))


def _prepared(run: Run, checkpoint: Checkpoint, models: Path) -> Prepared:
    if not run.experiment.folds:
        return prepare(run, checkpoint, teachers_split(run, models))
    folder = read_folder(run, checkpoint.folder)
    fold_of, _ = dealt(run.experiment, folder)
    return prepared_for(folder, dict.fromkeys(fold_of, Part.TRAIN), {Part.TRAIN: folder.tiles}, run.experiment)


def _require_ours(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        strange = sorted({path.name for path in out.iterdir()} - OURS)
    except OSError as error:
        raise UsageFault(f"--out {out} cannot be made a folder ({error.strerror}); name another") from error
    if strange:
        raise UsageFault(
            f"--out {out} holds {strange[0]}, which is not from an earlier preview; name a new or empty folder"
        )


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _sheets(crops: CropSampler, experiment: Experiment, fit: Fit) -> Iterator[Sheet]:
    rng = np.random.default_rng(experiment.seed)
    examples = _examples(crops, rng)
    yield Sheet(
        DRAWN,
        "Drawn tiles and what becomes of them",
        "On the left tiles as the sampler draws them, defects also with the outline of their mask if they have one; on "
        "the right what the network gets instead, drawn anew each time. Ask of each: could our camera have taken this? "
        f"And: would a person still give it the same label?{_left_out(examples, crops)}",
        contact_sheet(list(_drawn(examples, experiment.augmentation, rng))),
    )
    shown = experiment.augmentation.model_copy(update={"scale": drawn_scale(experiment, fit)})
    if rows := list(_limits(examples, crops, shown, rng)):
        yield Sheet(
            LIMITS,
            "Each change alone, at both ends",
            "As strong as it is ever drawn; the rolling direction is vertical. Most tiles get less of each, and many "
            "changes at once.",
            contact_sheet(rows),
        )
    share = blended_share(experiment, fit)
    if share or experiment.pretraining:
        yield Sheet(
            BLENDED,
            "Defects blended into ok tiles",
            f"{share:.0%} of the defects are made so, and in the first {experiment.pretraining} epochs all of them. "
            "Those called synthetic are drawn, the others are your own, moved; where no blended defect would be seen, "
            f'your own stays as it was ("{LEFT}").',
            contact_sheet(list(_blends(crops, experiment, rng))),
        )


def _examples(crops: CropSampler, rng: np.random.Generator) -> Examples:
    """The first tiles of each kind, ok first."""
    found: dict[str, list[_Drawn]] = defaultdict(list)
    for _ in range(MOST_BATCHES):
        tiles, kinds, masks = crops.draw(BATCH, rng)
        for tile, kind, mask in zip(tiles, kinds.tolist(), masks, strict=True):
            if len(found[kind]) < TILES_EACH:
                found[kind].append(_Drawn(tile, mask if mask.any() and not mask.all() else None, kind))
    return {kind: found[kind] for kind in sorted(found, key=lambda kind: (kind != NO_DEFECT, kind))[:KINDS_SHOWN]}


def _left_out(examples: Examples, crops: CropSampler) -> str:
    """What the sheet does not show, if anything: of many defect types the first, and none that was never drawn."""
    types = crops.defect_types
    shown = len(examples.keys() & set(types))
    return f" {shown} of the {len(types)} defect types are shown." if shown < len(types) else ""


def _drawn(examples: Examples, settings: Augmentation, rng: np.random.Generator) -> Iterator[Row]:
    outlined = any(example.mask is not None for its in examples.values() for example in its)
    for kind, its in examples.items():
        for example in its:
            outline = Picture(example.tile, "outline", example.mask) if example.mask is not None else None
            changed = _changed(np.repeat(example.tile[np.newaxis], DRAWS_EACH, axis=0), settings, rng)
            yield Row(
                _name(kind),
                [
                    Picture(example.tile, "as drawn"),
                    *([outline] if outlined else []),
                    *(Picture(tile, f"draw {number}") for number, tile in enumerate(changed, start=1)),
                ],
            )


def _limits(examples: Examples, crops: CropSampler, settings: Augmentation, rng: np.random.Generator) -> Iterator[Row]:
    """Two tiles, one ok and one with a defect, under each change that is on."""
    every = [one for its in examples.values() for one in its]
    sides = ([one for one in every if (one.kind == NO_DEFECT) is ok] for ok in (True, False))
    # The richest in contrast show best what happens to them.
    telling = [max(side, key=lambda one: float(one.tile.std())) for side in sides if side]
    for name, caption in CHANGES.items():
        if not getattr(settings, name):
            continue
        alone = NOTHING.model_copy(update={name: getattr(settings, name)})
        pictures: list[Picture | None] = []
        for example in telling:
            pictures.append(Picture(example.tile, _name(example.kind)))
            ends = [(share, end) for share, end in enumerate(_ends(name, settings)) if end]
            for share, end in ends:
                pictures.append(Picture(_changed(example.tile[np.newaxis], alone, _AlwaysAt(share))[0], end))
            pictures += [None] * (2 - len(ends))
        yield Row(caption, pictures)
    if settings.scale:
        yield Row("scale: distance", list(_distances(crops, settings.scale, len(telling[0].tile), rng)))


def _ends(name: str, settings: Augmentation) -> tuple[str, str]:
    """What to write over the two ends of a change; nothing where the tile is as it was."""
    strength = getattr(settings, name)
    return {
        "gain": (f"x {1 - strength:g}", f"x {1 + strength:g}"),
        "offset": (f"-{strength:g}", f"+{strength:g}"),
        "gamma": (f"power {1 - strength:g}", f"power {1 + strength:g}"),
        "gradient": ("from the upper left", "from the lower right"),
        "blur": ("", f"{strength:g} px"),
        "noise": ("", f"deviation {strength:g}"),
        "flips": ("mirrored both ways", ""),
        "turns": ("turned", ""),
    }[name]


def _distances(crops: CropSampler, scale: float, tile: int, rng: np.random.Generator) -> Iterator[Picture]:
    """A defect from afar, if its surface is large enough, as it is, and from near: cut as the sampler does."""
    kind = str(rng.choice(crops.defect_types))
    window, _, _ = crops.draw_masked(kind, 1 / (1 - scale), rng)
    for caption, times in ((_name(kind), 1.0), (f"x {1 - scale:g}", 1 - scale), (f"x {1 + scale:g}", 1 + scale)):
        side = round(tile / times)
        if side <= len(window):
            start = (len(window) - side) // 2
            yield Picture(resize(window[start : start + side, start : start + side], tile), caption)


def _blends(crops: CropSampler, experiment: Experiment, rng: np.random.Generator) -> Iterator[Row]:
    found: list[tuple[Frame, str]] = []
    sampler = BlendedSampler(crops, 1.0, experiment.moved_share)
    while len(found) < BLENDS:
        seed = int(rng.integers(2**63))
        tiles, kinds, _ = sampler.draw(BATCH, np.random.default_rng(seed))
        # Equal generators draw the same tiles before anything is blended into them.
        before = crops.draw(BATCH, np.random.default_rng(seed)).tiles
        left = (tiles == before).all(axis=(1, 2))
        found += [
            (tile, f"{LEFT}: {kind}" if same else kind)
            for tile, kind, same in zip(tiles, kinds.tolist(), left.tolist(), strict=True)
            if kind != NO_DEFECT
        ]
    each = BLENDS // 3
    for start in range(0, BLENDS, each):
        some = found[start : start + each]
        yield Row("as drawn", [Picture(tile, caption) for tile, caption in some])
        changed = _changed(np.stack([tile for tile, _ in some]), experiment.augmentation, rng)
        yield Row("augmented", [Picture(tile, "") for tile in changed])


def _changed(tiles: Frame, settings: Augmentation, rng: np.random.Generator) -> Frame:
    """Augmented, and rounded to grey values as a screen shows them."""
    return np.rint(augment(tiles, settings, rng)).astype(np.uint8)


def _name(kind: str) -> str:
    return "ok" if kind == NO_DEFECT else kind


class _AlwaysAt(np.random.Generator):
    """Draws at the same share, 0 to 1, of every span: the ends of a change by the code that makes it in training.

    Whole numbers, which make the noise's pattern, are drawn as ever.
    """

    def __init__(self, share: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._share = share

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return self._filled(low + self._share * (high - low), size)

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        return self._filled(self._share, size)

    @staticmethod
    def _filled(value: float, size: Any) -> float | npt.NDArray[np.float64]:
        return value if size is None else np.full(size, value)
