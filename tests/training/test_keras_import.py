"""What the libraries below Keras say of the machine is told only where their import fails."""

import os
import sys

import pytest

from training.keras_import import import_keras


@pytest.fixture
def keras_that(tmp_path, monkeypatch):
    """`keras_that(does)`: another module takes its place."""

    def write(does: str) -> None:
        (tmp_path / "keras.py").write_text(f"import os\nos.write(2, b'no such kernel ')\n{does}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "keras", raising=False)

    yield write
    sys.modules.pop("keras", None)


@pytest.mark.parametrize("does", ["", "raise KeyboardInterrupt"])
def test_nothing_is_told_else_and_what_is_said_later_is(keras_that, capfd, does):
    keras_that(does)
    try:
        import_keras()
    except KeyboardInterrupt:
        assert does
    os.write(2, b"a warning")
    assert capfd.readouterr().err == "a warning"


def test_what_was_said_before_a_failure_is_told(keras_that, capfd):
    keras_that("raise ImportError('broken')")
    with pytest.raises(ImportError, match="broken"):
        import_keras()
    os.write(2, b"a warning")
    assert capfd.readouterr().err == "no such kernel a warning"
