"""python -m model.trial: try one version, as `model.trial.process` asks on standard input, and say what came of it.

Started by that module, and by nobody else. What it imports is ours; what it opens afterwards may be anybody's.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from model.trial import confine

# For the imports that a runtime makes late, and for scoring; a model takes a fraction of a second.
PROCESSOR_S = 60.0
# What a runtime maps beside the model, and how many times a model is in memory while it is opened: read, parsed,
# repacked for the processor, and as Keras variables.
MEMORY_BYTES = 1_500_000_000
MEMORY_PER_BYTE = 8


def main() -> None:
    """One question, one answer."""
    # Libraries print to standard output: it is taken over for the answer alone.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    confine.first_to_go()
    layers = ["network namespace"] if confine.leave_network() else []
    question = json.load(sys.stdin)
    answer = _tried(question, layers)
    answers.write(json.dumps(answer | {"confined": layers}))
    answers.flush()
    # Nothing of the runtimes is worth waiting for, nor are the threads of what may be hostile.
    os._exit(0)


def _tried(question: dict[str, Any], layers: list[str]) -> dict[str, Any]:
    # After the network is gone, and before anything is limited: threads and libraries begin here.
    from model.contents import check_contents
    from model.errors import ErrorCode, SteelsightError
    from model.inspector import Inspector
    from model.registry import Registry
    from model.trial.scores import check_scores

    registry = Registry(Path(question["models"]), [bytes.fromhex(key) for key in question["keys"]])
    version, engine = question["version"], question["engine"]
    try:
        _import_runtime(engine)
        bytes_listed = sum(file.size for file in registry.manifest(version).files.values())
        confine.limit(MEMORY_BYTES + MEMORY_PER_BYTE * bytes_listed, PROCESSOR_S)
        layers += confine.forbid()
        started = time.monotonic()
        manifest = registry.verified(version)
        check_contents(registry.folder(version), manifest)
        inspector = Inspector.load(registry, version, engine, threads=question["threads"], stride=question["stride"])
        known = check_scores(registry.folder(version), manifest, inspector)
        inspector.warm()
        return {"known": known, "seconds": time.monotonic() - started}
    except SteelsightError as error:
        return {"code": error.code.value, "message": error.message}
    # A runtime refuses in its own words; here they end the trial and nothing else.
    except Exception as error:  # noqa: BLE001
        reason = f"version {version} failed on trial: {type(error).__name__}: {str(error)[:500]}"
        return {"code": ErrorCode.ARTIFACT_INVALID.value, "message": reason}


def _import_runtime(engine: str) -> None:
    """Load the engine's libraries, which is our own program, before what they are to open is looked at."""
    from model.engine import ENGINES

    ENGINES[engine].runs_here()
    if engine == "onnx":
        import onnxruntime  # noqa: F401
    elif engine == "keras":
        import keras  # noqa: F401
        import tensorflow as tf  # noqa: F401


if __name__ == "__main__":
    main()
