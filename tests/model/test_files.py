"""model.files: there whole or not at all."""

import threading

import pytest

from model.files import exclusive, replace_text, sync_tree


def test_replacing_leaves_one_file_with_the_new_text(tmp_path):
    path = tmp_path / "note.json"
    for text in ("first", "zweite: größer", ""):
        replace_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["note.json"]


def test_readers_see_whole_texts_only(tmp_path):
    path, texts = tmp_path / "note", ["a" * 100_000, "b" * 100_000]
    replace_text(path, texts[0])
    seen, stopping = set(), threading.Event()

    def read():
        while not stopping.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        replace_text(path, texts[number % 2])
    stopping.set()
    reader.join()
    assert seen <= set(texts)


def test_what_cannot_be_written_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    path = tmp_path / "note"
    replace_text(path, "first")
    with pytest.raises(UnicodeEncodeError):
        replace_text(path, "\udc80")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_has_one_holder(tmp_path):
    lock = tmp_path / "lock"
    with exclusive(lock), pytest.raises(BlockingIOError), exclusive(lock, wait=False):
        pass
    with exclusive(lock, wait=False):
        pass


def test_a_lock_is_let_go_by_an_error(tmp_path):
    with pytest.raises(KeyError), exclusive(tmp_path / "lock"):
        raise KeyError
    with exclusive(tmp_path / "lock", wait=False):
        pass


def test_flushing_a_tree_changes_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("text")
    sync_tree(tmp_path)
    assert (tmp_path / "folder" / "file").read_text() == "text"
