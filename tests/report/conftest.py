"""A realistic result: 30 classes, three attacks, figures computed from simulated scores."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from miaudit.result import (
    AttackResult,
    BlindControl,
    ClassMetrics,
    Controls,
    GroupFigures,
    Grouping,
    Interval,
    NullControl,
    PointMetrics,
    Records,
    Result,
    Roc,
    ShadowsResult,
    SplitResult,
    TargetResult,
    TprAtFpr,
)

NAMES = ("shokri", "threshold", "gap")
TITLES = ("Shadow training, one attack model per class", "Loss threshold", "Gap attack")
PAPERS = ("Shokri et al. 2017", "Yeom et al. 2018", "Yeom et al. 2018")


def _interval(k: int, n: int) -> tuple[float, float]:
    return (float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0, float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0)


def _metrics(inside: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    tp, called, right = int((inside & member).sum()), int(inside.sum()), int((inside == member).sum())
    n, members = len(member), int(member.sum())
    p, r, a = _interval(tp, called) if called else (None, None), _interval(tp, members), _interval(right, n)
    return {
        "n": n,
        "members": members,
        "precision": tp / called if called else None,
        "precision_reason": None if called else "The attack calls no record of this class a member.",
        "precision_low": p[0],
        "precision_high": p[1],
        "recall": tp / members,
        "recall_low": r[0],
        "recall_high": r[1],
        "accuracy": right / n,
        "accuracy_low": a[0],
        "accuracy_high": a[1],
    }


def _sample(classes: int = 30, per_side: int = 1200, names: list[str] | None = None) -> Result:
    rng = np.random.default_rng(7)
    member = np.repeat([True, False], per_side)
    label = rng.integers(0, classes, 2 * per_side)
    label[:classes] = label[per_side : per_side + classes] = np.arange(classes)  # every class on both sides
    names = names or [f"place {k}" for k in range(classes)]
    records: list[dict[str, Any]] = [
        {"id": f"r{i}", "class": names[label[i]], "member": bool(member[i])} for i in range(2 * per_side)
    ]
    attacks = []
    for a, (name, title, paper) in enumerate(zip(NAMES, TITLES, PAPERS, strict=True)):
        score = rng.normal(size=2 * per_side) + member * (1.2, 0.8, 0.0)[a]
        if name == "gap":
            score = np.where(rng.random(2 * per_side) < np.where(member, 0.99, 0.67), 1.0, 0.0)
        inside = score > 0.5
        if name == "shokri":
            inside[label == 3] = False
        per_class = [
            ClassMetrics(
                class_=names[k],
                attack_model=("pooled" if k == 5 else "own") if name == "shokri" else "none",
                attack_rows=(12 if k == 5 else 2400 + k) if name == "shokri" else None,
                train_accuracy=1.0,
                test_accuracy=0.6 + 0.3 * k / classes,
                **_metrics(inside[label == k], member[label == k]),
            )
            for k in range(classes)
        ]
        values = np.unique(score)[::-1]
        values = values[:: max(1, len(values) // 400)]
        fpr = [0.0, *((score[~member] >= v).mean().item() for v in values), 1.0]
        tpr = [0.0, *((score[member] >= v).mean().item() for v in values), 1.0]
        auc = float((np.diff(fpr) * (np.array(tpr[1:]) + np.array(tpr[:-1])) / 2).sum())
        low = [
            TprAtFpr(
                fpr=f,
                tpr=(t := float(np.interp(f, fpr, tpr))),
                low=max(0.0, t - 0.01),
                high=t + 0.01,
                resolvable=f * per_side >= 10,
                reason=None if f * per_side >= 10 else f"{f:g} of {per_side} non-members is fewer than 10 records",
            )
            for f in (0.1, 0.01, 0.001)
        ]
        attacks.append(
            AttackResult(
                name=name,
                title=title,
                paper=paper,
                status="ran",
                pooled=PointMetrics(**_metrics(inside, member)),
                per_class=per_class,
                auc=Interval(value=auc, low=auc - 0.012, high=auc + 0.012),
                tpr_at_fpr=low,
                roc=Roc(fpr=fpr, tpr=tpr),
                beats_controls={"shokri": True, "threshold": None, "gap": False}[name],
                notes=["1 class had too few rows and used the pooled attack model."] if name == "shokri" else [],
                options={"hidden": 64, "epochs": 50, "per_class": True} if name == "shokri" else {},
            )
        )
        for record, s, i in zip(records, score, inside, strict=True):
            record[name], record[f"{name}_in"] = float(s), bool(i)
    first = np.argsort(np.argsort([-record["shokri"] for record in records])) + 1
    for i, (record, place) in enumerate(zip(records, first.tolist(), strict=True)):
        record |= {
            "risk_rank": place,
            "risk_low": max(1, place - i % 7),
            "risk_high": place + i % 90,
            "accused": place < 9,
        }
    groups = [
        GroupFigures(
            group=names[k],
            members=int((label[:per_side] == k).sum()),
            nonmembers=int((label[per_side:] == k).sum()),
            auc=Interval(value=0.6 + 0.3 * k / classes, low=0.5 + 0.3 * k / classes, high=0.7 + 0.3 * k / classes),
            above_chance=k > 3,
        )
        for k in range(classes)
    ]
    best = attacks[0].auc
    assert best is not None
    result = Result(
        title="Location-30, neural network",
        verdict=f"Membership can be told from the target's predictions: the strongest attack reaches an AUC of "
        f"{best.value:.3f} ({best.low:.3f} to {best.high:.3f}), above its controls.",
        warnings=[
            "Test accuracy of the shadows is 0.05 below the target's; the attack may be weaker than it could be.",
            "3 records stand on both sides as exact duplicates.",
        ],
        threat_model=[
            "Sends records to the target and reads the probability of every class.",
            "Knows the kind of model and how it is trained.",
            "Holds records from the same population, none of which the target has seen.",
            "Does not see weights, gradients or the training data.",
        ],
        not_tested=[
            "Attacks that need shadow models trained with and without the audited records (LiRA, RMIA).",
            "Answers restricted to labels or rounded probabilities.",
        ],
        data={"name": "location30", "records": 5010, "width": 446, "sha256": "5e" * 32},
        target=TargetResult(
            description="MLPClassifier(hidden_layer_sizes=(128,), max_iter=200)",
            source="trained here",
            train_accuracy=1.0,
            test_accuracy=0.6733333,
            classes=classes,
            outputs="probabilities",
            queries=2 * per_side,
        ),
        split=SplitResult(
            members=per_side,
            nonmembers=per_side,
            population=2610,
            shadows=60,
            shadow_train=1200,
            shadow_test=1200,
            evaluated_per_side=per_side,
            duplicates={"members and non-members": 3, "members and population": 11},
            draws_sha256="ab12" * 16,
        ),
        shadows=ShadowsResult(
            recipe="MLPClassifier(hidden_layer_sizes=(128,), max_iter=200)",
            asked=60,
            trained=59,
            failed=1,
            failures=[
                {"shadow": "shadow 17", "error": "ValueError", "traceback": "Traceback\n  line 1\nValueError: no"}
            ],
            train_accuracy=1.0,
            test_accuracy=0.6214,
        ),
        attacks=attacks,
        controls=Controls(
            null=NullControl(
                attack="shokri", auc=Interval(value=0.5041, low=0.4811, high=0.5271), accuracy=0.5025, at_chance=True
            ),
            baseline="threshold",
            blind=BlindControl(
                method="gradient boosting, 5-fold cross-validation",
                auc=Interval(value=0.4933, low=0.4702, high=0.5164),
                confounded=False,
            ),
        ),
        groups=[Grouping(column="class", attack="shokri", confidence=0.998, groups=groups)],
        provenance={
            "versions": {"miaudit": "0.1.0", "python": "3.11.9", "numpy": "2.1.0", "scikit-learn": "1.9.1"},
            "seeds": {"root": 20170522, "target": 1},
            "hashes": {"data": "5e" * 32, "plan": "c0" * 32},
            "plan": {
                "data": {"name": "location30"},
                "shadows": {"count": 60, "recipe": {"kind": "mlp", "hidden": [128]}},
            },
            "started": "2026-01-15T09:30:00Z",
            "seconds": {"total": 141.2},
        },
    )
    return result.model_copy(update={"records": Records.of(records)})


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Result]:
    """Build a sample result of so many classes, with given class names."""
    return _sample


@pytest.fixture(scope="session")
def result() -> Result:
    """Return 30 classes, one of undefined precision (3), one decided by the pooled attack model (5)."""
    return _sample()


class Page(HTMLParser):
    """A page read strictly: every tag closed in order. Keeps elements, the text of sections, and the tables' rows."""

    VOID = ("meta", "br", "line", "circle", "rect", "polyline", "polygon", "path", "img", "link", "input", "col")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[tuple[str, dict[str, str | None]]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.setdefault(self._section(), []).append([])
        if tag in ("td", "th"):
            self.rows[self._section()][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack[-1][0] == tag, f"</{tag}> closes {self.stack[-1]} at {self.getpos()}"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self.stack]
        if "style" in tags or "script" in tags:
            return
        self.text += data
        self.sections[self._section()] = self.sections.get(self._section(), "") + data
        if "td" in tags or "th" in tags:
            # an interval stands on a line of its own: keep it apart from its figure
            gap = " " if ("class", "interval") in self.stack[-1][1].items() else ""
            self.rows[self._section()][-1][-1] += gap + data.strip("\n")

    def _section(self) -> str:
        for tag, attrs in reversed(self.stack):
            if tag in ("section", "header") and attrs.get("id"):
                return str(attrs["id"])
        return ""

    def attrs(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Page]:
    """Parse a page strictly."""
    return Page
