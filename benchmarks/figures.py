"""Where the figures of a benchmark go: `benchmarks/NAME.json` beside the models they were measured with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def keep_figures(models: Path, name: str, figures: Mapping[str, Any]) -> Path:
    """Write them, replacing those of the last run, and say where."""
    output = models.parent / "benchmarks" / f"{name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(figures, indent=2) + "\n")
    # `benchmarks.document` leaves this line out: where the file lies is of this machine, not of the figures.
    print(f"\nwritten to {output}")
    return output
