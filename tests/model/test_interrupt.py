"""Ctrl-C comes when it is asked for, once at the end, and at once when it is meant twice."""

import signal
import subprocess
import sys
import threading

import pytest

from model.interrupt import Interruptions, importing


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_it_comes_at_the_next_check_and_not_before():
    done = []
    with pytest.raises(KeyboardInterrupt), Interruptions() as interruptions:
        interruptions.check()
        press()
        done.append("the step is finished")
        interruptions.check()
        done.append("never")
    assert done == ["the step is finished"]


def test_what_nobody_checked_comes_at_the_end():
    with pytest.raises(KeyboardInterrupt), Interruptions():
        press()


def test_a_second_one_does_not_wait():
    done = []
    with pytest.raises(KeyboardInterrupt), Interruptions():
        press()
        press()
        done.append("never")
    assert not done


def test_an_error_is_not_hidden_behind_it():
    with pytest.raises(ValueError, match="the reason"), Interruptions():
        press()
        raise ValueError("the reason")


def test_afterwards_everything_is_as_before():
    before = signal.getsignal(signal.SIGINT)
    with Interruptions():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        press()


def test_where_it_is_ignored_it_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruptions() as interruptions:
            press()
            interruptions.check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_the_main_one_alone():
    before = signal.getsignal(signal.SIGINT)
    found = []

    def enter() -> None:
        with Interruptions():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]


def test_while_a_command_is_imported_it_comes_after_that_and_is_one_line(capsys):
    done = []
    with pytest.raises(SystemExit) as stopped, importing():
        press()
        done.append("imported")
    assert done == ["imported"]
    assert (stopped.value.code, capsys.readouterr().err) == (130, "stopped\n")


@pytest.mark.parametrize("package", ["app", "model", "training"])
def test_no_command_ends_in_a_traceback_however_early_it_is_stopped(package):
    # The interpreter tells of every module that it has imported: these come first of hundreds.
    command = [sys.executable, "-X", "importtime", "-m", package, "--help"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        told = iter(process.stderr)
        assert any(line.endswith(" model.interrupt\n") for line in told)
        assert next(told)
        process.send_signal(signal.SIGINT)
        *imported, last = told
        assert process.wait(30) == 130
    assert last == "stopped\n"
    assert all(line.startswith("import time:") for line in imported)
