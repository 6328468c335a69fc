"""Where training computes: on one device or several."""

import sys
from collections.abc import Sequence

import tensorflow as tf


def training_devices() -> list[str]:
    """All GPUs, else the CPU (or the several that a test makes of it)."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def strategy_on(devices: Sequence[str]) -> tf.distribute.Strategy:
    """Every batch is shared out over all devices; with one, nothing is."""
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    print(f"training on {len(devices)} devices: {', '.join(devices)}", file=sys.stderr)
    return tf.distribute.MirroredStrategy(list(devices))
