"""Stored shadow models whose training sets tell who is a member, or that are one model twice, are not taken as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import miaudit
from miaudit.auditing.row_order import unrelated
from miaudit.auditing.scoring import score
from miaudit.auditing.shadow_sides import one_sided, refuse_trained_bystanders, repeated_models, turned_shadows
from miaudit.auditing.stored import stored_outputs
from miaudit.cli import main
from miaudit.errors import DataError

N = 400
MEMBER = np.arange(N) < N // 2


def drawn(members: float, others: float, *, models: int = 6) -> np.ndarray:
    return np.random.default_rng(1).random((models, N)) < np.where(MEMBER, members, others)


def counted(models: int) -> np.ndarray:
    """Every record inside exactly half of a design's models, of which one that holds all members is the target."""
    rank = np.random.default_rng(2).random((models - 1, N)).argsort(axis=0)
    return rank < np.where(MEMBER, models // 2 - 1, models // 2)


def arrays(inside: np.ndarray, **other: Any) -> dict[str, Any]:
    """A target that was trained on none of the records, and shadow models that were, on some."""
    rng = np.random.default_rng(0)
    labels, hard = rng.integers(0, 2, N), 1.5 * rng.normal(size=N)

    def answers(known: Any) -> np.ndarray:
        right = 1 / (1 + np.exp(-1.5 - hard - 0.7 * rng.normal(size=np.shape(known)) - 1.2 * known))
        return np.stack([np.where(labels == 0, right, 1 - right), np.where(labels == 1, right, 1 - right)], axis=-1)

    whole = {"target": answers(np.zeros(N)), "shadows": answers(inside), "inside": inside}
    return {"labels": labels, "member": MEMBER, **whole, **other}


@pytest.mark.parametrize(
    "inside",
    [drawn(1, 0), drawn(0, 1), drawn(0.5, 0), drawn(0, 0.5), drawn(1, 0.5), drawn(1, 0, models=1), counted(8)],
    ids=[
        "same training set",
        "other side",
        "half of members",
        "half of others",
        "superset",
        "one model",
        "exact halves",
    ],
)
def test_training_sets_of_shadow_models_that_tell_the_sides_are_refused(inside: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", **arrays(inside))
    done = CliRunner().invoke(main, ["score", str(tmp_path / "file.npz"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2, done.output
    words = " ".join(done.output.split())
    means = [inside[:, side].mean() for side in (MEMBER, ~MEMBER)]
    assert all(f"{100 * mean:.0f} %" in words for mean in means)
    assert "without regard to who is a member" in words


@pytest.mark.parametrize("inside", [drawn(0.5, 0.5), drawn(0, 0), drawn(1, 1), counted(32), counted(16)])
def test_training_sets_that_tell_nothing_are_taken_and_a_target_without_a_leak_has_none(inside: np.ndarray) -> None:
    result = score(stored_outputs(arrays(inside)), attacks=["ratio", "lira offline", "calibration"])
    assert result.verdict_kind == "none detected", result.verdict


def test_exact_halves_of_a_few_models_are_warned_of() -> None:
    """What 16 models of which one is the target are, as many people train them."""
    (warning,) = one_sided(stored_outputs(arrays(counted(16))))
    assert warning.startswith("A member is in the training set of 47 % of the 15 shadow models, a non-member of 53 %")
    assert one_sided(stored_outputs(arrays(counted(32)))) == []
    with pytest.raises(DataError, match="more models are needed"):
        one_sided(stored_outputs(arrays(counted(12))))


def test_people_count_once_and_few_records_may_differ_by_chance() -> None:
    held, part = arrays(drawn(0.5, 0.4)), slice(190, 210)
    few = {key: held[key][part] for key in ("target", "labels", "member")}
    one_sided(stored_outputs(few | {"shadows": held["shadows"][:, part], "inside": held["inside"][:, part]}))
    inside = drawn(0.6, 0.4, models=3)
    with pytest.raises(DataError, match="of the 3 shadow models"):
        one_sided(stored_outputs(arrays(inside)))
    one_sided(stored_outputs(arrays(inside, group=np.repeat(np.arange(4), N // 4))))  # two people a side


def test_signals_and_rows_of_their_own_are_held_to_it_too() -> None:
    inside = drawn(0.5, 0)
    held = arrays(inside)
    signals = {"signal_target": held["target"][:, 0], "signal_shadows": held["shadows"][..., 0]}
    with pytest.raises(DataError, match="52 % of the 6 shadow models, a non-member of 0 %"):
        score(stored_outputs({**signals, "inside": inside, "member": MEMBER}))
    asked = np.tile(np.arange(N)[::-1], (6, 1))
    rows = {"shadows": held["shadows"][:, ::-1], "inside": inside[:, ::-1], "asked": asked}
    with pytest.raises(DataError, match="tells the sides"):
        score(stored_outputs(held | rows))


def test_a_deletion_whose_shadow_models_deleted_the_members_alone_is_refused() -> None:
    held = arrays(drawn(1, 0))
    state = np.where(held.pop("inside"), "deleted", "never")
    with pytest.raises(DataError, match="tells the sides"):
        miaudit.unlearning.score({**held, "state": state})


def test_one_model_twice_and_the_target_among_its_shadow_models_are_warned_of() -> None:
    held = arrays(drawn(0.5, 0.5))
    assert repeated_models(stored_outputs(held)) == []
    twice = {key: np.concatenate([held[key], held[key][:2]]) for key in ("shadows", "inside")}
    assert repeated_models(stored_outputs(held | twice)) == [
        "2 of 8 shadow models answer every record as another one does: the same model more than once adds nothing, and "
        "counts as if it did."
    ]
    within = np.concatenate([held["shadows"][:5], held["target"][None]])
    (warning,) = repeated_models(stored_outputs(held | {"shadows": within}))
    assert warning.startswith("1 of 6 shadow models answers every record as the target does")
    certain = np.eye(2)[np.tile(held["labels"], (6, 1))]
    assert repeated_models(stored_outputs(held | {"shadows": certain})) == []  # trees that all are right
    stumps = {"shadows": np.abs(certain - 0.1), "target": np.abs(certain[0] - 0.1)}  # as of rounding, or of two leaves
    assert repeated_models(stored_outputs(held | stumps)) == []
    score(stored_outputs(held | stumps | {"bystanders": stumps["shadows"][:2]}), attacks=["gap"])
    again = {
        key: np.concatenate([each, each[:1]]) for key, each in (held | stumps).items() if key in ("shadows", "inside")
    }
    (warning,) = repeated_models(stored_outputs(held | stumps | again))  # of the same training set
    assert warning.startswith("1 of 7 shadow models answers every record as another one does")


def test_bystanders_that_were_trained_on_audited_records_are_refused() -> None:
    held = arrays(drawn(0.5, 0.5))
    with pytest.raises(DataError, match="2 of 3 bystanders answer every record as the target, or as a shadow"):
        score(stored_outputs(held | {"bystanders": np.concatenate([held["shadows"][:2], 1 - held["shadows"][:1]])}))
    outside = arrays(drawn(0, 0))
    refuse_trained_bystanders(stored_outputs(outside | {"bystanders": outside["shadows"][:2]}))
    with pytest.raises(DataError, match="1 of 3 bystanders answers every record as the target"):
        score(stored_outputs(held | {"bystanders": np.stack([*(1 - held["shadows"][:2]), held["target"]])}))
    labels = {"target": held["target"].argmax(axis=1), "bystanders": 1 - held["shadows"][:2]}
    refuse_trained_bystanders(stored_outputs(held | labels))  # of labels nothing is known


def test_bystanders_that_are_one_model_or_answer_all_alike_are_warned_of() -> None:
    held = arrays(drawn(0.5, 0.5))
    others = 1 - held["shadows"][:2]
    assert repeated_models(stored_outputs(held | {"bystanders": others})) == []
    (warning,) = repeated_models(stored_outputs(held | {"bystanders": np.concatenate([others, others[:1]])}))
    assert warning.startswith(
        "1 of 3 bystanders answers every record as another one does: the same model more than once"
    )
    certain = np.eye(2)[np.tile(held["labels"], (3, 1))]  # trees that all are right
    assert repeated_models(stored_outputs(held | {"bystanders": certain})) == []
    assert stored_outputs(held | {"bystanders": others}).warnings == ()
    assert stored_outputs(held | {"bystanders": others[:0]}).warnings == ()
    (warning,) = stored_outputs(held | {"bystanders": np.full_like(others, 0.5)}).warnings
    assert warning.startswith("Each bystander gave all records the same answer")


def test_ids_of_several_records_are_told_unless_it_is_known_whose_they_are() -> None:
    held = {key: each for key, each in arrays(drawn(0, 0)).items() if key in ("target", "labels", "member")}

    def told(**other: Any) -> list[str]:
        return [each for each in score(stored_outputs(held | other)).warnings if "for several audited records" in each]

    (warning,) = told(ids=np.arange(N) // 5)
    assert warning.startswith("80 ids stand for several audited records; the first is '0', for 5.")
    (warning,) = told(ids=np.arange(N) % (N // 2))
    assert "200 ids stand for several audited records, 200 of them among members and non-members" in warning
    assert told(ids=np.arange(N)) == told(ids=np.arange(N) // 5, group=np.arange(N) // 5) == []


def test_one_person_a_side_is_inconclusive_counted_in_people() -> None:
    result = score(stored_outputs(arrays(drawn(0.5, 0.5), group=np.zeros(N, int))))
    assert (
        "with 1 member and 1 non-member not even an AUC of 1 can be told from 0.5, counted in people" in result.verdict
    )


def test_answers_in_order_of_size_are_told_and_a_model_of_one_frequent_class_is_not() -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.dirichlet(np.ones(3), N), rng.integers(0, 3, N)

    def told(target: np.ndarray, classes: np.ndarray = labels) -> bool:
        result = score(stored_outputs({"target": target, "labels": classes, "member": MEMBER}))
        return any("in order of size" in warning for warning in result.warnings)

    largest = np.sort(rows)[:, ::-1]
    assert told(largest)
    assert told(np.sort(rows))
    assert not told(rows)
    assert not told(largest, np.where(rng.random(N) < 0.8, 0, labels))
    frequent = rng.choice(3, N, p=(0.40, 0.35, 0.25))
    assert told(largest, frequent)
    assert not told(
        np.array([0.45, 0.33, 0.22]) + rng.normal(size=(N, 1)) * (0.02, -0.01, -0.01), frequent
    )  # a weak model
    assert not told(np.sort(rng.dirichlet(np.ones(2), N)), labels % 2)  # of two classes it is the predicted one
    assert not told(np.tile([0.6, 0.3, 0.1], (N, 1)))  # one answer to all is sorted by chance


def test_shadow_models_that_fit_their_own_records_worse_than_others_are_told_of() -> None:
    held = arrays(drawn(0.5, 0.5))
    assert turned_shadows(stored_outputs(held)) == []
    assert turned_shadows(stored_outputs(held | {"inside": drawn(0.5, 0.5)[::-1]})) == []  # says nothing of them
    (warning,) = turned_shadows(stored_outputs(held | {"inside": ~held["inside"]}))
    assert "less sure of the true classes of the records they were trained on" in warning
    of_truth = held["labels"][:, None]
    signal = {
        "signal_target": np.take_along_axis(held["target"], of_truth, 1)[:, 0],
        "signal_shadows": np.take_along_axis(held["shadows"], of_truth[None], 2)[..., 0],
        **{key: held[key] for key in ("member", "inside")},
    }
    assert turned_shadows(stored_outputs(signal)) == []
    losses = {key: -signal[key] for key in ("signal_target", "signal_shadows")}
    assert any("turn the sign of losses" in each for each in score(stored_outputs(signal | losses)).warnings)


def test_answers_whose_rows_are_not_those_of_the_labels_are_told_of() -> None:
    held = arrays(drawn(0.5, 0.5))
    order = np.random.default_rng(3).permutation(N)
    named = {"attacks": ["threshold"]}
    assert not any("one order" in each for each in score(stored_outputs(held), **named).warnings)
    target = score(stored_outputs(held | {"target": held["target"][order]}), **named).warnings
    (warning,) = (each for each in target if "one order" in each)
    assert warning.startswith("The class that the target answers is right for 0.")
    assert "no figure of this audit measures the model" in warning
    assert not any("trained alike" in each for each in target)
    shadows = held["shadows"].copy()
    shadows[1] = shadows[1, order]
    (warning,) = (
        each for each in score(stored_outputs(held | {"shadows": shadows}), **named).warnings if "one order" in each
    )
    assert warning.startswith("Of 1 of 6 shadow models the class answered is right for 0.")
    labels = score(stored_outputs(held | {"labels": held["labels"][order]}), **named).warnings
    assert len([each for each in labels if "one order" in each]) == 2


def test_models_that_are_weak_unsure_or_answer_the_most_frequent_class_are_not_told_of() -> None:
    rng, labels, trained = np.random.default_rng(0), np.random.default_rng(1).integers(0, 2, N), MEMBER

    def sure_of(right: Any, sure: float) -> np.ndarray:
        first = np.where((labels == 0) == right, sure, 1 - sure)
        return np.stack([first, 1 - first], axis=1)

    coin = rng.random(N) < 0.5
    assert unrelated(sure_of(coin, 0.9), labels, trained)
    assert not unrelated(sure_of(coin, 0.6), labels, trained)  # unsure
    assert not unrelated(
        sure_of(rng.random(N) < np.where(trained, 0.8, 0.5), 0.9), labels, trained
    )  # knows its own records
    few = np.arange(N) < 10
    assert not unrelated(sure_of(coin | few, 0.9), labels, few)  # knows its own ten records
    assert not unrelated(sure_of(labels == 0, 0.9), labels, trained)  # one class to all
    assert not unrelated(sure_of(coin, 0.9)[:20], labels[:20], trained[:20])  # too few to tell
    assert unrelated(np.where(coin, labels, 1 - labels), labels, trained)
    assert not unrelated(labels, labels, trained)
