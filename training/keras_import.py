"""The import of Keras, without what its libraries say of the machine meanwhile."""

import os
import sys
from tempfile import TemporaryFile

STDERR = 2


def import_keras() -> None:
    """Import it, and TensorFlow with it, so that every later import of either finds it there.

    That there is no GPU and which kernels are used, TensorFlow writes to the terminal itself, and TF_CPP_MIN_LOG_LEVEL
    does not reach these lines (tensorflow/tensorflow#100442). They are told if the import fails.
    """
    sys.stderr.flush()
    terminal = os.dup(STDERR)
    with TemporaryFile() as said:
        os.dup2(said.fileno(), STDERR)
        try:
            import keras  # noqa: F401
        except Exception:
            said.seek(0)
            os.write(terminal, said.read())
            raise
        finally:
            os.dup2(terminal, STDERR)
            os.close(terminal)
