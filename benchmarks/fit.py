"""Tiles a second that `training.fit` fits from a folder of PNGs, beside a bare `model.fit` of the same network.

    python -m benchmarks.fit [--presets NAME...] [--images N] [--epochs N] [--rounds N] [--json FILE]

Ours is the whole path of `training train` up to publishing: every PNG read, decoded and cut, tiles drawn anew for every
batch, all augmentation, averaged weights, validation, checkpoints, logs. The bare one is given as many ready float32
arrays in memory, the same optimiser, loss, steps and validation tiles, and does nothing else. Both are measured in
turns in one run; the ratio is the median of the rounds' ratios. The first round warms up and is not counted. The ratio
of processor time is what is left on a machine whose cores are all busy, where nothing can be made beside the network.
Last comes what a step takes in each precision. About twenty minutes on two idle cores;
`--presets steel-128 --images 1500 --epochs 8 --rounds 1` takes a minute and a half.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import measure
from synthetic import synthesize
from training.batches import Curriculum
from training.checkpoint import Checkpoint, Run
from training.config import Augmentation, Experiment
from training.fit import compiled, fit
from training.grouping import with_groups
from training.prepare import Prepared, prepare
from training.scan import fingerprint, scan
from training.split import Part

PRESETS = ("steel-128", "steel-128-local")
# Every change there is, also those that are off unless asked for.
ALL_CHANGES = Augmentation(turns=True, blur=3.0, scale=0.1)
PRECISIONS = ("float32", "mixed_bfloat16")
STEPS_OF_PRECISION = 12


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=PRESETS, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--images", type=int, default=2000, metavar="N", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=12, metavar="N", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="after one to warm up; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        synthesize(data, arguments.images, 0)
        figures = {
            preset: rates(data, Path(scratch), Experiment(preset=preset, epochs=arguments.epochs), arguments.rounds)
            for preset in arguments.presets
        }
    machine = measure()
    print(f"{machine.processor}, {machine.cores} cores; {arguments.images} PNGs, {arguments.epochs} epochs")
    for preset, row in figures.items():
        print(f"{preset}: bare model.fit {row['bare_tiles_per_second']:,.0f} tiles/s")
        for name in ("default", "all"):
            low, ratio, high = (row[f"{name}_ratio{which}"] for which in ("_low", "", "_high"))
            span = (
                f"{ratio:.0%} of it ({low:.0%} to {high:.0%}), {row[f'{name}_processor_ratio']:.0%} in processor time"
            )
            print(f"  fit, {name} augmentation: {row[f'{name}_tiles_per_second']:,.0f} tiles/s, {span}")
        for policy in PRECISIONS:
            print(f"  a step in {policy}: {row[f'{policy}_step_ms']:.1f} ms")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def rates(data: Path, scratch: Path, experiment: Experiment, rounds: int) -> dict[str, float]:
    """Tiles a second of the bare fit and of ours, and the ratios."""
    prepared = prepare_anew(data, scratch, experiment)[0]
    every = experiment.model_copy(update={"augmentation": ALL_CHANGES})
    bare = Bare(prepared, experiment)
    seen: dict[str, list[Took]] = {"bare": [], "default": [], "all": []}
    for _ in range(rounds + 1):
        seen["default"].append(took(lambda: ours(data, scratch, experiment)))
        seen["bare"].append(took(bare.fit))
        seen["all"].append(took(lambda: ours(data, scratch, every)))
    counted = {name: found[1:] for name, found in seen.items()}
    figures = {
        f"{name}_tiles_per_second": bare.tiles / statistics.median(each.seconds for each in found)
        for name, found in counted.items()
    }
    for name in ("default", "all"):
        pairs = list(zip(counted["bare"], counted[name], strict=True))
        ratios = [one.seconds / other.seconds for one, other in pairs]
        figures[f"{name}_ratio"] = statistics.median(ratios)
        figures |= {f"{name}_ratio_low": min(ratios), f"{name}_ratio_high": max(ratios)}
        figures[f"{name}_processor_ratio"] = statistics.median(one.processor / other.processor for one, other in pairs)
    return figures | bare.step_ms()


def ours(data: Path, scratch: Path, experiment: Experiment) -> None:
    """What `training train` does before it publishes."""
    prepared, checkpoint = prepare_anew(data, scratch, experiment)
    tiles = len(prepared.parts[Part.TRAIN])
    network = experiment.resolved_network()
    fit(network, prepared.crops, tiles, prepared.parts[Part.CALIBRATION], experiment, checkpoint)


def prepare_anew(data: Path, scratch: Path, experiment: Experiment) -> tuple[Prepared, Checkpoint]:
    """The folder read, and a new run."""
    records = with_groups(scan(data))
    run = Run(version="benchmark", data=data, fingerprint=fingerprint(records), experiment=experiment)
    checkpoint = Checkpoint(Path(tempfile.mkdtemp(dir=scratch)) / "run")
    checkpoint.start(run)
    return prepare(run, checkpoint), checkpoint


class Bare:
    """`model.fit` on arrays, and nothing else."""

    def __init__(self, prepared: Prepared, experiment: Experiment) -> None:
        self._experiment, self._network = experiment, experiment.resolved_network()
        self._steps = -(-len(prepared.parts[Part.TRAIN]) // experiment.batch_size)
        curriculum = Curriculum(
            self._network, experiment, self._steps, prepared.crops, ("ok", "defect"), None, None, None
        )
        batches = curriculum.epoch(1, lambda tiles: np.zeros(len(tiles)))
        pairs = [batches[place][:2] for place in range(self._steps)]
        self._images, self._targets = (np.concatenate(each) for each in zip(*pairs, strict=True))
        held = prepared.parts[Part.CALIBRATION]
        self._held = held.tiles[..., np.newaxis].astype(np.float32), held.defect[:, np.newaxis].astype(np.float32)
        self.tiles = self._steps * experiment.batch_size * experiment.epochs

    def fit(self) -> None:
        """As many steps and validations as ours."""
        model = compiled(self._network, self._experiment, self._steps)
        self._fit(model, self._experiment.epochs)

    def _fit(self, model: Any, epochs: int) -> None:
        model.fit(
            self._images,
            self._targets,
            batch_size=self._experiment.batch_size,
            epochs=epochs,
            validation_data=self._held,
            shuffle=False,
            verbose=0,
        )

    def step_ms(self) -> dict[str, float]:
        """Milliseconds of a step in each precision, in turns."""
        models = {
            policy: compiled(self._network, self._experiment.model_copy(update={"precision": policy}), self._steps)
            for policy in PRECISIONS
        }
        batch = slice(self._experiment.batch_size)
        steps: dict[str, list[float]] = {policy: [] for policy in PRECISIONS}
        for _ in range(STEPS_OF_PRECISION):
            for policy, model in models.items():
                step = partial(model.train_on_batch, self._images[batch], self._targets[batch])
                steps[policy].append(took(step).seconds)
        # The first two trace and warm up.
        return {f"{policy}_step_ms": 1000 * statistics.median(found[2:]) for policy, found in steps.items()}


class Took(NamedTuple):
    """What some work took: by the clock, and of all cores together."""

    seconds: float
    processor: float


def took(work: Callable[[], object]) -> Took:
    """Do it."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - clock, time.process_time() - processor)


if __name__ == "__main__":
    main()
