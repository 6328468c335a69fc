"""What stands in log.csv and in the event file, and that a resumed run has every epoch once."""

import csv
from pathlib import Path

import pytest

from training.checkpoint import Epoch, State


def state(*losses: float) -> State:
    history = (
        Epoch(number=number, loss=loss, validation_auroc=0.5 + 0.1 * number, learning_rate=0.01 / number)
        for number, loss in enumerate(losses, start=1)
    )
    return State(history=tuple(history))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    """Step and value of a figure in all event files, as TensorBoard reads them."""
    import tensorflow as tf

    found = []
    for record in tf.data.TFRecordDataset(sorted(map(str, (folder / "tensorboard").iterdir()))):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            if value.tag == name:
                found.append((event.step, float(tf.make_ndarray(value.tensor))))
    return found


def logged(folder: Path, *, before: State, after: State) -> None:
    """What a process writes that finds a run `before` and ends `after`."""
    from training.logs import Log

    with Log(folder, before, steps=10) as log:
        for epoch in after.history[before.finished :]:
            log.add(epoch, seconds=1.5 * epoch.number)


def test_every_epoch_can_be_read_at_once(tmp_path):
    from training.logs import Log

    with Log(tmp_path, State(), steps=10) as log:
        log.add(state(0.7).history[0], 2.0)
        assert [row["epoch"] for row in rows(tmp_path)] == ["1"]
        assert scalars(tmp_path, "loss") == [(10, pytest.approx(0.7))]


def test_figures_stand_in_the_table_and_in_the_event_file(tmp_path):
    logged(tmp_path, before=State(), after=state(0.7, 0.5))
    assert rows(tmp_path)[1] == {
        "epoch": "2",
        "step": "20",
        "loss": "0.5",
        "validation_auroc": "0.7",
        "validation_accuracy": "",
        "learning_rate": "0.005",
        "seconds": "3.0",
    }
    assert scalars(tmp_path, "loss") == [(10, pytest.approx(0.7)), (20, pytest.approx(0.5))]
    assert scalars(tmp_path, "validation_auroc") == [(10, pytest.approx(0.6)), (20, pytest.approx(0.7))]
    assert not scalars(tmp_path, "validation_accuracy")


@pytest.mark.parametrize("left", ["", "3,30,0.4,,,0.1,9.0\n3,30,0.3", "garbage\n\x00,,"])
def test_a_resumed_run_has_every_epoch_once(left, tmp_path):
    """The killed process may have logged an epoch that it never kept, or half a line."""
    logged(tmp_path, before=State(), after=state(0.7, 0.5))
    with (tmp_path / "log.csv").open("a") as file:
        file.write(left)
    logged(tmp_path, before=state(0.7, 0.5), after=state(0.7, 0.5, 0.2))
    found = rows(tmp_path)
    assert [(row["epoch"], row["loss"], row["seconds"]) for row in found] == [
        ("1", "0.7", "1.5"),
        ("2", "0.5", "3.0"),
        ("3", "0.2", "4.5"),
    ]
    assert [step for step, _ in scalars(tmp_path, "loss")] == [10, 20, 30]


def test_a_lost_log_is_made_anew_from_the_state(tmp_path):
    logged(tmp_path, before=state(0.7), after=state(0.7, 0.5))
    assert [(row["epoch"], row["seconds"]) for row in rows(tmp_path)] == [("1", ""), ("2", "3.0")]
