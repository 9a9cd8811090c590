from __future__ import annotations

import pytest

from miaudit.attacks import ATTACKS, NAMED, USUAL, plan_attacks
from miaudit.errors import DataError, PlanError
from miaudit.evidence import Evidence
from miaudit.testing import worlds


def strongest(capability: str, **options) -> str:
    planned = plan_attacks(capability, **options)
    best = [p for p in planned if p.strongest]
    assert len(best) == 1
    assert best[0].runs
    return best[0].name


@pytest.mark.parametrize(
    ("capability", "options", "name"),
    [
        ("probabilities", {"shadows": 0}, "threshold"),
        ("labels", {"shadows": 0}, "gap"),
        ("probabilities", {"shadows": 0, "population": True}, "attack-p"),
        ("probabilities", {"shadows": 0, "population": True, "features": True}, "quantile"),
        ("probabilities", {"shadows": 1}, "salem"),
        ("probabilities", {"shadows": 20}, "shokri"),
        ("probabilities", {"shadows": 1, "design": "overlapping"}, "rmia"),
        ("logits", {"shadows": 3, "design": "overlapping"}, "rmia"),
        ("probabilities", {"shadows": 4, "design": "overlapping"}, "ratio"),
        ("probabilities", {"shadows": 16, "design": "disjoint", "answered": True}, "ratio"),
        ("probabilities", {"shadows": 17, "design": "disjoint", "answered": True}, "rmia"),
        ("probabilities", {"shadows": 17, "design": "overlapping"}, "lira"),
        ("topk", {"shadows": 63, "design": "overlapping"}, "lira"),
        ("probabilities", {"shadows": 64, "design": "overlapping"}, "lira"),
        ("probabilities", {"shadows": 128, "design": "offline"}, "rmia"),
        ("labels", {"shadows": 64, "design": "overlapping"}, "gap"),
        ("labels", {"shadows": 0, "probes": ["votes"]}, "label-only"),
        ("labels", {"shadows": 9, "probes": ["votes", "boundary"]}, "label-only boundary queries=500"),
    ],
)
def test_the_strongest_of_each_budget(capability: str, options: dict, name: str) -> None:
    assert strongest(capability, **options) == name


def test_every_attack_is_listed_once_a_configuration() -> None:
    planned = plan_attacks(
        "probabilities",
        shadows=8,
        design="overlapping",
        population=True,
        features=True,
        probes=["votes", "boundary"],
        trace=True,
        attacks=[*USUAL, *NAMED],
    )
    assert {p.attack.name for p in planned} == set(ATTACKS)
    assert len({p.name for p in planned}) == len(planned)
    assert all(p.runs for p in planned)


def test_reasons() -> None:
    def why(name: str, capability: str = "probabilities", **options) -> tuple[bool, str]:
        found = {p.name: p for p in plan_attacks(capability, **options)}[name]
        return found.runs, found.reason

    assert why("lira", shadows=3, design="overlapping") == (False, "it needs at least 4 shadow models, there are 3")
    assert why("lira", shadows=0) == (False, "there are no shadow models")
    assert why("rmia", shadows=9) == (False, "the shadows did not answer the audited records")
    assert why("rmia online", shadows=9, design="offline")[1].startswith("no shadow model was trained on")
    assert why("shokri", shadows=9, design="offline")[0] is False
    assert why("threshold", shadows=0)[0] is True
    assert why("threshold modified_entropy per-class", shadows=0) == (False, "there are no shadow models")
    assert why("lira offline", shadows=9, design="offline")[0] is True
    assert why("quantile", shadows=1, population=True) == (False, "the records' features are not at hand")
    assert why("calibration", "labels", shadows=9, design="overlapping") == (False, "the target answers labels only")
    assert why("shokri", "labels", shadows=9)[0] is True
    assert "tie" in why("shokri", "rounded", shadows=9)[1]
    assert "top k" in why("lira", "topk", shadows=9, design="overlapping")[1]


def test_of_deletions_lira_is_the_strongest_documented_where_it_can_be_run() -> None:
    def best(shadows: int, capability: str = "probabilities") -> str:
        planned = plan_attacks(capability, shadows=shadows, design="overlapping", deletion=True)
        return next(each.name for each in planned if each.strongest)

    assert {best(shadows) for shadows in (4, 16, 17)} == {"lira"}
    assert best(3) == "rmia"
    assert best(16, "labels") == "gap"


@pytest.mark.parametrize("design", ["overlapping", "disjoint"])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("shadows", [1, 3, 6])
@pytest.mark.parametrize("beside", [False, True])
def test_the_plan_is_what_happens(design: str, labels: bool, shadows: int, beside: bool) -> None:
    """What is said to run runs; what is said not to raises DataError."""
    e = worlds.exchangeable(n=200, classes=2, shadows=shadows, overlapping=design == "overlapping").evidence
    target = e.target.argmax(axis=1) if labels else e.target
    evidence = Evidence(
        target,
        e.shadows,
        e.inside,
        e.labels,
        asked=e.asked,
        population=e.population if beside else None,
        features=e.features if beside else None,
        probes=e.probes if beside else None,
    )
    probes = ("votes", "boundary") if beside else ()
    capability = "labels" if labels else "probabilities"
    for planned in plan_attacks(
        capability, shadows=shadows, design=design, population=beside, features=beside, probes=probes
    ):
        if planned.runs:
            assert len(planned.attack.score(evidence)) == evidence.n
        else:
            with pytest.raises(DataError):
                planned.attack.run(evidence)


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(PlanError, match="3 problems"):
        plan_attacks("scores", shadows=-1, design="half")
