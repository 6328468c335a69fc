"""One typed experiment: everything that decides what is trained, apart from the data."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from model.network import DEFAULT_PRESET, PRESETS, NetworkConfig
from training.errors import UsageFault
from training.group_pattern import compiled
from training.threshold import EscapeOf

Heads = Literal["binary", "defect_class"]
ChosenFit = Literal["auto", "tile", "resize"]


class Settings(BaseModel):
    """Base of every part of an experiment: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Augmentation(Settings):
    """Changes a line camera produces by itself; see `training.augment`."""

    flips: bool = Field(True, description="mirror along and across the rolling direction")
    turns: bool = Field(False, description="quarter turns, where the surface has no direction")
    gain: float = Field(0.15, ge=0, lt=1, description="exposure: grey values times 1 - gain to 1 + gain")
    offset: float = Field(10.0, ge=0, le=128, description="black level: plus or minus this many grey values")
    gamma: float = Field(0.2, ge=0, lt=1, description="grey values to the power of 1 - gamma to 1 + gamma")
    gradient: float = Field(0.15, ge=0, lt=1, description="light falls off by so much from one side to the other")
    noise: float = Field(4.0, ge=0, le=64, description="largest standard deviation of added noise, grey values")
    blur: float = Field(0.0, ge=0, le=32, description="largest smear along the rolling direction, px: strip that moves")
    scale: float = Field(0.0, ge=0, lt=0.5, description="size: 1 - scale to 1 + scale times, as the distance varies")

    @field_validator("blur")
    @classmethod
    def _smears_something(cls, blur: float) -> float:
        if 0 < blur <= 1:
            raise ValueError("blur is 0 or more than 1 px: a pixel is one long")
        return blur


class SplitShares(Settings):
    """Shares of the groups of each defect type."""

    calibration: float = Field(0.15, gt=0, lt=1, description="chooses the best epoch and fits the calibrator")
    threshold: float = Field(0.15, gt=0, lt=1, description="certifies the thresholds; used for nothing else")
    test: float = Field(0.2, gt=0, lt=1, description="seen once, by the evaluation")

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.calibration + self.threshold + self.test >= 1:
            raise ValueError("calibration, threshold and test must leave a share to train on")
        return self


class Experiment(Settings):
    """One training run. A TOML file for `--config` has these names as its keys."""

    preset: str = Field(DEFAULT_PRESET, description=f"one of {', '.join(PRESETS)}")
    network: NetworkConfig | None = Field(None, description="a network of your own instead of the preset's")
    epochs: int = Field(12, ge=1, le=100_000)
    heads: Heads = Field("binary", description="one output, defect or not; or one for ok and each defect type")
    fit: ChosenFit = Field(
        "auto", description="cut images into tiles, or resize them whole; auto: tiles where there are masks"
    )
    group_pattern: str | None = Field(
        None, description="regular expression on file names whose brackets name the group, where labels.csv does not"
    )
    patience: int = Field(6, ge=1, description="stop after so many epochs without a better one")
    batch_size: int = Field(32, ge=1, le=65536)
    optimizer: Literal["adamw", "muon"] = Field("adamw", description="muon: a deep network needs fewer steps")
    learning_rate: float = Field(0.001, gt=0, le=1, description="after the warm-up; falls to 0 as a cosine")
    weight_decay: float = Field(0.01, ge=0, lt=1, description="decoupled from the gradient")
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of all steps in which the learning rate rises")
    averaging: float = Field(
        0.99, ge=0, lt=1, description="momentum of the averaged weights that are kept; 0: the last"
    )
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = Field(2.0, ge=0, le=10, description="of the focal loss: how much less easy tiles count")
    mask_weight: float = Field(
        0.0, ge=0, le=100, description="how much it counts at which places of a tile the masks show a defect"
    )
    defect_share: float = Field(0.5, gt=0, lt=1, description="of the tiles drawn to train on")
    class_weights: bool = Field(False, description="weigh classes as if they were drawn equally often")
    hard_negatives: float = Field(
        0.0, ge=0, lt=1, description="share of the ok tiles that is drawn among those most taken for defects"
    )
    synthetic_defects: float = Field(
        0.0, ge=0, le=1, description="share of the defects that is generated and blended into ok tiles"
    )
    moved_share: float = Field(
        0.5, ge=0, le=1, description="of the generated defects: the plant's own, moved onto other surface; rest: drawn"
    )
    pretraining: int = Field(0, ge=0, le=100_000, description="first epochs, in which all defects are generated")
    teacher: str | None = Field(None, description="published version whose probabilities are learned from as well")
    teacher_weight: float = Field(0.5, gt=0, le=1, description="share of the target that is the teacher's")
    start: str | None = Field(
        None, description="published version of other data, whose convolutions the fit begins with; none: random ones"
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="of the inner convolutions, in training alone; what is published computes in float32"
    )
    seed: int = Field(0, ge=0, lt=2**32)
    stride: int | None = Field(None, ge=1, description="px between tiles cut from larger images; none: half a tile")
    defect_types: tuple[str, ...] = Field((), description="use only these defect types; empty: all")
    min_defect_pixels: int = Field(20, ge=1, description="a tile with so many masked pixels is a defect")
    max_escape: float | None = Field(None, gt=0, lt=1, description="escape budget; none: thresholds from overkill")
    confidence: float = Field(0.95, gt=0, lt=1, description="with which the escape budget is to be kept")
    escape_of: EscapeOf = Field(EscapeOf.TILE, description="of what the budget is a share: tiles, frames or surfaces")
    escape_cost: float | None = Field(None, gt=0, description="of a defect passed as ok: thresholds from costs")
    overkill_cost: float | None = Field(None, gt=0, description="of an ok tile called a defect")
    review_cost: float | None = Field(None, gt=0, description="of a tile a person looks at; none: no review")
    line_defect_share: float | None = Field(None, gt=0, lt=1, description="of tiles on the line; none: as in the data")
    folds: int | None = Field(
        None, ge=2, le=100, description="cross-fitting: figures and thresholds from so many networks"
    )
    figures_only: bool = Field(False, description="with folds: measure the recipe, and publish nothing")
    augmentation: Augmentation = Augmentation()
    split: SplitShares = SplitShares()

    @model_validator(mode="before")
    @classmethod
    def _start_from_recipe(cls, given: Any) -> Any:
        preset = given.get("preset") if isinstance(given, dict) else None
        # What is no name is told by the field's own type.
        if not isinstance(preset, str) or preset not in RECIPES:
            return given
        recipe = RECIPES[preset]
        # What is said of one change to the images leaves the recipe's others as they are.
        both = {name for name in recipe.keys() & given.keys() if isinstance(recipe[name], dict)}
        merged = {name: recipe[name] | given[name] for name in both if isinstance(given[name], dict)}
        return recipe | given | merged

    @model_validator(mode="after")
    def _known_preset(self) -> Self:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is unknown; there are: {', '.join(PRESETS)}")
        return self

    @model_validator(mode="after")
    def _one_way_to_thresholds(self) -> Self:
        costs = {"escape_cost": self.escape_cost, "overkill_cost": self.overkill_cost}
        stated = [name for name, cost in costs.items() if cost is not None]
        if len(stated) == 1:
            missing = next(name for name in costs if name not in stated)
            raise ValueError(f"thresholds from costs need both costs: {stated[0]} is stated and {missing} is not")
        for name in ("review_cost", "line_defect_share"):
            if getattr(self, name) is not None and not stated:
                raise ValueError(f"{name} belongs to thresholds from costs: state escape_cost and overkill_cost too")
        if self.escape_of is not EscapeOf.TILE and self.max_escape is None:
            raise ValueError("escape_of says of what an escape budget is a share: state max_escape too")
        if stated and self.max_escape is not None:
            raise ValueError("thresholds come from costs or from an escape budget: leave out max_escape or the costs")
        return self

    @model_validator(mode="after")
    def _defects_of_a_class(self) -> Self:
        blending = "synthetic_defects" if self.synthetic_defects else "pretraining" if self.pretraining else None
        if blending and self.heads != "binary" and self.moved_share < 1:
            raise ValueError(
                f'{blending} needs heads = "binary" or moved_share = 1: a drawn defect is none of the plant\'s classes'
            )
        if self.pretraining >= self.epochs:
            raise ValueError(
                f"pretraining = {self.pretraining} leaves none of {self.epochs} epochs for the plant's own defects; "
                "state more epochs, or less pretraining"
            )
        return self

    @model_validator(mode="after")
    def _teacher_without_folds(self) -> Self:
        if self.teacher is not None and self.folds is not None:
            raise ValueError(
                "a teacher cannot teach in folds: it has seen groups of every fold, and the figures would flatter; "
                "leave out teacher or folds"
            )
        return self

    @model_validator(mode="after")
    def _figures_of_folds(self) -> Self:
        if self.figures_only and self.folds is None:
            raise ValueError("figures_only measures a recipe by cross-validation: state folds too")
        return self

    @field_validator("group_pattern")
    @classmethod
    def _usable_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            compiled(pattern)
        return pattern

    def resolved_network(self, classes: Sequence[str] = ()) -> NetworkConfig:
        """The network to build; with heads = defect_class it has an output for each of the data's `classes`."""
        network = self.network or PRESETS[self.preset]
        if self.heads == "defect_class" and classes:
            return network.model_copy(update={"outputs": len(classes)})
        return network

    def resolved_stride(self) -> int:
        """Pixels between tiles, half a tile unless set."""
        return self.stride or max(1, self.resolved_network().input_size // 2)


# What a preset is trained with unless the experiment says otherwise, where it differs from the defaults above.
_LOCAL: dict[str, Any] = {
    "patience": 12,
    "learning_rate": 0.002,
    "warm_up": 0.1,
    "averaging": 0.995,
    "synthetic_defects": 0.5,
    "moved_share": 1.0,
    "augmentation": {"scale": 0.2},
}
# Where a defect is a few grey values of a surface that most images show one on, stronger changes hide it, another size
# gains nothing, and there is no want of defects to be moved. docs/log.md has the figures.
_FAINT: dict[str, Any] = _LOCAL | {
    "epochs": 60,
    "patience": 20,
    "synthetic_defects": 0.0,
    "augmentation": {"gain": 0.1, "offset": 4.0, "gamma": 0.1, "gradient": 0.1, "noise": 1.5},
}
RECIPES: dict[str, dict[str, Any]] = {
    "steel-128-local": _LOCAL,
    "steel-64-local": _FAINT,
    "steel-128-line": _LOCAL,
    "steel-64-line": _LOCAL,
    # What it learns faster, and of masks, it also knows of new surfaces; steel-128-local learned by heart: docs/log.md.
    "steel-128-deeper": _LOCAL | {"optimizer": "muon", "mask_weight": 0.5},
    "steel-64-deeper": _FAINT,
    "rgb-224": {
        "epochs": 20,
        "patience": 20,
        "learning_rate": 0.001,
        "weight_decay": 0.0,
        "warm_up": 0.0,
        "averaging": 0.0,
    },
}


def load_experiment(file: Path | None, overrides: dict[str, Any]) -> Experiment:
    """The experiment of a TOML file, with the values given on the command line on top.

    overrides: names to values; None means not given. Raises `UsageFault` naming the value that is wrong.
    """
    try:
        stated = tomllib.loads(file.read_text(encoding="utf-8")) if file else {}
        given = {name: value for name, value in overrides.items() if value is not None}
        experiment = Experiment.model_validate(stated | given)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageFault(f"{file} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        where = f"{name} = {first['input']!r}: " if name else ""
        raise UsageFault(f"the experiment is not valid: {where}{first['msg'].removeprefix('Value error, ')}") from error
    # Said of what is stated now, and not of the experiment of an old version, which could not be measured any more.
    if "confidence" in stated | given and experiment.max_escape is None:
        raise UsageFault("the experiment is not valid: confidence says how surely max_escape is kept: state that too")
    return experiment
