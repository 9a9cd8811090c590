"""What an audit concludes."""

from __future__ import annotations

from typing import Literal

from miaudit.documents import Count, Document, Fraction
from miaudit.result.figures import Interval

VerdictKind = Literal["leak", "inverted", "none detected", "confounded", "broken", "inconclusive"]


class Counted(Document):
    """How many members and non-members the verdict counts: people where they are known, and then ``records`` of theirs."""

    members: Count
    nonmembers: Count
    unit: Literal["person", "record"] = "record"
    records: Count | None = None


class Verdict(Document):
    """What the audit concludes; its sentence is `miaudit.result.wording.sentence` of it and the figures it names.

    ``basis`` is what it rests on: the AUC of attacks (``area``) or a few exposed members (``few``); the check on raw
    ``records``, the one for a ``pattern`` of the classes that one side only carries, or the one on shuffled memberships
    (``shuffle``); bystanders that show how hard the ``sides`` are, attacks
    that were not run on them where they do (``unchecked``), a target ``unlike`` them, a difference that may be
    ``chance``; too few records (``power``); ``nothing`` that could be measured.

    ``attack`` is the one that is spoken of, ``figure`` its AUC with its interval, which is corrected for all attacks unless the
    attack was named beforehand; or the AUC of the control that ``basis`` names. ``highest`` is the attack of the highest AUC
    among those of ``above``. ``limit`` is the AUC above which no leak was detected: the highest end of any attack's interval.

    ``above``, ``few`` and ``below`` name the attacks whose claims stand: by AUC, by a few exposed members, upside down.
    ``unexplained`` names those that claim what bystanders show as well, or may show. ``reason`` says why there is no
    more to conclude, ``caveats`` what else a reader must know.
    """

    kind: VerdictKind
    basis: Literal[
        "area", "few", "records", "pattern", "shuffle", "sides", "unchecked", "unlike", "chance", "power", "nothing"
    ]
    attack: str | None = None
    figure: Interval | None = None
    highest: str | None = None
    limit: Fraction | None = None
    n: Counted
    above: list[str] = []
    few: list[str] = []
    below: list[str] = []
    unexplained: list[str] = []
    reason: str | None = None
    caveats: list[str] = []
