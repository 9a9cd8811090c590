from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from miaudit.attacks import Gap, LabelOnly
from miaudit.data.schema import Schema
from miaudit.errors import DataError
from miaudit.evidence import Evidence, Probes
from miaudit.evidence.questions import Votes, Walk
from miaudit.probes import boundary_distance, probe
from miaudit.stats import auc
from miaudit.targets import as_target


def linear(d: int, n: int, seed: int = 0) -> tuple:
    """A linear classifier and records; the distance to its boundary is |w.x + b| / |w|."""
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=d), 0.3
    X = rng.normal(size=(n, d))
    return X, (lambda points: (points @ w + b > 0).astype(np.int64)), np.abs(X @ w + b) / np.linalg.norm(w)


@pytest.mark.parametrize(
    ("d", "queries", "factor"), [(2, 200, 1.05), (20, 500, 1.1), (20, 2000, 1.02), (100, 2000, 1.15)]
)
def test_the_distance_to_a_plane(d: int, queries: int, factor: float) -> None:
    X, ask, true = linear(d, 60)
    found = boundary_distance(ask, X, ask(X), low=-10, high=10, queries=queries)
    assert (found.distance >= true * (1 - 1e-9)).all()  # never nearer than the boundary is
    assert np.median(found.distance / true) < factor
    assert found.asked.max() <= queries


def test_the_walk_asks_in_few_rounds() -> None:
    X, ask, _ = linear(10, 100)
    rounds = []

    def counted(points: np.ndarray) -> np.ndarray:
        rounds.append(len(points))
        return ask(points)

    found = boundary_distance(counted, X, ask(X), low=-10, high=10, queries=500)
    assert sum(rounds) == found.asked.sum()
    assert len(rounds) < 120  # for 100 records of 500 questions each


def test_a_sphere() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    radius = 2.0

    def ask(points: np.ndarray) -> np.ndarray:
        return (np.linalg.norm(points, axis=1) > radius).astype(np.int64)

    found = boundary_distance(ask, X, ask(X), low=-6, high=6, queries=1000).distance
    true = np.abs(np.linalg.norm(X, axis=1) - radius)
    assert np.median(found / true) < 1.1


def test_records_answered_wrongly_and_models_that_say_one_thing() -> None:
    X, ask, _ = linear(3, 50)
    labels = ask(X)
    labels[:5] = 1 - labels[:5]
    found = boundary_distance(ask, X, labels, low=-9, high=9, queries=100)
    assert (found.distance[:5] == 0).all()
    assert (found.distance[5:] > 0).all()
    assert found.asked[:5].tolist() == [1] * 5
    same = boundary_distance(lambda p: np.zeros(len(p), int), X, np.zeros(50, int), low=-9, high=9, queries=100)
    np.testing.assert_allclose(same.distance, 18 * 3**0.5)
    assert same.asked.max() <= 100
    tiny = boundary_distance(ask, X, ask(X), low=-9, high=9, queries=2)
    assert tiny.asked.max() <= 2
    assert np.isfinite(tiny.distance).all()


def overfitted(model: object, *, seed: int = 0) -> tuple:
    X, y = make_classification(2400, 12, n_informative=6, n_classes=3, flip_y=0.1, class_sep=1.0, random_state=seed)
    model.fit(X[:400], y[:400])
    audited = np.r_[0:400, 400:800]
    return as_target(model, classes=3), X[audited], y[audited], Schema.infer(X), np.arange(800) < 400


@pytest.mark.parametrize("attack", [LabelOnly(queries=40), LabelOnly("boundary", queries=300)], ids=lambda a: a.kind)
def test_a_nearest_neighbour_is_told_well_above_the_gap(attack: LabelOnly) -> None:
    target, X, y, schema, member = overfitted(KNeighborsClassifier(1))
    answers = target.query(X).values
    probes = probe(target, X, y, schema, attack.questions[0], seed=0)
    assert probes.queries <= attack.queries * len(X)
    assert probes.queries == target.queries - len(X)
    none = np.empty((0, len(X), 3))
    evidence = Evidence(answers, none, none[..., 0].astype(bool), y, probes=probes)
    score, gap = attack.score(evidence), Gap().score(evidence)
    areas = auc(score[member], score[~member]), auc(gap[member], gap[~member])
    assert areas[0] > areas[1] + 0.15, areas


def test_shadows_tell_a_forest_that_votes_alone_do_not() -> None:
    X, y = make_classification(800, 12, n_informative=6, n_classes=3, flip_y=0.1, random_state=0)
    inside = np.random.default_rng(0).random((9, 800)) < 0.5
    attack, schema, votes, answers = LabelOnly(queries=16), Schema.infer(X), [], []
    for rows in inside:
        forest = RandomForestClassifier(30, random_state=0).fit(X[rows], y[rows])
        target = as_target(forest, classes=3)
        answers.append(target.query(X).values)
        votes.append(probe(target, X, y, schema, attack.questions[0], seed=0).votes)
    probes = Probes(votes=votes[0], shadow_votes=np.array(votes[1:]))
    evidence = Evidence(answers[0], np.array(answers[1:]), inside[1:], y, probes=probes)
    member = inside[0]
    areas = [auc(score[member], score[~member]) for a in (attack, Gap()) for score in [a.score(evidence)]]
    assert areas[0] > areas[1] + 0.03, areas


def test_votes_are_the_same_for_every_target_under_one_seed() -> None:
    target, X, y, schema, _ = overfitted(DecisionTreeClassifier(random_state=0))
    attack = LabelOnly(queries=9)
    first, again, other = (probe(target, X, y, schema, attack.questions[0], seed=seed).votes for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first[:, 0], target.query(X).values.argmax(axis=1) == y)
    assert first.shape == (800, 9)


def test_refusals() -> None:
    X = np.random.default_rng(0).integers(0, 2, (30, 4)).astype(np.float32)
    target = as_target(lambda Z: np.full((len(Z), 2), 0.5), classes=2)
    with pytest.raises(DataError, match="binary or categorical"):
        probe(target, X, np.zeros(30, int), Schema.infer(X), Walk(), seed=0)
    with pytest.raises(DataError, match="30 records but 29 classes"):
        probe(target, X, np.zeros(29, int), Schema.infer(X), Votes(), seed=0)
    assert isinstance(probe(target, X, np.zeros(30, int), Schema.infer(X), Votes(), seed=0), Probes)
