from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from miaudit.targets.seen import answered_classes, reduce_alike


@given(st.integers(1, 6), st.integers(0, 9))
def test_the_largest_probabilities_stay_and_the_others_are_not_answered(top, seed):
    full = np.random.default_rng(seed).dirichlet(np.ones(5), (3, 20)).astype(np.float32)  # (m, r, classes)
    shown = full.copy()
    reduce_alike(shown, top=top)
    kept = np.argsort(-full, axis=2)[..., :top]
    np.testing.assert_array_equal(np.take_along_axis(shown, kept, axis=2), np.take_along_axis(full, kept, axis=2))
    assert ((shown > 0).sum(axis=2) == min(top, 5)).all()
    assert answered_classes(shown[0]) == min(top, 5)


def test_rounding_and_leaving_alone():
    full = np.random.default_rng(0).dirichlet(np.ones(5), (3, 20)).astype(np.float32)
    shown = full.copy()
    reduce_alike(shown)
    np.testing.assert_array_equal(shown, full)
    reduce_alike(shown, decimals=2)
    np.testing.assert_array_equal(shown, np.round(full, 2))
