"""An attack: the margin of the record's own class over the next, to a power."""

from dataclasses import dataclass
from typing import ClassVar

import click
import numpy as np

from miaudit.attacks import Attack, Scores
from miaudit.attacks.attack import require


@dataclass(frozen=True)
class Margin(Attack):
    """The signed margin: p_y less the largest of the others, times its size to a power less one."""

    power: float = 1.0
    fails: bool = False
    exits: bool = False
    commands: bool = False

    name: ClassVar[str] = "margin"
    title: ClassVar[str] = "Margin of the true class"
    paper: ClassVar[str] = "none"
    when: ClassVar[dict[str, str]] = {"": "an example"}
    needs: ClassVar[frozenset[str]] = frozenset({"classes", "probabilities"})

    def __post_init__(self):
        if self.power <= 0:
            raise ValueError("power must be above 0")

    def run(self, evidence, *, seed=0):
        if self.fails:
            raise ZeroDivisionError("as it was asked to")
        if self.exits:
            raise SystemExit(3)
        if self.commands:
            click.Command("margin").main(["--unknown"])
        target, rows = require(self, evidence).target, np.arange(evidence.n)
        own = target[rows, evidence.audited_labels].astype(np.float64)
        others = target.astype(np.float64)
        others[rows, evidence.audited_labels] = -1
        margin = own - others.max(axis=1)
        return Scores(np.sign(margin) * np.abs(margin) ** self.power)
