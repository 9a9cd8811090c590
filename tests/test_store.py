from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    assert not store.has("k" * 64)
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
    with pytest.raises(StoreError, match="no space left.*every finished row is kept"):
        store.put("j" * 64, {"outputs": OUTPUTS}, {})
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "rows").iterdir()] == [f"{'k' * 64}.safetensors"]
    assert store.get("k" * 64) is not None


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
    assert many.keys() == {key for key in states if each.has(key)}
    assert many.size(states) == sum(each.path(key).stat().st_size for key in states if each.has(key))
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


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT])
def test_a_row_that_cannot_be_read_for_now_is_left_as_it_is(tmp_path, monkeypatch, number):
    store = stored(tmp_path)
    key = "k" * 64
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "read_bytes", lambda path: (_ for _ in ()).throw(OSError(number, os.strerror(number), path))
        )
        for act in (lambda: store.get(key), lambda: store.facts([key])):
            with pytest.raises(StoreError, match="left as it is"):
                act()
    assert store.get(key) is not None
    assert not store.damaged


def test_a_row_that_the_disk_lost_is_set_aside(tmp_path, monkeypatch):
    store = stored(tmp_path)
    key = "k" * 64
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(OSError(errno.EIO, "lost", path)))
        assert store.get(key) is None
    assert store.damaged == [key]
    assert not store.has(key)


def test_rows_that_are_large_are_read_one_at_a_time(tmp_path, monkeypatch):
    store, keys = Store(tmp_path), [f"{i:03}" for i in range(12)]
    for key in keys:
        store.put(key, {"outputs": OUTPUTS}, {"key": key})
    monkeypatch.setattr(store_module, "_MOST_BYTES", 1)
    read, at_once = Store.get, [0, 0]

    def get(of, key):
        at_once[0] += 1
        at_once[1] = max(at_once)
        time.sleep(0.01)
        at_once[0] -= 1
        return read(of, key)

    monkeypatch.setattr(Store, "get", get)
    assert store.facts(keys).keys() == set(keys)
    assert at_once[1] == 1


def test_a_folder_of_rows_that_is_gone_holds_none(tmp_path):
    store = stored(tmp_path)
    store.path("k" * 64).unlink()
    (tmp_path / "rows").rmdir()
    assert (store.keys(), store.size(["k" * 64]), store.facts(["k" * 64])) == (set(), 0, {})
