"""One image explained into a folder of its own: `explain.html` and the numbered PNG files it shows."""

import re
from pathlib import Path

from model.errors import SteelsightError
from model.explain import Explainer, Explanation
from model.image import Frame, decode
from model.interrupt import Interruptions
from model.registry import Registry
from training.errors import DataFault, UsageFault
from training.explain.page import PAGE, render
from training.keras_import import import_keras

# What an earlier run of this command left: such a folder is written anew, any other is left alone.
OURS = re.compile(r"explain\.html|\d{2}-[A-Za-z0-9_-]+\.png")


def explain_image(version: str, image: Path, out: Path, models: Path) -> Explanation:
    """Explain `image` with a published version (`active` for the active one), and write the folder `out`.

    Everything is rendered before anything is written, and the page is written last.
    Raises UsageFault for an `out` that holds anything else, DataFault for an image that cannot be read, and
    `SteelsightError` (model_unknown, no_active_model, artifact_invalid, engine_unavailable).
    """
    _require_free(out)
    frame = _read(image)
    registry = Registry(models)
    name = registry.require_active() if version == "active" else version
    # An unknown version is told before the seconds that the import takes.
    registry.manifest(name)
    with Interruptions():
        import_keras()
    explainer = Explainer.load(registry, name)
    explanation = explainer.explain(frame)
    files = render(explanation, explainer.manifest, image.name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in out.iterdir():
            path.unlink()
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise DataFault(f"{out} cannot be written ({error.strerror}); choose another --out") from error
    return explanation


def _require_free(out: Path) -> None:
    try:
        strange = [path.name for path in out.iterdir() if not (OURS.fullmatch(path.name) and path.is_file())]
        started = any(path.name != PAGE for path in out.iterdir())
        complete = (out / PAGE).exists()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageFault(f"--out {out} is no folder that can be used ({error.strerror})") from error
    if strange or started != complete:
        found = strange[0] if strange else "pictures without their page"
        raise UsageFault(f"--out {out} holds {found}, which is not from an earlier explain; name a new or empty folder")


def _read(image: Path) -> Frame:
    try:
        return decode(image.read_bytes())
    except OSError as error:
        raise DataFault(f"{image} cannot be read ({error.strerror})") from error
    except SteelsightError as error:
        raise DataFault(f"{image}: {error.message}") from error
