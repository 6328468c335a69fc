"""One typed experiment: everything that decides what is trained, apart from the data."""

import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.network import DEFAULT_PRESET, PRESETS, NetworkConfig
from training.errors import UsageFault


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
    patience: int = Field(6, ge=1, description="stop after so many epochs without a better one")
    batch_size: int = Field(32, ge=1, le=65536)
    learning_rate: float = Field(0.001, gt=0, le=1, description="of AdamW after the warm-up; falls to 0 as a cosine")
    weight_decay: float = Field(0.01, ge=0, lt=1, description="of AdamW")
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of all steps in which the learning rate rises")
    averaging: float = Field(
        0.99, ge=0, lt=1, description="momentum of the averaged weights that are kept; 0: the last"
    )
    seed: int = Field(0, ge=0, lt=2**32)
    stride: int | None = Field(None, ge=1, description="px between tiles cut from larger images; none: half a tile")
    defect_types: tuple[str, ...] = Field((), description="use only these defect types; empty: all")
    min_defect_pixels: int = Field(20, ge=1, description="a tile with so many masked pixels is a defect")
    max_escape: float | None = Field(None, gt=0, lt=1, description="escape budget; none: thresholds from overkill")
    confidence: float = Field(0.95, gt=0, lt=1, description="with which the escape budget is to be kept")
    augmentation: Augmentation = Augmentation()
    split: SplitShares = SplitShares()

    @model_validator(mode="before")
    @classmethod
    def _start_from_recipe(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("preset") in RECIPES:
            return RECIPES[given["preset"]] | given
        return given

    @model_validator(mode="after")
    def _known_preset(self) -> Self:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is unknown; there are: {', '.join(PRESETS)}")
        return self

    def resolved_network(self) -> NetworkConfig:
        """The network to build."""
        return self.network or PRESETS[self.preset]

    def resolved_stride(self) -> int:
        """Pixels between tiles, half a tile unless set."""
        return self.stride or max(1, self.resolved_network().input_size // 2)


# What a preset is trained with unless the experiment says otherwise, where it differs from the defaults above.
RECIPES: dict[str, dict[str, Any]] = {
    "rgb-224": {
        "epochs": 20,
        "patience": 20,
        "learning_rate": 0.001,
        "weight_decay": 0.0,
        "warm_up": 0.0,
        "averaging": 0.0,
    }
}


def load_experiment(file: Path | None, overrides: dict[str, Any]) -> Experiment:
    """The experiment of a TOML file, with the values given on the command line on top.

    overrides: names to values; None means not given. Raises `UsageFault` naming the value that is wrong.
    """
    try:
        stated = tomllib.loads(file.read_text(encoding="utf-8")) if file else {}
        given = {name: value for name, value in overrides.items() if value is not None}
        return Experiment.model_validate(stated | given)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageFault(f"{file} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        where = f"{name} = {first['input']!r}: " if name else ""
        raise UsageFault(f"the experiment is not valid: {where}{first['msg']}") from error
