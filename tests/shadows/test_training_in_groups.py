"""Groups of models that are trained together: how wide they are, what is told of them, and what becomes of one that fails."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from test_engine import DATA, outputs, pool

from miaudit.errors import TimeLimitError
from miaudit.recipes import EstimatorRecipe
from miaudit.shadows.engine import in_groups
from miaudit.shadows.training import Job


class Wide(EstimatorRecipe):
    """An estimator that takes groups of four."""

    def group_width(self, shape, classes):
        return 4

    def fit_many(self, X, y, *, indices, classes, seeds):
        return [self.fit(X[i], y[i], classes=classes, seed=s) for i, s in zip(indices, seeds, strict=True)]


@pytest.mark.parametrize(
    ("models", "workers", "widths"),
    [
        (21, 2, [4, 4, 4, 3, 3, 3]),
        (20, 1, [4] * 5),
        (20, 8, [3, 3, 3, 3, 2, 2, 2, 2]),
        (9, 2, [3, 2, 2, 2]),
        (3, 8, [1, 1, 1]),
        (1, 2, [1]),
    ],
)
def test_groups_are_even_and_keep_every_worker_busy(models, workers, widths):
    jobs = [Job(str(i), str(i), np.arange(5), np.arange(2), i) for i in range(models)]
    groups = in_groups(jobs, DATA, Wide(RandomForestClassifier(3)), workers)
    assert [len(group) for group in groups] == widths
    assert [job for group in groups for job in group] == jobs


def test_groups_hold_one_training_size_and_the_largest_come_first():
    jobs = [Job(str(i), str(i), np.arange(size), np.arange(2), i) for i, size in enumerate((5, 9, 5, 9, 5))]
    groups = in_groups(jobs, DATA, Wide(RandomForestClassifier(3)), 1)
    assert [[job.seed for job in group] for group in groups] == [[1, 3], [0, 2, 4]]


class Portioned(Wide):
    """Groups of four, and of no more models than keep a group to 200 training records."""

    def portion(self, shape, classes, *, records):
        return 200 // records


def test_groups_that_would_take_long_are_of_fewer_models(tmp_path):
    sizes = [(250, 1), (60, 6), (20, 5)]
    jobs = [
        Job(str(i), str(i), np.arange(size), np.arange(2), i)
        for i, size in enumerate(size for size, models in sizes for _ in range(models))
    ]
    groups = in_groups(jobs, DATA, Portioned(RandomForestClassifier(3)), 1)
    assert [(len(group), len(group[0].train)) for group in groups] == [(1, 250), (3, 60), (3, 60), (3, 20), (2, 20)]
    wide, narrow = (
        pool(tmp_path / each.__name__, each(RandomForestClassifier(3)), shadows=8) for each in (Wide, Portioned)
    )
    np.testing.assert_array_equal(outputs(wide, workers=0, minimum=8), outputs(narrow, workers=0, minimum=8))


def test_every_group_is_told_of_and_the_time_limit_keeps_those_that_are_ready(tmp_path):
    recipe, progress = Portioned(GaussianNB()), []
    outputs(pool(tmp_path / "first", recipe), workers=0, minimum=4)  # libraries are loaded before the clock runs
    forests, deadline = pool(tmp_path / "limited", recipe, shadows=9), time.monotonic() + 1

    def tell(now):
        progress.append(now.done)
        if now.done:  # of three groups the first, in time
            time.sleep(max(0.0, deadline - time.monotonic()))

    with pytest.raises(TimeLimitError, match="with 3 of 9 models in the store; 6 are missing"):
        forests.run(workers=0, minimum=9, tell=tell, deadline=deadline)
    assert list(dict.fromkeys(progress)) == [0, 3]
    later = []
    assert len(forests.run(workers=0, minimum=9, tell=lambda now: later.append((now.found, now.done)))) == 9
    assert list(dict.fromkeys(later)) == [(3, 0), (3, 3), (3, 6)]


class FailsInGroups:
    """A recipe whose groups fail whenever seed 3 of the pool is among them."""

    name = "fails in groups"

    def __init__(self, bad: int) -> None:
        self.bad = bad

    def describe(self):
        return {"recipe": self.name}

    def group_width(self, shape, classes):
        return 3

    def fit(self, X, y, *, classes, seed):
        return EstimatorRecipe(RandomForestClassifier(3)).fit(X, y, classes=classes, seed=seed)

    def fit_many(self, X, y, *, indices, classes, seeds):
        if self.bad in seeds:
            raise RuntimeError("this group has a bad one")
        return [self.fit(X[i], y[i], classes=classes, seed=s) for i, s in zip(indices, seeds, strict=True)]


def test_a_group_that_fails_is_trained_one_by_one(tmp_path):
    bad = pool(tmp_path, RandomForestClassifier(3), shadows=7).plan[4].seed
    shadow_pool = pool(tmp_path, FailsInGroups(bad), shadows=7)
    rows = shadow_pool.run(workers=0, minimum=6)
    assert list(rows) == [0, 1, 2, 3, 5, 6]
    assert [failure.name for failure in shadow_pool.failures] == ["shadow 4"]
