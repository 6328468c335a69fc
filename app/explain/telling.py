"""Seen -> Explanation: every stage in order, with its sentence, its pictures and its sums."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.explain import pictures, schemas, words
from app.explain.messages import Part
from app.explain.seeing import Seen
from app.schemas import ImageSize, ModelName
from model.artifact import Manifest
from model.calibration import defect_logit
from model.feature_maps import Activations, Stage
from model.verdict import decide

# Products written out: past these each adds little, and a page has room for no more.
LARGEST = 12
# Pixels a side of the patch whose values can be read as numbers on a page.
PATCH_PX = 12
# Tiles up to this size are in the reply as numbers, 200 kB; larger ones as a picture alone.
NUMBERS_PX = 256
# Share of a layer's values that its colours hold. A padded border can be ten times as strong as all that lies inside,
# and would leave it dark.
HELD = 0.995
# How large one map alone is drawn.
ONE_PX = 640

Shape = tuple[int, ...]
Places = tuple[int, int, int]
Reals = npt.NDArray[np.floating[Any]]


def told(seen: Seen, inspection_id: str | None = None, recorded: dict[str, Any] | None = None) -> schemas.Explanation:
    """The whole explanation; of a frame on record, with its id and what was answered then."""
    manifest, inspection = seen.manifest, seen.inspection
    y, x, height, width = seen.box
    named = manifest.classes[seen.class_number] if seen.tells_classes else None
    probability = _probability(seen)
    urls = None if inspection_id is None else map_url(inspection_id)
    return schemas.Explanation(
        inspection_id=inspection_id,
        recorded=None if recorded is None else schemas.Recorded.model_validate(recorded),
        model=ModelName(version=manifest.version, engine=seen.engine),
        image=ImageSize(
            width=inspection.width, height=inspection.height, tiles=inspection.scores.size, method=inspection.method
        ),
        verdict=inspection.verdict,
        defect_probability=inspection.defect_probability,
        defect_class=named,
        thresholds=manifest.thresholds,
        tile=schemas.Tile(
            x=x,
            y=y,
            width=width,
            height=height,
            size=len(seen.tile),
            fit=manifest.fitting.fit.value,
            defect_probability=probability.calibrated,
        ),
        stages=[_pixels(seen), *_stages(seen, probability, urls)],
        heat=[
            schemas.Heat(
                over=heat.over,
                method=heat.method,
                sentence=words.of_heat(heat.over, heat.method, heat.tiles, inspection.scores.size),
                picture=pictures.over(heat.ground, heat.values),
                tiles=heat.tiles,
            )
            for heat in seen.heats
        ],
        colours=pictures.colours(),
    )


def map_url(inspection_id: str) -> str:
    """Where one picture of a frame on record is found, large; for whoever puts in what is in braces.

    >>> map_url("0000000000000001")
    '/v1/inspections/0000000000000001/explain/{layer}.png?of={of}&number={number}'
    """
    return f"/v1/inspections/{inspection_id}/explain/{{layer}}.png?of={{of}}&number={{number}}"


def part(seen: Seen, wanted: Part) -> schemas.Sheet:
    """One picture, large. Raises LookupError that says what there is."""
    layers = {stage.name: stage for stage in seen.stages}
    if wanted.layer not in layers:
        raise LookupError(f"there is no layer {wanted.layer!r}; there are: {', '.join(layers)}")
    stage = layers[wanted.layer]
    values = {"maps": stage.output, "before": stage.before, "filters": stage.weights}[wanted.of]
    if values is None or not stage.is_spatial:
        raise LookupError(f"the layer {stage.name} has no {wanted.of} to show as pictures")
    if wanted.number >= values.shape[-1]:
        raise LookupError(f"number {wanted.number}: the layer {stage.name} has {values.shape[-1]}, counted from 0")
    # Of a filter, what it weighs each map that comes in with.
    one = values[..., wanted.number] if wanted.of == "filters" else values[..., wanted.number, np.newaxis]
    return pictures.sheet(one, as_grey=_is_picture(stage), one_px=ONE_PX)


def _pixels(seen: Seen) -> schemas.Stage:
    tile, channels = seen.tile, seen.manifest.network.channels
    parts = next(heat.values for heat in seen.heats if (heat.over, heat.method) == ("tile", "parts"))
    side = min(PATCH_PX, len(tile))
    centre = np.unravel_index(int(parts.argmax()), parts.shape)
    y, x = (int(np.clip(place - side // 2, 0, len(tile) - side)) for place in centre)
    patch = tile[y : y + side, x : x + side]
    return schemas.Stage(
        name="pixels",
        kind="pixels",
        sentence=words.of_pixels(len(tile), channels),
        input_shape=list(tile.shape),
        shape=[*tile.shape, channels],
        weights=0,
        sees_px=1,
        low=float(tile.min()),
        high=float(tile.max()),
        zeros=float((tile == 0).mean()),
        picture=pictures.one_grey(tile),
        pixels=schemas.Pixels(
            values=tile.tolist() if len(tile) <= NUMBERS_PX else None,
            patch=schemas.Patch(x=x, y=y, width=side, height=side, values=patch.tolist()),
        ),
    )


def _stages(seen: Seen, probability: schemas.Probability, urls: str | None) -> Iterator[schemas.Stage]:
    size = len(seen.tile)
    inputs: Shape = (size, size, seen.manifest.network.channels)
    before = np.empty(0, np.float32)
    for index, stage in enumerate(seen.stages):
        following = seen.stages[index + 1].name if index + 1 < len(seen.stages) else ""
        filters = stage.weights.sum(axis=2) if stage.weights is not None and stage.is_spatial else None
        yield schemas.Stage(
            name=stage.name,
            kind=words.kind_of(stage),
            sentence=words.Layer(stage, inputs, seen.manifest, following).sentence,
            input_shape=list(inputs),
            shape=list(stage.output.shape),
            weights=sum(values.size for values in (stage.weights, stage.bias) if values is not None),
            sees_px=stage.field or None,
            low=float(stage.output.min()),
            high=float(stage.output.max()),
            zeros=float((stage.output == 0).mean()),
            picture=pictures.sheet(stage.output, as_grey=_is_picture(stage), held=HELD) if stage.is_spatial else None,
            filters=None if filters is None else pictures.sheet(filters),
            map_url=urls.replace("{layer}", stage.name) if urls and stage.is_spatial else None,
            vector=_vector(seen, inputs) if index == seen.vector else None,
            sum=_sum(seen, stage, before) if stage.kind == "Dense" else None,
            probability=probability if stage.name == "probability" else None,
        )
        inputs, before = stage.output.shape, stage.output


def _is_picture(stage: Stage) -> bool:
    """Whether the layer's output is the tile itself, in another unit."""
    return words.kind_of(stage) in ("levelling", "rescaling")


def _vector(seen: Seen, inputs: Shape) -> schemas.Vector:
    stage, parts = seen.stages[seen.vector], seen.to_logit
    height, width, maps = inputs if stage.output.size == math.prod(inputs) else (1, 1, inputs[-1])
    values = stage.output.astype(np.float64)
    weights = np.divide(parts.values, values, out=np.zeros_like(values), where=values != 0)
    return schemas.Vector(
        height=height,
        width=width,
        maps=maps,
        strip=pictures.strip(stage.output, height),
        to_logit=_weighed(_logit_name(seen), values, weights, parts.values, parts.rest, (height, width, maps)),
    )


def _sum(seen: Seen, stage: Stage, inputs: Activations) -> schemas.WeightedSum:
    """The unit of a dense layer that counts most, as a sum; of the last layer, the logit."""
    assert stage.weights is not None
    kernel = stage.weights.astype(np.float64)
    bias = np.zeros(kernel.shape[1]) if stage.bias is None else stage.bias.astype(np.float64)
    values = inputs.astype(np.float64)
    before = stage.output if stage.before is None else stage.before
    if stage.name == "logits":
        spoken = seen.class_number if seen.tells_classes else 0
        # How far the likeliest defect class lies above ok: the difference of two sums is a sum.
        weights = kernel[:, spoken] - kernel[:, 0] if seen.tells_classes else kernel[:, 0]
        offset = bias[spoken] - bias[0] if seen.tells_classes else bias[0]
        return _weighed(_logit_name(seen), values, weights, values * weights, float(offset), _places(seen, values.size))
    behind = seen.logits.weights
    assert behind is not None
    counted = np.abs(stage.output * behind[:, seen.class_number if seen.tells_classes else 0])
    unit = int(counted.argmax())
    weights = kernel[:, unit]
    of = f"unit {unit} of {stage.name}, which counts most for the logit"
    weighed = _weighed(of, values, weights, values * weights, float(bias[unit]), _places(seen, values.size))
    after = None if stage.before is None else float(stage.output[unit])
    return weighed.model_copy(update={"unit": unit, "total": float(before[unit]), "after": after})


def _places(seen: Seen, count: int) -> Places | None:
    """Height, width and maps of what was laid into the vector, where a layer weighs that very vector."""
    vector, before = seen.stages[seen.vector].output, seen.stages[seen.vector - 1].output
    return None if count != vector.size or count != before.size else (before.shape[0], before.shape[1], before.shape[2])


def _weighed(
    of: str, values: Reals, weights: Reals, products: Reals, bias: float, places: Places | None
) -> schemas.WeightedSum:
    order = np.argsort(-np.abs(products), kind="stable")[:LARGEST]
    shown = [int(position) for position in order if products[position] != 0]
    rest = np.delete(products, shown)
    terms = [
        schemas.Term(
            position=position,
            value=float(values[position]),
            weight=float(weights[position]),
            product=float(products[position]),
            **_origin(position, places),
        )
        for position in shown
    ]
    total = float(products.sum()) + bias
    return schemas.WeightedSum(of=of, largest=terms, others=float(rest.sum()), bias=bias, total=total)


def _origin(position: int, places: Places | None) -> dict[str, int]:
    """Cell and map that a number of a flattened vector comes from: `model.feature_maps.flat_position` turned round.

    >>> _origin(11, (2, 2, 3))
    {'y': 1, 'x': 1, 'map': 2}
    """
    if places is None:
        return {}
    _, width, maps = places
    return {"y": position // maps // width, "x": position // maps % width, "map": position % maps}


def _logit_name(seen: Seen) -> str:
    classes = seen.manifest.classes
    return f"the logit of {classes[seen.class_number]} less that of {classes[0]}" if seen.tells_classes else "the logit"


def _probability(seen: Seen) -> schemas.Probability:
    manifest, logits = seen.manifest, seen.logits.output[np.newaxis]
    any_defect = defect_logit(logits)
    calibrated = float(manifest.calibrator.probabilities(logits)[0])
    network = seen.stages[-1].output.astype(np.float64)
    of_any = float(network[0] if network.size == 1 else network[1:].sum())
    return schemas.Probability(
        logit=float(any_defect[0]),
        network=of_any,
        calibrator=manifest.calibrator.model_dump(),
        calibrated_logit=float(manifest.calibrator.calibrated(any_defect)[0]),
        calibrated=calibrated,
        classes=_classes(manifest, logits, network),
        thresholds=manifest.thresholds,
        verdict=decide(calibrated, manifest.thresholds),
    )


def _classes(manifest: Manifest, logits: Activations, network: Reals) -> list[schemas.ClassShare]:
    shares: Sequence[float] = manifest.calibrator.class_probabilities(logits)[0].tolist()
    one = logits.shape[1] == 1
    own = [1 - float(network[0]), float(network[0])] if one else network.tolist()
    of_classes = [None, float(logits[0, 0])] if one else logits[0].tolist()
    return [
        schemas.ClassShare(name=name, logit=logit, probability=probability, calibrated=share)
        for name, logit, probability, share in zip(manifest.classes, of_classes, own, shares, strict=True)
    ]
