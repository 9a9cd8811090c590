from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB

import miaudit
from miaudit import files
from miaudit import store as store_module
from miaudit.errors import StoreError
from miaudit.store import Store, content_key, packed

OUTPUTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def stored(folder: Path) -> Store:
    store = Store(folder)
    store.put("k" * 64, {"outputs": OUTPUTS}, {"name": "shadow 0", "train_accuracy": 0.5})
    return store


def test_a_row_comes_back_as_it_went_in(tmp_path):
    row = stored(tmp_path).get("k" * 64)
    assert row is not None
    np.testing.assert_array_equal(row.arrays["outputs"], OUTPUTS)
    assert row.facts == {"name": "shadow 0", "train_accuracy": 0.5}
    assert Store(tmp_path).get("other") is None


@given(cut=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_half_written_row_is_not_there_and_is_set_aside(tmp_path_factory, cut):
    store = stored(tmp_path_factory.mktemp("store"))
    path = store.path("k" * 64)
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content) - 1)])
    assert store.get("k" * 64) is None
    assert not store.keys()
    assert "damaged row" in (store.folder / "journal.jsonl").read_text()


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=100, deadline=None)
def test_a_flipped_bit_is_found_by_the_checksum(tmp_path_factory, position, bit):
    store = stored(tmp_path_factory.mktemp("store"))
    path = store.path("k" * 64)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(bytes(content))
    row = store.get("k" * 64)
    if row is not None:  # a flip in the padding of the header changes nothing that is read
        np.testing.assert_array_equal(row.arrays["outputs"], OUTPUTS)
        assert row.facts == {"name": "shadow 0", "train_accuracy": 0.5}


def test_a_row_under_a_wrong_name_is_not_believed(tmp_path):
    store = stored(tmp_path)
    os.replace(store.path("k" * 64), store.path("j" * 64))
    assert store.get("j" * 64) is None


def test_a_store_of_a_newer_miaudit_is_refused_and_left_alone(tmp_path):
    stored(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(StoreError, match="schema version 99.*upgrade miaudit"):
        Store(tmp_path)
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_an_unreadable_store_file_is_explained(tmp_path):
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        Store(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    store = stored(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError, match="no space left.*keeps every finished row"):
        store.put("j" * 64, {"outputs": OUTPUTS}, {})
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "rows").iterdir()] == [f"{'k' * 64}.safetensors"]
    assert store.get("k" * 64) is not None


def test_a_temporary_folder_that_cannot_be_made_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path / "missing"))
    X, y = load_iris(return_X_y=True)
    sides = {"members": (X[::2], y[::2]), "nonmembers": (X[1::2], y[1::2])}
    model = GaussianNB().fit(*sides["members"])
    for act in (miaudit.audit, miaudit.forecast):
        with pytest.raises(StoreError, match="missing.*set TMPDIR to another folder"):
            act(model, **sides, jobs=0)


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to .*file.*output folder"):
        Store(tmp_path / "file" / "store")


def test_keys_do_not_depend_on_the_order_of_their_parts_but_on_every_part():
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert len({content_key(parts) for parts in ({"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1}, {"a": [1]})}) == 5


def test_sweeping_removes_only_old_temporary_files(tmp_path):
    store = stored(tmp_path)
    Store(store.states).put("s" * 64, {"tensor": np.zeros(3)}, {})
    folders = [tmp_path, tmp_path / "rows", store.states, store.states / "rows"]
    young, old = ([folder / f"{name}.0a1b2c3d.tmp" for folder in folders] for name in ("young", "old"))
    others = [tmp_path / "notes.tmp"]  # of somebody else
    for path in (*young, *old, *others):
        path.write_text("")
    for path in (*old, *others):
        os.utime(path, (0, 0))
    store.sweep()
    assert all(path.exists() for path in (*young, *others))
    assert not any(path.exists() for path in old)
    assert store.get("k" * 64) is not None
    assert Store(store.states).get("s" * 64) is not None


def test_a_part_of_a_row_is_read_alone_and_a_row_that_is_gone_is_explained(tmp_path):
    store, outputs = Store(tmp_path), np.arange(12, dtype=np.float32).reshape(6, 2)
    store.put("k", {"outputs": outputs, "other": np.zeros(3)}, {})
    np.testing.assert_array_equal(store.part("k", "outputs", 2, 5), outputs[2:5])
    store.path("k").unlink()
    with pytest.raises(StoreError, match=r"the row k is gone from .*; run the audit again"):
        store.part("k", "outputs", 0, 1)


WHOLE = {"name": "shadow", "seconds": 0.5}


def spoiled(store: Store, states: dict[str, str]) -> None:
    """Write rows of these keys that are whole, cut short, altered, of another name, only begun, or not there."""
    for key, state in states.items():
        path = store.path(key)
        if state == "begun":
            path.with_name(f"{path.name}.0a1b2c3d.tmp").write_bytes(packed(key, {"outputs": OUTPUTS}, WHOLE))
        elif state != "missing":
            store.put(key, {"outputs": OUTPUTS}, WHOLE | {"key": key})
        if state == "cut":
            path.write_bytes(path.read_bytes()[:-7])
        elif state == "altered":
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        elif state == "of another name":
            path.write_bytes(packed("z" * 64, {"outputs": OUTPUTS}, WHOLE))


@given(
    st.dictionaries(
        st.text("0123456789abcdef", min_size=1, max_size=4),
        st.sampled_from(["whole", "cut", "altered", "of another name", "begun", "missing"]),
        max_size=12,
    )
)
@settings(max_examples=15, deadline=None)
def test_what_is_known_of_many_rows_is_what_is_known_of_each(tmp_path_factory, states):
    many, each = (Store(tmp_path_factory.mktemp("store")) for _ in range(2))
    for store in (many, each):
        spoiled(store, states)
    assert many.keys() == {key for key in states if each.path(key).exists()}
    assert many.size(states) == sum(each.path(key).stat().st_size for key in each.keys() & states.keys())
    rows = {key: row for key in states if (row := each.get(key)) is not None}
    assert many.facts([*states, *states]) == {key: row.facts for key, row in rows.items()}
    assert sorted(rows) == sorted(key for key, state in states.items() if state == "whole")
    assert sorted(many.damaged) == sorted(each.damaged)
    names = [sorted(path.name for path in (store.folder / "rows").iterdir()) for store in (many, each)]
    assert names[0] == names[1]
    assert many.keys() == rows.keys()


def test_rows_that_another_program_writes_meanwhile_are_whole_or_not_there(tmp_path):
    keys, here, there = [f"{i:03}" for i in range(100)], Store(tmp_path), Store(tmp_path)
    content = {key: packed(key, {"outputs": OUTPUTS}, {"key": key}) for key in keys}
    writer = threading.Thread(target=lambda: [there.put_packed(key, content[key]) for key in keys])
    writer.start()
    while writer.is_alive():
        facts = here.facts(keys)
        assert all(facts[key] == {"key": key} for key in facts)
        assert facts.keys() <= here.keys()
    writer.join()
    assert here.facts(keys).keys() == set(keys)
    assert not here.damaged


def test_a_damaged_row_that_another_program_sets_aside_first_is_missing_here(tmp_path, monkeypatch):
    store = Store(tmp_path)
    spoiled(store, {"k": "cut"})
    monkeypatch.setattr(store, "note", lambda *_, **__: store.path("k").unlink())
    assert store.get("k") is None


NUMBERS = [errno.EIO, errno.EACCES, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, None]


def refusing(number: int | None, *names: str):
    """Return what makes a function raise an OSError of this number for paths with these ends."""

    def of(act):
        def refused(path, *arguments, **options):
            if str(path).endswith(names):
                raise OSError("no reason given") if number is None else OSError(number, os.strerror(number), str(path))
            return act(path, *arguments, **options)

        return refused

    return of


@pytest.mark.parametrize("number", NUMBERS)
def test_a_row_that_cannot_be_read_for_now_is_left_as_it_is(tmp_path, monkeypatch, number):
    """Servers that are away answer EIO too, so that what a disk has lost is for its owner to remove."""
    store, key = stored(tmp_path), "k" * 64
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refusing(number, ".safetensors")(Path.open))
        patch.setattr("safetensors.safe_open", refusing(number, ".safetensors")(safetensors.safe_open))
        for act in (lambda: store.get(key), lambda: store.facts([key]), lambda: store.part(key, "outputs", 0, 1)):
            with pytest.raises(
                StoreError, match=rf"cannot read .*{key}.*left as it is.*lost it for good, remove the file"
            ):
                act()
    assert store.get(key) is not None
    assert not store.damaged


def test_a_row_whose_place_a_folder_has_is_set_aside(tmp_path):
    store = Store(tmp_path)
    store.path("k").mkdir()
    assert store.get("k") is None
    assert (store.damaged, store.keys()) == (["k"], set())


@pytest.mark.parametrize("number", NUMBERS)
def test_a_folder_that_cannot_be_listed_for_now_is_told_and_its_size_ends_no_run(tmp_path, monkeypatch, number):
    store, key = stored(tmp_path), "k" * 64
    monkeypatch.setattr(os, "scandir", refusing(number, "rows")(os.scandir))
    for act in (store.keys, lambda: store.facts([key])):
        with pytest.raises(StoreError, match="cannot read .*rows.*run again"):
            act()
    assert store.size([key]) == 0
    store.sweep()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_version_that_cannot_be_read_for_now_is_not_written_anew(tmp_path, monkeypatch, number):
    stored(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps({"schema_version": 99}))
    with monkeypatch.context() as patch:
        for name in ("open", "stat"):
            patch.setattr(Path, name, refusing(number, "store.json")(getattr(Path, name)))
        with pytest.raises(StoreError, match="cannot read .*store.json"):
            Store(tmp_path)
    with pytest.raises(StoreError, match="schema version 99"):
        Store(tmp_path)


def test_a_damaged_row_that_cannot_be_set_aside_is_told(tmp_path, monkeypatch):
    store = Store(tmp_path)
    spoiled(store, {"k": "cut"})
    monkeypatch.setattr(Path, "replace", refusing(errno.EACCES, ".safetensors")(Path.replace))
    with pytest.raises(StoreError, match="cannot write to .*Permission denied"):
        store.get("k")


def test_that_no_thread_can_be_started_is_told(tmp_path, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    store = stored(tmp_path)
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(StoreError, match=r"can't start new thread.*ulimit -u"):
        store.facts(["k" * 64])


def test_a_part_of_a_row_that_was_damaged_since_is_told_and_the_row_is_made_again(tmp_path):
    store = stored(tmp_path)
    spoiled(store, {"j": "whole"})
    store.path("j").write_bytes(b"")
    with pytest.raises(StoreError, match="or was damaged since it was written .*run the audit again"):
        store.part("j", "outputs", 0, 1)
    assert (store.damaged, store.keys()) == (["j"], {"k" * 64})


class Counted(bytes):
    """The content of a file, which counts how many bytes of such contents there are at once."""

    now, most, lock = 0, 0, threading.Lock()

    @classmethod
    def of(cls, content: bytes) -> Counted:
        with cls.lock:
            cls.now += len(content)
            cls.most = max(cls.most, cls.now)
        return cls(content)

    def __del__(self) -> None:
        with self.lock:
            Counted.now -= len(self)


class CountedFile(io.BufferedReader):
    def read(self, size: int | None = -1) -> bytes:
        content = Counted.of(super().read(size))
        time.sleep(0.003)  # until others have come, too
        return content


@pytest.mark.parametrize("first", ["small", "cut to nothing", "large"])
@pytest.mark.parametrize("at_once", [1, 0, 3, 100])
def test_rows_that_are_read_at_once_have_room_together_whatever_their_sizes(tmp_path, monkeypatch, first, at_once):
    store, keys = Store(tmp_path), [f"{i:03}" for i in range(17)]
    for key in keys:
        size = 10 if first != "large" and key == keys[0] else 1_000
        (tmp_path / "rows" / f"{key}.safetensors").write_bytes(packed(key, {"outputs": np.zeros(size)}, {"key": key}))
    if first == "cut to nothing":
        store.path(keys[0]).write_bytes(b"")
    large = store.path(keys[-1]).stat().st_size
    monkeypatch.setattr(store_module, "_MOST_BYTES", at_once * large + large // 2)
    monkeypatch.setattr(Path, "open", lambda path, mode: CountedFile(io.FileIO(path)))
    monkeypatch.setattr(Counted, "most", 0)
    assert store.facts(keys).keys() == set(keys[first == "cut to nothing" :])
    room = max(large, store_module._MOST_BYTES)
    assert Counted.now == 0
    assert large <= Counted.most <= room
    assert (Counted.most >= 2 * large) == (at_once > 1)


def test_a_folder_of_rows_that_is_gone_holds_none(tmp_path):
    store = stored(tmp_path)
    store.path("k" * 64).unlink()
    (tmp_path / "rows").rmdir()
    assert (store.keys(), store.size(["k" * 64]), store.facts(["k" * 64])) == (set(), 0, {})
