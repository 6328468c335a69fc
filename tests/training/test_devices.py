"""Several devices share every batch; devices can be cut up before TensorFlow starts only, hence a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}
SEVERAL = """
import json, sys
import tensorflow as tf

halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)

from pathlib import Path
import numpy as np
from test_fit import experiment, started, train

settings = experiment(3).model_copy(update={"optimizer": sys.argv[2]})
run = started(Path(sys.argv[1]) / "run", settings)
state = train(run, settings)
last, kept = run.load_last(state), run.load_best(state)
# Behind the weights comes what the optimiser counts first: its steps.
steps = last[len(kept)]
print(json.dumps({
    "steps": int(steps),
    "losses": [epoch.loss for epoch in state.history],
    "auroc": state.best.validation_auroc,
    "finite": all(bool(np.isfinite(weights).all()) for weights in kept),
    "moved": float(max(np.abs(one - other).max() for one, other in zip(kept, last))),
}))
"""


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_batch_is_shared_out_over_all_devices(optimizer, tmp_path):
    """Two halves of this CPU."""
    command = [sys.executable, "-c", SEVERAL, tmp_path, optimizer]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "training on 2 devices" in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # 64 tiles in batches of 16: a batch is one step, however many devices share it.
    assert found["steps"] == 3 * 4
    assert found["losses"][-1] < found["losses"][0] < 1
    assert found["auroc"] > 0.9
    assert found["finite"]
    # Averaged weights were followed, and are not the last step's.
    assert 0 < found["moved"] < 1
