"""Forecast: what an audit will cost, and the smallest leak that it would show, said before it is run."""

from __future__ import annotations

from miaudit.documents import Count, Document, NonNegative
from miaudit.errors import counted, noun
from miaudit.result.figures import Power


class Queries(Document):
    """Records that the target will be asked about: ``to_send`` for certain, and up to ``further`` that answers decide on.

    ``cached`` were answered in an earlier run. ``cost`` is of all of them at the price of 1,000 that is stated, None where none
    is; ``seconds`` the least time at the rate that is stated; ``affordable`` what the budget still allows.
    """

    to_send: Count
    further: Count = 0
    cached: Count = 0
    cost: NonNegative | None = None
    seconds: NonNegative | None = None
    affordable: Count | None = None


class Forecast(Document):
    """What an audit will cost, and the smallest leak that so many records would show.

    ``models`` are to be trained, ``stored`` are in the folder. ``queries`` is None where the audit trains its target.
    ``seconds`` are by stage: ``load``, ``shadows`` (training and asking them), ``attacks`` (with controls and report), and
    ``target`` where a rate bounds it. A stage that cannot be told beforehand is left out, and ``notes`` say why.
    ``peak_bytes`` is the most memory of all processes together, ``disk_bytes`` what the folder will hold. ``attacks`` counts
    those that will run, and ``power`` holds for so many. Of a ``deletion`` audit ``members`` are the deleted records and
    ``nonmembers`` those never trained on, the models are also made to forget, and the attacks are those of its first question.
    """

    title: str
    members: Count
    nonmembers: Count
    unit: str
    models: Count
    stored: Count
    queries: Queries | None
    seconds: dict[str, float]
    peak_bytes: Count | None
    disk_bytes: Count
    attacks: Count
    power: Power | None
    notes: list[str] = []
    deletion: bool = False

    @property
    def total_seconds(self) -> float:
        """Seconds of all stages that can be told."""
        return sum(self.seconds.values())

    def lines(self) -> list[tuple[str, str]]:
        """Return what a terminal shows: a word and a sentence each."""
        people = "people" if self.unit == "person" else "records"
        inside, outside = ("deleted", "never trained on") if self.deletion else ("members", "non-members")
        sides = f"{self.members:,} {inside} and {self.nonmembers:,} {outside} ({people})"
        lines = [("Audits", f"{sides}, {counted(self.attacks, 'attack')}")]
        stored = f", {self.stored:,} more are in the folder" if self.stored else ""
        lines.append(("Trains", f"{counted(self.models, 'model')}{stored}"))
        lines.append(("Asks", _asked(self.queries)))
        stages = ", ".join(f"{stage} {clock(spent)}" for stage, spent in self.seconds.items())
        lines.append(("Takes", f"about {clock(self.total_seconds)} ({stages})"))
        memory = "" if self.peak_bytes is None else f"{self.peak_bytes / 2**20:,.0f} MiB of memory, "
        lines.append(("Needs", f"{memory}{self.disk_bytes / 2**20:,.1f} MiB on disk"))
        lines.append(("Shows", _shown(self.power, deletion=self.deletion)))
        return [*lines, *(("Note", note) for note in self.notes)]

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"{word}: {sentence}" for word, sentence in self.lines())])

    __repr__ = __str__


def clock(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _asked(queries: Queries | None) -> str:
    if queries is None:
        return "nobody: the target is trained here"
    most = queries.to_send + queries.further
    count = f"{queries.to_send:,} to {most:,}" if queries.further else f"{most:,}"
    parts = [f"the target about {count} {noun(most, 'record')}"]
    if queries.cached:
        parts.append(f"{queries.cached:,} more were answered before")
    if queries.cost is not None:
        parts.append(f"which costs {'up to ' if queries.further else ''}{queries.cost:,.2f} at the stated price")
    if queries.affordable is not None and queries.affordable < most:
        parts.append(f"of which the budget covers only {queries.affordable:,}")
    return ", ".join(parts)


def _shown(power: Power | None, *, deletion: bool) -> str:
    inside, outside = ("deleted records", "one never trained on") if deletion else ("members", "non-member")
    if power is None:
        return "nothing: a side is empty"
    if power.auc is None:
        return f"no leak of all {inside} alike ({power.reason})"
    share = 100 * power.power
    few = f", or {100 * power.exposed:.2g} % of the {inside} above every {outside}" if power.exposed is not None else ""
    return f"in {share:.0f} of 100 audits an AUC from {power.auc:.3f} on{few}; smaller leaks may go unseen"
