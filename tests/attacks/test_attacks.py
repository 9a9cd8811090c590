from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from miaudit.attacks import (
    ATTACKS,
    RMIA,
    Attack,
    AttackP,
    AttackR,
    Calibration,
    Gap,
    LabelOnly,
    LiRA,
    LossTrace,
    Quantile,
    Ratio,
    Salem,
    Scores,
    Shokri,
    Threshold,
    shokri,
)
from miaudit.attacks.threshold import best_threshold
from miaudit.errors import DataError, PlanError
from miaudit.evidence import Evidence, rows
from miaudit.stats import auc, auc_interval, decisions
from miaudit.testing import check_attack, worlds
from miaudit.testing.worlds import World

CONFIGURED = [
    Gap(),
    Shokri(),
    Shokri(variant="pooled"),
    Shokri(features="sorted"),
    Shokri(features="log-probabilities"),
    Shokri(estimator=LogisticRegression()),
    Threshold(),
    Threshold("phi"),
    Threshold("modified_entropy", per_class=True),
    AttackP(),
    AttackR(),
    Calibration(),
    Calibration("online", "phi"),
    *(LiRA(mode, variance) for mode in ("online", "offline", "proxy") for variance in ("nig", "per-example", "pooled")),
    LiRA(signal="hinge"),
    *(RMIA(form, mode) for form in ("base", "rmia", "informia") for mode in ("offline", "online")),
    Salem(),
    LabelOnly(),
    LabelOnly("boundary"),
    LabelOnly(calibrate=False),
    Quantile(trees=5),
    Quantile("quantile", alpha=0.1, trees=5),
    Ratio(trees=20),
    LossTrace(),
    LossTrace("fall"),
]


@pytest.mark.parametrize("attack", CONFIGURED, ids=lambda a: f"{a.name} {'-'.join(map(str, a.options.values()))}")
def test_keeps_its_promises(attack: Attack) -> None:
    check_attack(attack)


def area(attack: Attack, world: World) -> float:
    score = attack.run(world.evidence).score
    return auc(score[world.member], score[~world.member])


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("attack", [Shokri(), Shokri(variant="pooled"), Threshold(), Threshold("phi", per_class=True)])
def test_finds_the_known_area(attack: Attack, overlapping: bool) -> None:
    world = worlds.gaussian(1.0, n=2000, overlapping=overlapping)
    score = attack.run(world.evidence).score
    _, low, high = auc_interval(score[world.member], score[~world.member], confidence=0.999)
    assert low <= norm.cdf(1 / np.sqrt(2)) <= high


@pytest.mark.parametrize("attack", [Threshold(), Shokri(epochs=2)])
def test_decides_by_the_likelier_side(attack: Attack) -> None:
    """The best cut between N(0, 1) and N(1, 1) is right with probability Phi(1 / 2)."""
    world = worlds.gaussian(1.0, n=2000)
    got = decisions(attack.run(world.evidence).decision, world.member, confidence=0.999).accuracy
    assert got.low is not None
    assert got.high is not None
    assert got.low <= norm.cdf(0.5) <= got.high


@pytest.mark.parametrize(
    "attack",
    [Threshold(), Gap(), Threshold("entropy", per_class=True), pytest.param(Shokri(epochs=1), marks=pytest.mark.slow)],
)
def test_exchangeable_records_are_at_chance(attack: Attack) -> None:
    trials, found, values = 60, 0, []
    for seed in range(trials):
        world = worlds.exchangeable(seed, n=100, classes=2, shadows=2)
        score = attack.run(world.evidence, seed=seed).score
        value, low, high = auc_interval(score[world.member], score[~world.member])
        found += not low <= 0.5 <= high
        values.append(value)
    assert found <= binom.ppf(0.999, trials, 0.05)
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / np.sqrt(trials)


def test_registry() -> None:
    assert list(ATTACKS) == sorted(ATTACKS)
    assert {type(attack) for attack in CONFIGURED} == set(ATTACKS.values())  # every one keeps its promises
    assert ATTACKS["shokri"] is Shokri
    for name, attack in ATTACKS.items():
        assert attack.name == name
        assert attack.title
        assert attack.paper


def test_options_are_plain() -> None:
    assert Threshold("phi").options == {"signal": "phi", "per_class": False}
    assert Shokri(estimator=LogisticRegression(C=3)).options["estimator"] == "LogisticRegression(C=3)"


# the gap


def test_gap_accuracy_is_half_plus_half_the_gap() -> None:
    world = worlds.memoriser()
    right = world.evidence.target.argmax(axis=1) == world.evidence.audited_labels
    got = decisions(Gap().run(world.evidence).decision, world.member).accuracy.value
    assert got == pytest.approx(0.5 + (right[world.member].mean() - right[~world.member].mean()) / 2)


def test_gap_takes_labels() -> None:
    world = worlds.memoriser()
    labels_only = Evidence(
        world.evidence.target.argmax(axis=1),
        world.evidence.shadows,
        world.evidence.inside,
        world.evidence.labels,
        asked=world.evidence.asked,
    )
    np.testing.assert_array_equal(Gap().score(labels_only), Gap().score(world.evidence))
    for attack in (Threshold(), Shokri(epochs=2)):
        scores = attack.run(labels_only)
        assert any("labels only" in note for note in scores.notes)
        assert auc(scores.score[world.member], scores.score[~world.member]) == pytest.approx(
            area(Gap(), world), abs=0.06
        )


# thresholds


@pytest.mark.parametrize(
    ("inside", "outside", "cut"),
    [([3, 4], [1, 2], 2.5), ([1, 2, 3, 10], [0, 4, 4, 4], 7.0), ([1.0], [0.0], 0.5), ([5, 5], [1, 5], 3.0)],
)
def test_best_threshold(inside: list, outside: list, cut: float) -> None:
    scores = np.array([*inside, *outside], float)
    member = np.arange(len(scores)) < len(inside)
    got = best_threshold(scores, member)
    assert got == cut
    tried = [((scores >= t) == member)[member].mean() + ((scores >= t) == member)[~member].mean() for t in scores]
    mine = ((scores >= got) == member)[member].mean() + ((scores >= got) == member)[~member].mean()
    assert mine == max(tried)


def test_nobody_is_accused_where_no_cut_beats_chance() -> None:
    scores = Threshold().run(worlds.constant().evidence)
    assert scores.decision is not None
    backwards = best_threshold(np.array([0.0, 1.0]), np.array([True, False]))
    assert backwards > 1.0
    assert np.isfinite(backwards)


def test_the_threshold_never_looks_at_the_target() -> None:
    world = worlds.gaussian(1.0)
    scores = Threshold().run(world.evidence)
    moved = np.full_like(world.evidence.target, 1 / world.evidence.classes)
    moved[0] = world.evidence.target[0]
    alone = Evidence(
        moved, world.evidence.shadows, world.evidence.inside, world.evidence.labels, asked=world.evidence.asked
    )
    assert Threshold().run(alone).decision[0] == scores.decision[0]


def test_per_class_thresholds_differ_and_fall_back() -> None:
    """Class 1 is harder: its losses lie higher for members and non-members alike. Class 2 has no non-members."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 900)
    inside = (generator.random(900) < 0.5) | (labels == 2)
    top = 0.5 + 0.3 * inside - 0.3 * (labels == 1) + 0.05 * generator.random(900)
    p = np.repeat((1 - top)[:, None] / 2, 3, axis=1)
    p[np.arange(900), labels] = top
    evidence = Evidence(p, p[None], inside[None], labels)
    fair = labels < 2
    common = Threshold().run(evidence)
    own = Threshold(per_class=True).run(evidence)
    assert [m.model for m in own.per_class] == ["own", "own", "pooled"]
    assert (own.decision == inside)[fair].all()
    assert not (common.decision == inside)[fair].all()
    assert auc(own.score[fair & inside], own.score[fair & ~inside]) == 1.0


# shadow training


def classes_of(scores: Scores) -> list[str]:
    return [m.model for m in scores.per_class]


def with_rare_class(rare: int) -> World:
    """A gaussian world whose class 4 keeps only ``rare`` rows a side in each of two shadows."""
    world = worlds.gaussian(2.0, shadows=2)
    labels = world.evidence.labels.copy()
    for inside in (True, False):
        for shadow in range(2):
            rows = world.evidence.asked[shadow][
                (world.evidence.shadow_labels[shadow] == 4) & (world.evidence.inside[shadow] == inside)
            ]
            labels[rows[rare:]] = 3
    e = world.evidence
    return World(Evidence(e.target, e.shadows, e.inside, labels, asked=e.asked), world.member)


@pytest.mark.parametrize("rare", [0, 10])
def test_a_rare_class_is_judged_by_the_pooled_model_and_said(rare: int) -> None:
    world = with_rare_class(rare)
    scores = Shokri(min_rows=50).run(world.evidence)
    assert classes_of(scores) == ["own"] * 4 + ["pooled"]
    assert (scores.per_class[4].in_rows, scores.per_class[4].out_rows) == (2 * rare, 2 * rare)
    assert any("1 of 5 classes" in note and note.endswith(": 4") for note in scores.notes)
    here = world.evidence.audited_labels == 4
    pooled = Shokri(variant="pooled", min_rows=50).run(world.evidence)
    np.testing.assert_array_equal(scores.score[here], pooled.score[here])
    assert classes_of(Shokri(min_rows=max(1, 2 * rare)).run(world.evidence))[4] == ("own" if rare else "pooled")


def test_a_class_does_not_depend_on_the_other_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the scale of its inputs, which a trial decides for all classes alike where they have few rows."""
    monkeypatch.setattr("miaudit.attacks.shokri._MANY_ROWS", 0)
    world = worlds.gaussian(1.0)
    whole = Shokri(epochs=3).run(world.evidence).score
    e, keep = world.evidence, np.isin(world.evidence.shadow_labels[0], [1, 3])  # every shadow has the same classes
    fewer = Evidence(e.target, e.shadows[:, keep], e.inside[:, keep], e.labels, asked=e.asked[:, keep])
    here = np.isin(e.audited_labels, [1, 3])
    np.testing.assert_array_equal(Shokri(epochs=3).run(fewer).score[here], whole[here])


def test_seeds_count() -> None:
    world = worlds.exchangeable()
    assert (
        Shokri(epochs=2).run(world.evidence, seed=1).score != Shokri(epochs=2).run(world.evidence, seed=2).score
    ).any()


@pytest.mark.parametrize(
    "estimator",
    [RandomForestClassifier(5, max_depth=3), make_pipeline(StandardScaler(), RandomForestClassifier(5)), LinearSVC()],
    ids=["forest", "pipeline", "no probabilities"],
)
def test_any_classifier_will_do_and_is_left_alone(estimator) -> None:
    world, before = worlds.memoriser(), repr(estimator.get_params())
    attack = Shokri(estimator=estimator)
    scores = attack.run(world.evidence, seed=3)
    assert auc(scores.score[world.member], scores.score[~world.member]) > 0.9
    np.testing.assert_array_equal(scores.score, attack.run(world.evidence, seed=3).score)
    assert repr(estimator.get_params()) == before
    assert not hasattr(estimator, "classes_")
    np.testing.assert_array_equal(scores.decision, scores.score > 0.5)


def test_the_pooled_model_draws_from_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shokri, "_POOLED_ROWS", 500)
    world = worlds.gaussian(2.0)
    scores = Shokri(variant="pooled").run(world.evidence)
    assert any("500 rows drawn from 2,400" in note for note in scores.notes)
    assert auc(scores.score[world.member], scores.score[~world.member]) > 0.85


def test_the_pooled_model_reads_no_more_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    world = worlds.gaussian(2.0)
    whole = Shokri(variant="pooled").run(world.evidence)
    monkeypatch.setattr(rows, "_NUMBERS", 100)  # judged a few records at a time
    np.testing.assert_array_equal(Shokri(variant="pooled").run(world.evidence).score, whole.score)
    monkeypatch.setattr(shokri, "_BLOCK_BYTES", 700 * 4 * 2 * world.evidence.classes)
    scores = Shokri(variant="pooled").run(world.evidence)
    assert any("700 rows drawn from 2,400" in note for note in scores.notes)
    assert auc(scores.score[world.member], scores.score[~world.member]) > 0.85


def test_says_when_a_class_leans_to_one_side() -> None:
    world = worlds.gaussian(1.0, shadows=2)
    inside = world.evidence.inside | ((world.evidence.shadow_labels == 0) & (world.evidence.asked % 3 == 0))
    notes = Shokri(epochs=1, min_rows=1).run(world.evidence.with_inside(inside)).notes
    assert any("share of in rows runs from 0.50 to 0.6" in note for note in notes)


def test_refuses_options_all_at_once() -> None:
    with pytest.raises(PlanError, match="4 problems") as caught:
        Shokri(variant="both", hidden=0, learning_rate=0, estimator=3)
    for word in ("per-class", "hidden", "learning_rate", "scikit-learn"):
        assert word in str(caught.value)
    with pytest.raises(PlanError, match="modified_entropy"):
        Threshold("margin")


@pytest.mark.parametrize("attack", [Shokri(), Threshold(per_class=True)])
@pytest.mark.parametrize("side", [True, False])
def test_refuses_shadows_of_one_side(attack: Attack, side: bool) -> None:
    evidence = worlds.constant().evidence
    with pytest.raises(DataError, match="both sides"):
        attack.run(evidence.with_inside(np.full(evidence.inside.shape, side)))


def test_a_signal_ranks_without_shadows_of_both_sides_and_decides_nothing() -> None:
    evidence = worlds.memoriser(n=100).evidence
    usual = Threshold().run(evidence)
    assert usual.decision is not None
    bare = Evidence(
        evidence.target, evidence.shadows[:0, :0], evidence.inside[:0, :0], evidence.labels, asked=np.empty((0, 0), int)
    )
    for each in (bare, evidence.with_inside(np.ones_like(evidence.inside))):
        scores = Threshold().run(each)
        np.testing.assert_array_equal(scores.score, usual.score)
        assert scores.decision is None
        assert "does not decide" in scores.notes[-1]
