from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from breaking import points
from sklearn.tree import DecisionTreeClassifier

from miaudit.data import from_arrays
from miaudit.evidence.questions import Votes, Walk
from miaudit.probes import Probed, probe
from miaudit.recipes import as_recipe
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.pool import RowKeys, ShadowPool
from miaudit.store import Store
from miaudit.targets import as_target

DATA = from_arrays(*points())
VOTES, WALK = Votes(queries=5), Walk(queries=40)
PROBED = Probed(np.arange(20), (VOTES, WALK, Votes(queries=5)), seed=3)


def pool(folder: Path) -> ShadowPool:
    draws = draw_disjoint(np.arange(100, 300), shadows=3, train=60, test=20, seed=0)
    return ShadowPool(DATA, as_recipe(DecisionTreeClassifier()), draws, Store(folder), 0, probed=PROBED)


def test_rows_hold_the_answers_to_probes_in_any_process(tmp_path: Path) -> None:
    here, there = pool(tmp_path / "a"), pool(tmp_path / "b")
    for each, workers in ((here, 0), (there, 1)):
        assert len(each.run(workers=workers, minimum=3)) == 3
    votes = here.probes(range(3), str(VOTES))
    assert votes.shape == (3, 20, 5)
    assert here.probes([0, 2], str(WALK)).shape == (2, 20)
    np.testing.assert_array_equal(there.probes(range(3), str(VOTES)), votes)
    job = here.plan[1]
    model = here.recipe.fit(DATA.X[job.train], DATA.y[job.train], classes=len(DATA.classes), seed=job.seed)
    target = as_target(model, classes=len(DATA.classes))
    alone = probe(target, DATA.X[:20], DATA.y[:20], DATA.schema, VOTES, seed=3)
    np.testing.assert_array_equal(alone.votes, votes[1])
    row = here.store.get(job.key)
    assert row.facts[f"queries of {VOTES}"] == 100
    assert row.facts[f"queries of {WALK}"] <= 800


def test_what_was_asked_is_part_of_the_name_of_a_row() -> None:
    keys, some = RowKeys(DATA, as_recipe(DecisionTreeClassifier())), np.arange(10)

    def key(probed: Probed | None) -> str:
        return keys.key(some, some, 0, probed)

    others = [
        None,
        PROBED,
        replace(PROBED, seed=4),
        replace(PROBED, records=np.arange(19)),
        replace(PROBED, questions=(VOTES,)),
        replace(PROBED, questions=(Votes(queries=6),)),
        replace(PROBED, questions=(Votes(queries=5, noise=0.6),)),
    ]
    assert len({key(probed) for probed in others}) == len(others)
    assert key(replace(PROBED, questions=(WALK, VOTES))) == key(PROBED)
    assert key(None) == keys.key(some, some, 0)
