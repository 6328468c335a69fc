"""python -m app.explain MODELS: explain frames, one after another, as the server asks on standard input.

Started by `app.explaining`, and by nobody else. It ends with its input, so that it never outlives the server.
"""

import hashlib
import os
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from app.explain.messages import Answer, Question, receive, send
from app.explain.pictures import file_of
from app.explain.seeing import Seen, see
from app.explain.telling import part, told
from model.errors import SteelsightError
from model.explain import Explainer
from model.image import Frame
from model.registry import Registry

# Below every inspection, above nothing: it gets what they leave.
NICENESS = 10
# Loaded versions kept: the one that serves, and the one that judged what is being looked at.
VERSIONS_KEPT = 2
# Explanations kept: a page that shows one asks for its pictures one by one.
EXPLANATIONS_KEPT = 4
# Not a refusal of the domain: the client asked for a part that the network does not have.
NO_SUCH_PART = "no_such_part"

Value = TypeVar("Value")


class Kept(OrderedDict[Hashable, Value]):
    """The latest few of what takes long to make."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def get_or(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What is kept under the key, or what is made now."""
        if key not in self:
            self[key] = make()
        self.move_to_end(key)
        while len(self) > self._most:
            self.popitem(last=False)
        return self[key]


class Desk:
    """Where questions are answered: with the versions and explanations of the last few of them at hand."""

    def __init__(self, models: Path) -> None:
        self._registry = Registry(models)
        self._explainers: Kept[Explainer] = Kept(VERSIONS_KEPT)
        self._seen: Kept[Seen] = Kept(EXPLANATIONS_KEPT)

    def answer(self, question: Question, pixels: bytes) -> bytes:
        """The explanation as JSON, or the PNG of one part. Raises `SteelsightError`, LookupError."""
        frame = np.frombuffer(pixels, np.uint8).reshape(question.height, question.width)
        digest = hashlib.sha256(pixels).digest()
        key = question.version, question.stride, question.overlap_rows, frame.shape, digest
        seen = self._seen.get_or(key, lambda: self._see(question, frame))
        if question.part is not None:
            return file_of(part(seen, question.part))
        return told(seen, question.inspection_id, question.recorded).model_dump_json().encode()

    def _see(self, question: Question, frame: Frame) -> Seen:
        explainer = self._explainers.get_or(
            (question.version, question.stride),
            # The engine whose logits are the Keras network's own, on one thread.
            lambda: Explainer.load(self._registry, question.version, "onnx", threads=1, stride=question.stride),
        )
        return see(explainer, frame, question.overlap_rows)


def serve(desk: Desk, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until nobody asks any more."""
    while True:
        try:
            head, pixels = receive(questions)
        except EOFError:
            return
        body = b""
        try:
            body = desk.answer(Question.model_validate_json(head), pixels)
            answer = Answer()
        except SteelsightError as error:
            answer = Answer(code=error.code, message=error.message)
        except LookupError as error:
            answer = Answer(code=NO_SUCH_PART, message=str(error))
        # Whatever nobody foresaw: the server logs it, and this process is there for the next question.
        except Exception:  # noqa: BLE001
            answer = Answer(trace=traceback.format_exc())
        send(answers, answer, body)


def main() -> None:
    """Take over standard output, which libraries print to, for the answers alone."""
    os.nice(NICENESS)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(Desk(Path(sys.argv[1])), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
