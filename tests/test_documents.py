"""Every document and store that is read, damaged in any way: an error of ours or a value, and nothing else."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rich.console import Console

from miaudit.auditing import case_of_plan
from miaudit.auditing.scoring import score
from miaudit.auditing.shadow_data import STATE, _state
from miaudit.canaries import Canaries, load_planted, save_planted
from miaudit.canaries import plant as planted
from miaudit.canaries.folder import _seal
from miaudit.data import from_arrays, load, read_index
from miaudit.errors import MiauditError, StoreError
from miaudit.gate.canaries import CanaryFigures
from miaudit.paper import outcomes
from miaudit.plan import Plan
from miaudit.report import render, summary
from miaudit.result import Result
from miaudit.result.seal import Seal
from miaudit.store import Store
from miaudit.synthesis import Domain, Marginals, Synthesis, from_marginals
from miaudit.targets.ledger import Ledger

RNG = np.random.default_rng(0)
X, Y = np.round(RNG.normal(size=(40, 3)), 2), np.arange(40) % 2
DATA = from_arrays(X, Y)
DOMAIN = Domain.of(DATA)
KEY = "a" * 64


@dataclass(frozen=True)
class Kept:
    """A thing that is read: how it is written into a folder, the file that is damaged, and how it is read."""

    file: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]


def write_plan(folder: Path) -> None:
    (folder / "m.txt").write_text("1\n2\n")
    (folder / "plan.toml").write_text(
        """title = "a"
seed = 3
attacks = ["lira", { name = "shokri", epochs = 3 }]
[data]
path = "d.csv"
label = "y"
slices = ["a"]
[split]
members = 9
[recipe]
estimator = "sklearn.tree.DecisionTreeClassifier"
params = { max_depth = 3 }
steps = [{ class = "sklearn.preprocessing.StandardScaler" }]
[shadows]
count = 4
[figures]
delta = 1e-5
"""
    )
    write_table(folder)


def write_table(folder: Path) -> None:
    rows = [f"{a},{b},c{i % 3},{y}" for i, ((a, b, _), y) in enumerate(zip(X, Y, strict=True))]
    (folder / "d.csv").write_text("\n".join(["a,b,c,y", *rows, ""]))


def write_outputs(folder: Path) -> None:
    p = RNG.dirichlet(np.ones(2), 40)
    np.savez(folder / "o.npz", target=p, labels=Y, member=np.arange(40) < 20, ids=np.arange(40))


def write_result(folder: Path) -> None:
    write_outputs(folder)
    score(folder / "o.npz").save(folder)


def show_result(folder: Path) -> None:
    result = Result.load(folder)
    render(result)
    summary(result, Console(file=io.StringIO()))
    result._repr_html_()
    result.to_json()


def write_canaries(folder: Path) -> None:
    save_planted(planted(DATA, Canaries(count=10, guesses_in=2, guesses_out=2), seed=1), folder)


def write_row(folder: Path) -> None:
    Store(folder).put(KEY, {"outputs": X.astype(np.float32)}, {"seconds": 1.0})


def read_row(folder: Path) -> None:
    store = Store(folder)
    row = store.get(KEY)
    if row is not None:
        store.part(KEY, "outputs", 0, 2)


def write_ledger(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.close()
    line = {"event": "send", "request": 1, "attempt": 1, "records": 3, "hash": "x"}
    (folder / "queries.jsonl").write_text(json.dumps(line) + "\n")


def read_ledger(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.known(b"x")
    ledger.close()


def write_synthesis(folder: Path) -> None:
    from_marginals(Marginals.of(DATA, DOMAIN, by_class=True), 20, seed=1).save(folder)


def write_state(folder: Path) -> None:
    np.savez(folder / STATE, of=np.array(KEY), values=X)


READ = {
    "plan": Kept("plan.toml", write_plan, lambda f: case_of_plan(Plan.load(f / "plan.toml"))),
    "table": Kept("d.csv", write_table, lambda f: load(f / "d.csv", label="y")),
    "arrays": Kept("a.npz", lambda f: np.savez(f / "a.npz", X=X, y=Y), lambda f: load(f / "a.npz", label="y")),
    "record numbers": Kept(
        "i.txt", lambda f: (f / "i.txt").write_text("1\n2\n3\n"), lambda f: read_index(f / "i.txt", 9)
    ),
    "record numbers npy": Kept(
        "i.npy", lambda f: np.save(f / "i.npy", np.arange(3)), lambda f: read_index(f / "i.npy", 9)
    ),
    "outputs": Kept("o.npz", write_outputs, lambda f: score(f / "o.npz")),
    "result": Kept("result.json", write_result, show_result),
    "records": Kept("records.csv", write_result, Result.load),
    "sealed canaries": Kept("sealed.json", write_canaries, load_planted),
    "canaries": Kept("canaries.npz", write_canaries, load_planted),
    "row": Kept(f"rows/{KEY}.safetensors", write_row, read_row),
    "store": Kept("store.json", write_row, read_row),
    "log of queries": Kept("queries.jsonl", write_ledger, read_ledger),
    "answers": Kept("answers.sqlite", write_ledger, read_ledger),
    "synthesis": Kept("synthesis.json", write_synthesis, lambda f: Synthesis.load(f, DOMAIN, DATA.classes)),
    "synthetic records": Kept("synthesis.npz", write_synthesis, lambda f: Synthesis.load(f, DOMAIN, DATA.classes)),
    "climbs": Kept(STATE, write_state, lambda f: _state(f, KEY)),
    "marginals": Kept(
        "m.json",
        lambda f: (f / "m.json").write_text(Marginals.of(DATA, DOMAIN, by_class=True).to_json()),
        lambda f: Marginals.load(f / "m.json", DOMAIN, DATA.classes, by_class=True),
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a folder for each thing that is read, whole."""
    made = {}
    for name, kept in READ.items():
        made[name] = tmp_path_factory.mktemp("whole")
        kept.write(made[name])
    return made


def value_or_error(kept: Kept, folder: Path) -> None:
    with suppress(MiauditError):
        kept.read(folder)


def damaged(folders: dict[str, Path], name: str, scratch: Path, damage: Callable[[bytes], bytes]) -> Path:
    folder = scratch / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folders[name], folder)
    file = folder / READ[name].file
    file.write_bytes(damage(file.read_bytes()))
    return folder


def test_all_are_read_while_they_are_whole(folders):
    for name, kept in READ.items():
        assert kept.read(folders[name]) is not None or name in (
            "row",
            "store",
            "answers",
            "log of queries",
            "result",
            "records",
        )


DEEP = 60_000
TEXTS = {
    "nothing": b"",
    "no utf-8": b"\xff\xfe\x00\xd8",
    "zeros": bytes(4096),
    "deep lists": b"[" * DEEP,
    "deep lists, closed": b"[" * DEEP + b"]" * DEEP,
    "deep tables": b'{"a":' * DEEP,
    "deep toml": b"a = " + b"[" * DEEP + b"]" * DEEP,
    "deep toml tables": b"a = " + b"{a = " * 5000,
    "dotted toml": b".".join([b"a"] * 5000) + b" = 1",
    "null": b"null",
    "a number": b"1e999",
    "a long number": b"9" * 5000,
    "NaN": b'{"schema_version": NaN}',
    "half a character": b'{"schema_version": "\\ud800", "\\ud800": 1}',
    "a mark": b"\xef\xbb\xbf{}",
    "a pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "an empty zip": b"PK\x05\x06" + bytes(18),
    "lines": b"\n" * 5000,
    "quotes": b'"' * 5001,
    "an sqlite head": b"SQLite format 3\x00" + bytes(200),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_no_such_document_is_an_error_or_nothing(folders, name, tmp_path):
    for content in TEXTS.values():
        value_or_error(READ[name], damaged(folders, name, tmp_path, lambda _, content=content: content))


@pytest.mark.parametrize("name", READ)
def test_a_folder_in_the_place_of_a_file_is_an_error_or_nothing(folders, name, tmp_path):
    shutil.copytree(folders[name], tmp_path / "copy")
    file = tmp_path / "copy" / READ[name].file
    file.unlink()
    file.mkdir()
    value_or_error(READ[name], tmp_path / "copy")
    shutil.rmtree(file, ignore_errors=True)
    file.symlink_to(file)  # to itself
    value_or_error(READ[name], tmp_path / "copy")


some = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
many = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def cut_or_changed(draw: Callable[..., Any], content: bytes) -> bytes:
    """Return bytes of a file that was cut short, overwritten in the middle, or written twice."""
    at = draw(st.integers(0, len(content)))
    return content[:at] + draw(st.binary(max_size=20)) + content[draw(st.integers(at, len(content))) :]


NASTY = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        2**63,
        10**400,
        1e308,
        -1e308,
        5e-324,
        "",
        "\x00",
        "\x1b[31m",
        "x" * 9999,
        "1e999",
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"a": {"a": []}},
        [1e308] * 3,
        "../../etc/passwd",
        "nan",
        "9" * 500,
        float("nan"),
        float("inf"),
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, of in inner for place in places(of, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    if not path:
        return to
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], to)
    return copy


def other_values(draw: Callable[..., Any], content: bytes) -> bytes:
    """Return a JSON document with other values in some places, and, if it has one, a seal that fits."""
    document = json.loads(content)
    for _ in range(draw(st.integers(1, 3))):
        if document not in ({}, []) and isinstance(document, dict | list):
            document = changed(document, draw(st.sampled_from(places(document)[1:])), draw(NASTY))
    if isinstance(document, dict) and "seal" in document and draw(st.booleans()):
        document.pop("seal")
        document["seal"] = _seal(document)
    return json.dumps(document).encode()


def bytes_property(max_examples: settings) -> Any:
    @max_examples
    @given(st.data())
    def check(folders, name, scratch, data):
        folder = damaged(folders, name, scratch, lambda content: cut_or_changed(data.draw, content))
        value_or_error(READ[name], folder)

    return check


def values_property(max_examples: settings) -> Any:
    @max_examples
    @given(st.data())
    def check(folders, name, scratch, data):
        folder = damaged(folders, name, scratch, lambda content: other_values(data.draw, content))
        value_or_error(READ[name], folder)

    return check


JSON = [name for name, kept in READ.items() if kept.file.endswith(".json")]
PLAN = {
    "title": "a",
    "seed": 3,
    "attacks": ["lira", {"name": "shokri", "epochs": 3, "learning_rate": 0.1, "l2": 0.1}],
    "data": {"name": "digits", "options": {}, "slices": []},
    "split": {"members": 20, "nonmembers": 20, "outside": 3},
    "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 3}, "steps": []},
    "shadows": {"count": 4, "train": 10, "test": 10},
    "synthesis": {"records": 5, "rate": 0.1},
    "figures": {"delta": 1e-5},
    "engine": {"jobs": 0, "time_limit": 3.0},
}


def plan_property(max_examples: settings, recipe: dict[str, Any]) -> Any:
    @max_examples
    @given(st.data())
    def check(data):
        plan: Any = {**PLAN, "recipe": recipe}
        for _ in range(data.draw(st.integers(1, 3))):
            plan = changed(plan, data.draw(st.sampled_from(places(plan)[1:])), data.draw(NASTY))
        with suppress(MiauditError):
            case_of_plan(Plan.of(plan))

    return check


RECIPES = {
    "estimator": PLAN["recipe"],
    "network": {"network": {"hidden": [4], "epochs": 2, "learning_rate": 0.1, "activation": "relu", "dropout": 0.1}},
    "standin": {"standin": "amazon-like", "params": {"passes": 2, "l2": 0.1, "bins": 3}},
    "service": {
        "service": {
            "train": "http://127.0.0.1:9/t",
            "status": "http://127.0.0.1:9/{job}",
            "params": {"a": [1]},
            "wire": {"format": "instances", "model": "a"},
            "done": ["a"],
            "headers": {"a": "b"},
            "batch": 3,
            "poll": 0.1,
            "ca": "x",
        }
    },
}


@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_is_an_error_or_nothing(folders, name, tmp_path):
    bytes_property(some)(folders, name, tmp_path)


@pytest.mark.parametrize("name", JSON)
def test_other_values_in_a_document_are_an_error_or_a_value(folders, name, tmp_path):
    values_property(some)(folders, name, tmp_path)


@pytest.mark.parametrize("recipe", RECIPES)
def test_other_values_in_a_plan_are_an_error_or_a_case(recipe):
    plan_property(some, RECIPES[recipe])()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", READ)
def test_a_file_damaged_in_many_ways_is_an_error_or_nothing(folders, name, tmp_path):
    bytes_property(many)(folders, name, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", JSON)
def test_many_other_values_in_a_document_are_an_error_or_a_value(folders, name, tmp_path):
    values_property(many)(folders, name, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("recipe", RECIPES)
def test_many_other_values_in_a_plan_are_an_error_or_a_case(recipe):
    plan_property(many, RECIPES[recipe])()


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("audit.json", CanaryFigures.load),
        ("seal.json", Seal.load),
        ("outcome.json", lambda folder: outcomes.load(folder / "outcome.json")),
    ],
)
@pytest.mark.parametrize("content", [[], {"canaries": -1}, {"guesses": "x", "files": 3, "setting": [1]}])
def test_a_file_that_is_no_such_document_is_explained_in_our_words(tmp_path, name, load, content):
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(StoreError, match=rf"{name} is no .+: .+") as caught:
        load(tmp_path)
    assert not any(words in str(caught.value) for words in ("pydantic", "Input", "Field required", "Value error"))


def test_impossible_counts_of_a_canary_audit_are_explained(tmp_path):
    audit = {"canaries": 5, "guesses": 9, "correct": 1, "delta": 0.1, "warnings": []}
    (tmp_path / "audit.json").write_text(json.dumps(audit))
    with pytest.raises(
        StoreError, match="no canary audit: it: 1 right of 9 guesses on 5 canaries are impossible; write it"
    ):
        CanaryFigures.load(tmp_path)
