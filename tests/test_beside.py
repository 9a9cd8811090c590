"""Runs of attacks in worker processes: they give what runs here give, whatever becomes of the workers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from sklearn.datasets import make_classification, make_regression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from miaudit.attacks import Shokri, Threshold
from miaudit.auditing import beside, conclusion
from miaudit.auditing.attack_seconds import planned_processes
from miaudit.auditing.case import Case
from miaudit.auditing.conclusion import conclude
from miaudit.auditing.from_model import case_of_model
from miaudit.auditing.gathering import gather
from miaudit.auditing.measured import Measured
from miaudit.auditing.provenance import Clock
from miaudit.auditing.workers import Workers
from miaudit.errors import PlanError
from miaudit.evidence.rows import Answers
from miaudit.findings import Trial, Trials, unit_of
from miaudit.result import Result
from miaudit.shadows.crew import Crew
from miaudit.shadows.pool import ShadowEvidence
from miaudit.store import Store

N = 60


class Elsewhere(Threshold):
    """An attack that is not of this package: it runs where the audit does."""

    name = "elsewhere"
    places: list[int] = []  # noqa: RUF012  (what other processes append is not seen here)

    def run(self, evidence: Any, *, seed: int = 0) -> Any:
        self.places.append(evidence.n)
        return super().run(evidence, seed=seed)


@pytest.fixture(scope="module", params=["classes", "values"])
def case(request: pytest.FixtureRequest) -> Case:
    options: dict[str, Any] = {"n_samples": 5 * N, "n_features": 5, "random_state": 0}
    if request.param == "classes":
        X, y = make_classification(**options)
        model: Any = DecisionTreeClassifier(random_state=0)
        attacks = ["shokri", "threshold", "rmia", "lira offline", "ratio"]
    else:
        X, y = make_regression(**options)
        model, attacks = DecisionTreeRegressor(random_state=0), ["rmia", "lira offline", "ratio"]
    parts = [(X[part], y[part]) for part in (slice(0, N), slice(N, 2 * N), slice(2 * N, None))]
    return case_of_model(model.fit(X[:N], y[:N]), *parts, shadows=4, seed=1, attacks=[*attacks, Elsewhere()])


@pytest.fixture(scope="module")
def measured(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    store = Store(tmp_path_factory.mktemp("rows"))
    return gather(case, store, Workers(0, None, None), clock=Clock(), tell=lambda text, progress: None)


@pytest.fixture(scope="module")
def here(measured: Measured) -> str:
    """Return what runs in this process give."""
    return figures(conclude(measured))


def figures(result: Result) -> str:
    columns = {name: column.tolist() for name, column in result.records.columns.items()}
    return result.model_dump_json(exclude={"provenance"}) + repr(columns)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[beside._Runs]:
    """Let workers take whatever there is to run; return the runs that were given to some."""
    runs = list[beside._Runs]()

    class Noted(beside._Runs):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            runs.append(self)

    monkeypatch.setattr(beside, "_LEAST", 1)
    monkeypatch.setattr(beside, "_Runs", Noted)
    return runs


def test_attacks_in_workers_find_what_they_find_here(
    measured: Measured, here: str, processes: list[beside._Runs]
) -> None:
    steps = list[tuple[int, int]]()
    Elsewhere.places.clear()
    there = conclude(
        replace(measured, processes=2), lambda text, progress: steps.append((progress.done, progress.total))
    )
    assert figures(there) == here
    assert Elsewhere.places
    assert processes[0]._alive == set(processes[0]._workers)
    assert all(future.exception() is None for future in processes[0]._futures.values())
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert steps[-1] == (steps[0][1],) * 2


def test_workers_that_are_killed_cost_time_and_nothing_else(
    measured: Measured, here: str, processes: list[beside._Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    give = beside._Runs._give

    def give_and_kill(self: beside._Runs, worker: Any) -> None:
        give(self, worker)
        self._crew._processes[worker].kill()
        deadline = time.monotonic() + 60
        while worker in self._alive:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    monkeypatch.setattr(beside._Runs, "_give", give_and_kill)
    assert figures(conclude(replace(measured, processes=2))) == here
    assert not processes[0]._alive


def test_a_run_that_fails_in_a_worker_takes_place_here(
    measured: Measured, here: str, processes: list[beside._Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "_perform", pow)  # takes no task
    assert figures(conclude(replace(measured, processes=2))) == here
    assert any(isinstance(future.exception(), TypeError) for future in processes[0]._futures.values())


def test_a_worker_that_can_be_given_no_more_leaves_the_rest_to_the_program(
    measured: Measured, here: str, processes: list[beside._Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, given = Crew.submit, list[Any]()

    def submit_once(self: Crew, *arguments: Any) -> Any:
        given.append(arguments)
        if len(given) > 1:
            raise PlanError("no more processes")
        return submit(self, *arguments)

    monkeypatch.setattr(Crew, "submit", submit_once)
    assert figures(conclude(replace(measured, processes=2))) == here
    assert processes


def test_a_forecast_plans_as_many_processes_as_will_run(
    case: Case, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = {each.name: each for each in conclusion._planned(measured)}
    trials = conclusion._trials(measured, planned, conclusion.counted(measured))
    answered, every = beside._answered(trials), trials.tasks(repeats=True)
    tasks = len([task for task in every if beside.is_own(trials.each[task.place].attack)])
    monkeypatch.setattr(beside, "most_threads", lambda: 10**6)
    for least, allowed in ((answered, 2), (answered, 1), (answered, 0), (answered, 10**6), (answered + 1, 2)):
        monkeypatch.setattr(beside, "_LEAST", least)
        assert planned_processes(case, allowed) == beside.processes_of(answered, tasks, allowed)
    assert planned_processes(case, 2) == 1


def test_attacks_whose_parts_are_of_elsewhere_are_not_sent(measured: Measured) -> None:
    class Local(DecisionTreeClassifier):  # type: ignore[misc]
        def __reduce__(self) -> str:
            raise RuntimeError("it cannot be pickled")

    evidence, member = measured.evidence.own, measured.member
    attacks = [Shokri(), Shokri(estimator=DecisionTreeClassifier()), Shokri(estimator=Local()), Elsewhere()]
    trials = Trials([Trial(each, evidence, each.name) for each in attacks], member, unit_of(member))
    own = [task for task in trials.tasks(repeats=False) if beside.is_own(trials.each[task.place].attack)]
    assert [task.place for task in own] == [0, 1]
    sent = beside._sendable(trials, own)
    assert sent is not None
    other = sent.parcel.open()
    assert [trial.learns for trial in other.each] == [trial.learns for trial in trials.each]
    assert beside._sendable(trials, trials.tasks(repeats=False)) is None


def test_what_cannot_be_sent_and_little_work_stay_here(
    measured: Measured, here: str, processes: list[beside._Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, direct = measured.evidence
    answers = own.models
    assert isinstance(answers, Answers)
    local = replace(answers, read=tuple((lambda row=row: row()) for row in answers.read))  # type: ignore[misc]
    evidence = own.of_shadows(range(len(answers)))
    vars(evidence)["models"] = local
    unsendable = replace(measured, processes=2, evidence=ShadowEvidence(evidence, direct))
    assert figures(conclude(unsendable)) == here
    monkeypatch.setattr(beside, "_LEAST", 10**9)
    conclude(replace(measured, processes=2))
    assert not processes
