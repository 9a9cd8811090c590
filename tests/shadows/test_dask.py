"""The engine on a Dask cluster of processes of this machine."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from breaking import KillsItsWorkerAlways, points
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.data import from_arrays
from miaudit.errors import PlanError, PoolError, TimeLimitError
from miaudit.recipes import as_recipe
from miaudit.seeds import child_seed
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store

distributed = pytest.importorskip("distributed")

from cluster import Cluster, Host, alive, kill, wait_for  # noqa: E402  needs distributed

import miaudit.shadows.dask as ours  # noqa: E402

DATA = from_arrays(*points())


def pool(folder: Path, estimator, *, shadows: int = 4, seed: int = 0) -> ShadowPool:
    draws = draw_disjoint(np.arange(100, 300), shadows=shadows, train=60, test=60, seed=seed)
    return ShadowPool(DATA, as_recipe(estimator), draws, Store(folder), seed)


def rows(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in (folder / "rows").glob("*.safetensors")}


@pytest.fixture(scope="module")
def host():
    made = Host()
    yield made
    made.close()


@pytest.fixture
def cluster(host, tmp_path_factory, request):
    made = Cluster(host, tmp_path_factory.mktemp("dask"), workers=getattr(request, "param", 2))
    yield made
    made.close()


@pytest.fixture(scope="module")
def calm(host, tmp_path_factory):
    """Return a cluster that nobody kills."""
    made = Cluster(host, tmp_path_factory.mktemp("calm"))
    yield made
    made.close()


class Patient(DecisionTreeClassifier):
    """Signs a ledger, and after so many signatures waits to be let go; the workers have no such module."""

    def __init__(self, ledger: str = "", free: int = 999, random_state: int = 0) -> None:
        super().__init__(random_state=random_state)
        self.ledger = ledger
        self.free = free

    def fit(self, X, y):
        with Path(self.ledger).open("a") as file:
            file.write(f"{os.getpid()}\n")
        late = time.monotonic() + 60
        while len(trainers(Path(self.ledger))) > self.free and not Path(f"{self.ledger}.go").exists():
            assert time.monotonic() < late
            time.sleep(0.02)
        return super().fit(X, y)


def trainers(ledger: Path) -> list[int]:
    return [int(line) for line in ledger.read_text().split()] if ledger.exists() else []


def in_background(act) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_an_audit_on_a_cluster_ends_with_the_document_of_a_local_one(tmp_path, calm):
    def document(name: str, **options) -> str:
        plan = {
            "data": {"name": "digits"},
            "split": {"members": 60, "nonmembers": 60},
            "recipe": {"estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 5}},
            "shadows": {"count": 4},
            "attacks": [{"name": "shokri", "epochs": 2}, "threshold"],
            **options.pop("plan", {}),
        }
        miaudit.audit(plan, out=tmp_path / name, **options)
        content = json.loads((tmp_path / name / "result.json").read_text())
        assert content.pop("provenance")["jobs"] == 2
        return json.dumps(content)

    local = document("local", jobs=2)
    assert document("far", plan={"engine": {"kind": "dask", "address": calm.address}}, allow_code=True) == local
    for name, path in rows(tmp_path / "far").items():
        np.testing.assert_array_equal(
            Store(tmp_path / "local").get(name).arrays["outputs"], Store(tmp_path / "far").get(name).arrays["outputs"]
        )
        assert b"pickle" not in path.read_bytes()
    kinds = {path.suffix for path in (tmp_path / "far").rglob("*") if path.is_file()}
    assert kinds == {".json", ".csv", ".html", ".safetensors"}
    assert len(rows(tmp_path / "far")) == 5


class Grouped:
    """A recipe that trains up to three models together, and tells how many."""

    name = "grouped"

    def __init__(self, ledger: str) -> None:
        self.ledger = ledger

    def describe(self):
        return {"recipe": self.name, "libraries": {"numpy": np.__version__}}

    def group_width(self, shape, classes):
        return 3

    def fit(self, X, y, *, classes, seed):
        return as_recipe(DecisionTreeClassifier()).fit(X, y, classes=classes, seed=seed)

    def fit_many(self, X, y, *, indices, classes, seeds):
        with Path(self.ledger).open("a") as file:
            file.write(f"{len(seeds)}\n")
        return [self.fit(X[i], y[i], classes=classes, seed=s) for i, s in zip(indices, seeds, strict=True)]


def test_models_travel_in_groups_small_enough_for_all_workers(tmp_path, calm):
    draws = draw_disjoint(np.arange(100, 300), shadows=8, train=60, test=60, seed=0)
    for shadows, groups in ((4, [2, 2]), (8, [2, 2, 2, 2])):
        ledger = tmp_path / f"ledger {shadows}"
        some = replace(draws, train=draws.train[:shadows], test=draws.test[:shadows])
        there = ShadowPool(DATA, Grouped(str(ledger)), some, Store(tmp_path / f"{shadows}"), 0)
        assert len(there.run(workers=2, cluster=calm.address, minimum=shadows)) == shadows
        assert sorted(trainers(ledger)) == groups


def test_every_worker_gets_the_records_once_and_keeps_nothing_afterwards(tmp_path, calm):
    def state(dask_worker) -> tuple[int, set[str]]:
        from miaudit.shadows import dask

        return len(dask_worker.transfer_incoming_log), set(dask._kept)

    ledger = tmp_path / "ledger"
    with distributed.Client(calm.address, set_as_default=False) as client:
        before = client.run(state)  # of a run that was cut short by its time, a worker may keep something
        pool(tmp_path / "s", Patient(str(ledger)), shadows=12).run(workers=2, cluster=calm.address, minimum=12)
        after = client.run(state)
    fetched = [after[worker][0] - before[worker][0] for worker in before]
    assert sum(fetched) == 1  # the other one was given them by the program
    assert all(after[worker][1] <= before[worker][1] for worker in before)
    assert len(set(trainers(ledger))) == 2
    assert len(trainers(ledger)) == 12


def test_rows_are_sent_back_where_the_folder_is_not_shared(tmp_path):
    here, there = pool(tmp_path / "a", RandomForestClassifier(3)), pool(tmp_path / "b", RandomForestClassifier(3))
    local = here.outputs(here.run(workers=0, minimum=4))
    parcel = ours._Parcel.of(DATA, there.recipe)
    answer = ours._work(there.plan, parcel.key, parcel, str(there.store.folder), "another token")
    ours._forget(parcel.key)
    assert not rows(tmp_path / "b")
    for key, content in answer.rows.items():
        there.store.put_packed(key, content)
    np.testing.assert_array_equal(local, there.outputs(range(4)))


def test_workers_may_be_added_and_killed_in_mid_run(tmp_path, cluster):
    ledger = tmp_path / "ledger"
    shadows = pool(tmp_path / "s", Patient(str(ledger), free=5), shadows=20)
    running = in_background(lambda: shadows.run(workers=2, cluster=cluster.address, minimum=20))
    wait_for(lambda: len(set(trainers(ledger)[5:])) == 2)  # both are in the middle of a model
    cluster.workers.append(cluster.add())
    wait_for(lambda: len(set(trainers(ledger)[5:])) == 3)
    kill(cluster.workers[0])
    (tmp_path / "ledger.go").touch()
    running.join(60)
    assert len(rows(tmp_path / "s")) == 20
    assert not shadows.failures
    assert set(trainers(ledger)) == set(cluster.workers)
    assert len(trainers(ledger)) == 21
    assert (tmp_path / "s" / "journal.jsonl").read_text().count("worker died") == 1


@pytest.mark.slow
def test_a_cluster_may_be_scaled_to_nothing_and_back(tmp_path, cluster):
    ledger = tmp_path / "ledger"
    shadows = pool(tmp_path / "s", Patient(str(ledger), free=4), shadows=10)
    running = in_background(lambda: shadows.run(workers=2, cluster=cluster.address, minimum=10))
    wait_for(lambda: len(set(trainers(ledger)[4:])) == 2)
    journal = tmp_path / "s" / "journal.jsonl"
    journal.touch()
    with distributed.Client(cluster.address, set_as_default=False) as client:
        pids = client.run(os.getpid)
        client.retire_workers([next(address for address, pid in pids.items() if pid == cluster.workers[0])])
    kill(cluster.workers[1])  # the last one that had the records
    wait_for(lambda: "waiting for workers" in journal.read_text())
    (tmp_path / "ledger.go").touch()
    cluster.workers.append(cluster.add())
    running.join(60)
    assert len(rows(tmp_path / "s")) == 10
    assert journal.read_text().count("worker died") == 1


@pytest.mark.parametrize("cluster", [4], indirect=True)
def test_a_model_that_kills_three_workers_fails_alone(tmp_path, cluster):
    def killers(seed: int) -> list[int]:
        estimator_seeds = [child_seed(child_seed(seed, "shadow", i), "random_state") for i in range(6)]
        return [i for i, each in enumerate(estimator_seeds) if each % 2 == 0]

    seed = next(seed for seed in range(99) if len(killers(seed)) == 1)
    shadows = pool(tmp_path, KillsItsWorkerAlways(), shadows=6, seed=seed)
    found = shadows.run(workers=4, cluster=cluster.address, minimum=5)
    assert [failure.name for failure in shadows.failures] == [f"shadow {killers(seed)[0]}"]
    assert "worker died 3 times" in shadows.failures[0].error
    assert len(found) == 5
    assert sum(map(alive, cluster.workers)) == 1


def test_a_killed_scheduler_ends_the_run_and_keeps_the_rows(tmp_path, cluster):
    ledger = tmp_path / "ledger"
    shadows = pool(tmp_path / "s", Patient(str(ledger), free=6), shadows=10)
    ended = []

    def run() -> None:
        with pytest.raises(PoolError, match="connection to the Dask scheduler at .* was lost") as error:
            shadows.run(workers=2, cluster=cluster.address, minimum=10)
        ended.append(error.value.exit_code)

    running = in_background(run)
    wait_for(lambda: len(trainers(ledger)) == 8)
    began = time.monotonic()
    kill(cluster.scheduler)
    running.join(60)
    assert ended == [4]
    assert time.monotonic() - began < 15
    assert len(rows(tmp_path / "s")) == 6
    (tmp_path / "ledger.go").touch()
    seen = []
    found = shadows.outputs(shadows.run(workers=0, minimum=10, tell=seen.append))
    assert seen[0].found >= 6
    local = pool(tmp_path / "t", Patient(str(ledger), free=6), shadows=10)
    np.testing.assert_array_equal(found, local.outputs(local.run(workers=0, minimum=10)))


def test_the_time_limit_holds_on_a_cluster_too(tmp_path, calm):
    shadows = pool(tmp_path / "s", Patient(str(tmp_path / "ledger"), free=4), shadows=9)
    with pytest.raises(TimeLimitError) as error:
        shadows.run(workers=2, cluster=calm.address, minimum=9, deadline=time.monotonic() + 2)
    there = len(rows(tmp_path / "s"))  # four, unless the machine is so busy that two seconds do not train them
    assert there <= 4
    counted = re.search(r"with (\d) of 9 models in the store; (\d) are missing", str(error.value))
    assert counted is not None
    assert int(counted[1]) + int(counted[2]) == 9
    assert there - 2 <= int(counted[1]) <= there  # each worker may end one more row after the count
    (tmp_path / "ledger.go").touch()


@pytest.mark.slow
def test_whoever_is_told_can_end_a_training_of_which_there_is_no_news(tmp_path, calm):
    shadows, counts = pool(tmp_path / "s", Patient(str(tmp_path / "ledger"), free=0), shadows=4), []

    def tell(progress):
        counts.append(progress.done)
        if len(counts) == 4:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        shadows.run(workers=2, cluster=calm.address, minimum=4, tell=tell, deadline=time.monotonic() + 30)
    (tmp_path / "ledger.go").touch()
    assert counts == [0] * 4


def test_workers_with_other_versions_train_nothing(tmp_path, calm, monkeypatch):
    real = ours._versions
    monkeypatch.setattr(ours, "_versions", lambda packages: {**real(packages), "scikit-learn": "0.1"})
    with pytest.raises(PoolError, match=r"other versions: scikit-learn .*\(the program has 0.1\)"):
        pool(tmp_path, RandomForestClassifier(3)).run(workers=2, cluster=calm.address, minimum=4)
    assert not rows(tmp_path)


def test_a_recipe_that_cannot_be_read_there_is_told_with_what_to_do():
    parcel = replace(ours._Parcel.of(DATA, as_recipe(RandomForestClassifier(3))), pickled=b"cno_such_module\nno\n.")
    assert "No module named 'no_such_module'); install what it imports" in ours._opened(parcel).why


def test_a_row_that_a_dead_worker_wrote_is_seen_by_the_listing(tmp_path, monkeypatch):
    """By NFS the answer for a single name may be of the time when the row was missing."""
    one, two = pool(tmp_path, RandomForestClassifier(3)).plan[:2]
    store = Store(tmp_path)
    store.put(one.key, {"outputs": np.zeros(3)}, {})
    run = ours._Run(None, "", None, None, store, ("", ""), None)
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.suffix != ".safetensors" and exists(path))
    assert list(run._died([one, two])) == [[ours.Trained(0.0, 0)]]
    assert list(run.waiting) == [[two]]


class Unsendable(DecisionTreeClassifier):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def __getstate__(self):
        return self.__dict__


def test_a_recipe_that_cannot_be_sent_is_told_with_what_to_do():
    with pytest.raises(PlanError, match="cannot be sent to the workers .*lock.*or train without a cluster"):
        ours._Parcel.of(DATA, as_recipe(Unsendable()))


def test_no_scheduler_at_the_address_is_told_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(ours, "CONNECT_SECONDS", 0.3)
    plan = {"data": {"path": "no.npz"}, "split": {"members": 9}, "recipe": {"estimator": "no.Such"}}
    with pytest.raises(PoolError, match="no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        miaudit.audit(plan, address="tcp://127.0.0.1:9")
    with pytest.raises(PlanError, match="engine.address: missing"):
        miaudit.audit({**plan, "engine": {"kind": "dask"}})
    with pytest.raises(PlanError, match="give one of them"):
        miaudit.audit(plan, address="tcp://127.0.0.1:9", jobs=2)


@pytest.mark.parametrize(
    ("engine", "text"),
    [({"address": "tcp://1:1"}, "address belongs to"), ({"kind": "dask", "jobs": 2}, "jobs belongs to")],
)
def test_keys_of_the_other_engine_are_refused(engine, text):
    with pytest.raises(PlanError, match=text):
        miaudit.Plan.of(
            {"data": {"name": "digits"}, "split": {"members": 9}, "recipe": {"estimator": "a.B"}, "engine": engine}
        )
