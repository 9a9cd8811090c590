"""A target behind a URL: asked in batches over several connections, within a budget, and looked at before it is trusted."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import Records, n_records, take_records
from miaudit.errors import BudgetError, PlanError, StoreError, TargetError, counted
from miaudit.evidence.answers import Decision, Type, hint_of_name
from miaudit.files import write_atomically
from miaudit.plan import HTTPPlan
from miaudit.targets.classes import class_columns, positive_class
from miaudit.targets.client import MOST_BYTES, Client
from miaudit.targets.connection import Connection, Sign, check_url, identity_of, shown
from miaudit.targets.contact import ANEW, Contact, asked_alone, findings, repeated
from miaudit.targets.credentials import body_problems, chosen_values
from miaudit.targets.exchange import Asked, Exchange
from miaudit.targets.jobs import check_job
from miaudit.targets.kept import filled, record_keys, stacked
from miaudit.targets.ledger import Estimate, Ledger, Limits
from miaudit.targets.outputs import Outputs
from miaudit.targets.target import Target
from miaudit.targets.wire import Wire

_VERBOSE, _MOST_EVER = 256, 2**30  # bytes of an answer to one record and class, with its name; and in all


class Endpoint(Target):
    """A target that is asked over HTTP; made by `connect`.

    Before the first query it is asked about a few records: as one batch, the same batch again, and the first of them
    alone. What that tells is in `contact`.

    Attributes
    ----------
    ledger
        Counts of what was sent, and every answer that came.
    tell
        Called with a sentence about how far asking is.
    """

    def __init__(
        self,
        url: str,
        http: HTTPPlan,
        *,
        sign: Sign | None = None,
        encode: Callable[[Any], Any] | None = None,
        decode: Callable[[bytes, int], Any] | None = None,
        folder: str | Path | None = None,
        description: str | None = None,
    ) -> None:
        check_url(url)
        wire = _options(Wire, http, format=http.format or "json", encoder=encode, decoder=decode)
        connection = _options(Connection, http, sign=sign, slow_down=tuple(http.slow_down))
        problems = [
            problem
            for name, text in (("body", wire.body), ("each", wire.each))
            for problem in ([] if text is None else body_problems(json.loads(text), name))
        ] + ([] if http.job is None else check_job(http.job))
        if problems:
            raise PlanError(problems)
        self.url = wire.address(url)
        name = wire.output or (wire.answer or "").rpartition(".")[2]
        hint = hint_of_name(name, f"its answers are named {name!r}")
        super().__init__(self._ask, classes=0, description=description or shown(self.url), kind=http.outputs, hint=hint)
        self.source = "given url"
        self.named = http.columns is not None or http.positive is not None
        self.batch_size = sys.maxsize  # _ask makes its own, smaller, batches
        self.wire, self.limits = wire, _options(Limits, http)
        self.tell: Callable[[str], None] = lambda text: None
        self.connection = connection
        self._client = Client(
            self.url, content_type=wire.content_type, connection=connection, concurrency=http.concurrency
        )
        self._client.tell = lambda text: self.tell(text)
        self._exchange = Exchange(self._client, wire, http, self.url)
        self._exchange.tell = lambda text: self.tell(text)
        self.probes = http.contact
        self._order = None if http.columns is None else tuple(str(name) for name in http.columns)
        self._class = http.positive
        self._folder, self._place_given = None if folder is None else Path(folder), folder is not None
        self._ledger: Ledger | None = None
        self._expected: list[bytes] = []
        self._contact_keys: list[bytes] = []
        self._verified = 0  # answers that were there when it was last seen to be the same model
        self._further = 0

    def for_classes(self, classes: int, names: tuple[Any, ...] | None = None) -> Endpoint:
        """Say which classes the data has, before anything is asked.

        Raises
        ------
        PlanError
            If the target is known to answer others.
        """
        own = self._names
        if own is not None and len(own) != classes:
            raise PlanError(f"classes: the target was given {counted(len(own), 'class name')}, the data has {classes}")
        if own is not None and names is not None and tuple(map(str, own)) != tuple(map(str, names)):
            if {str(name) for name in names} == {str(name) for name in own}:
                self._order = self._order or tuple(str(name) for name in own)
            else:
                names = own  # the data knows its classes by number
        self.classes, self._names = classes, names
        if self._class is not None:
            self._positive = positive_class(self._class, classes, names)
        if self._order is not None:
            self._columns = class_columns(self._order, classes, names)
        self._client.most_bytes = min(max(MOST_BYTES, self._exchange.batch * classes * _VERBOSE), _MOST_EVER)
        return self

    @property
    def deadline(self) -> float | None:
        """Time (by time.monotonic) after which nothing is sent, read or waited for."""
        return self._client.deadline

    @deadline.setter
    def deadline(self, at: float | None) -> None:
        self._client.deadline = at
        if self._ledger is not None:
            self._ledger.deadline = at

    def open(self, folder: Path | None, deadline: float | None, tell: Callable[[str], None]) -> None:
        """Keep answers and log below a folder, unless `connect` was given another; end at the deadline.

        What was answered before is not asked about again: it is taken into the folder, and the counts begin at none.

        Raises
        ------
        TargetError
            If it was closed.
        """
        self._client.refuse_closed()
        self.tell, self.deadline = tell, deadline
        self.queries, self.remarks, self._exchange.refusals = 0, [], {}
        if self.contact is not None:
            self.contact = self.contact.anew(2 * self.contact.records + (self._exchange.batch > 1))
        if not self._place_given and folder != self._folder:
            self._move(folder)
        if self._ledger is not None:
            self._ledger.begin()

    def _move(self, folder: Path | None) -> None:
        """Keep answers in another folder from now on: those that lie there, or else those of before."""
        if folder is not None and Path(folder).is_symlink():
            raise StoreError(f"{folder} is a link, and answers are kept in a folder of their own; remove it")
        before, self._folder, self._ledger = self._ledger, folder, None
        if before is None:
            return
        if len(self.ledger):  # of an earlier run, whose contact they belong to
            self.contact = None
            return
        self.ledger.take(before)
        before.close()
        if self.contact is not None:
            self._note(verified=False)

    @property
    def identity(self) -> str:
        """Hash of all that decides what a record's answer is: address, headers, body, certificates, proxy, and classes.

        A credential is in it by the name of its variable, so that it may be renewed. Of a variable in another place, such
        as a header that chooses the model, the value is in it, by a digest under a key that stays in the folder.
        """
        names = self._order or self._names
        parts = {
            "url": self.url,
            "wire": {name: _content(of) for name, of in vars(self.wire).items() if of is not None} | self._package(),
            "classes": self.classes if names is None else [str(name) for name in names],
            **identity_of(self.connection, self.url),
        }
        values = chosen_values(self.connection.headers, self.url, self.wire.body)
        if values:
            parts["chosen"] = hmac.new(self._salt(), json.dumps(values).encode(), "sha256").hexdigest()
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _salt(self) -> bytes:
        """Return the key of this folder's digests, made when first needed; without a folder nothing outlives the run."""
        if self._folder is None:
            return b""
        path = self._folder / "salt"
        if path.is_symlink():
            raise StoreError(f"{path} is a link; remove it")
        if not path.exists():
            write_atomically(path, os.urandom(32))
        try:
            return path.read_bytes()
        except OSError as error:
            raise StoreError(f"cannot keep answers in {self._folder}: {error}; choose another output folder") from None

    @property
    def ledger(self) -> Ledger:
        """The query ledger, opened when first used."""
        if self._ledger is None:
            self._ledger = Ledger(None if self._folder is None else self._folder / self.identity, self.limits)
            self._ledger.deadline = self.deadline
        return self._ledger

    def rest(self) -> None:
        """Let go of what is kept, so that others may ask; asking again takes it up."""
        if self._ledger is not None:
            self._ledger.close()

    def cease(self) -> None:
        """Send nothing more: requests that wait for their turn end; answers on their way are still taken and kept."""
        self.deadline = time.monotonic()

    def close(self) -> None:
        """Close connections and files."""
        self._client.close()
        if self._ledger is not None:
            self._ledger.close()

    def estimate(self, X: Records) -> Estimate:
        """Return what a query of these records will take, first contact not counted."""
        return self.ledger.estimate(record_keys(X))

    def expect(self, parts: Iterable[Records], *, further: int = 0) -> Estimate:
        """Return the estimate for all that will be asked about, and remember it for what may be missing.

        Parameters
        ----------
        parts
            The records, in pieces; those of the first may go without an answer (`lacking`).
        further
            Most records beside them that the answers will decide on.
        """
        keys = [record_keys(part) for part in parts]
        self._expected = [key for part in keys for key in part]
        self._exchange.may_fail = {*(keys[0] if keys else ())}
        self._further = further
        return self.ledger.estimate(self._expected, further=self._further_left())

    def _further_left(self) -> int:
        """Return how many of the further records may still have to be asked about."""
        expected = set(self._expected) | set(self._contact_keys)
        return max(0, self._further - sum(key not in expected for key in self.ledger.records()))

    def facts(self) -> dict[str, Any]:
        """Return this run's counts, for the provenance of a result."""
        return {"url": shown(self.url), "format": self.wire.format, **self._package(), **self.ledger.facts()}

    def _package(self) -> dict[str, str]:
        """Return the installed package that declares the wire format, if one does."""
        return {} if self.wire.source is None else {"package": self.wire.source}

    def answer(self, X: Records) -> Outputs:
        """Return the target's answers to n records, asking only about those never answered before.

        Raises
        ------
        BudgetError
            If the budget does not cover them; the answers that came are kept.
        TargetError
            If the target fails or gives an unusable answer, or is another model than the one that gave earlier answers.
        """
        if not self.contact and n_records(X):
            contact = self.make_contact(X)
            self.queries -= contact.records  # which are among the records asked about now
            if self.resumed:
                self._confirm(set(self._expected) or set(record_keys(X)), resumed=True)
        return super().answer(X)

    def make_contact(self, X: Records) -> Contact:
        """Ask about the first few of some records; of a target that was met in an earlier run, ask nothing.

        What is noted is said at `Target.make_contact`.

        Raises
        ------
        TargetError
            If an answer is unusable.
        """
        if self.classes < 1:
            raise PlanError("say how many classes the data has, or their names: connect(..., classes=...)")
        if self.contact is not None:  # of an audit before
            self.resumed = True
            return self.contact
        if (earlier := self._recalled(X)) is not None:
            return earlier
        X = take_records(X, np.arange(min(self.probes, n_records(X))))
        before, first = self.queries, self._ask(X)
        super().answer(X)  # checks what came; asks nothing
        again = self._ask(X, b"again")
        alone = self._ask(take_records(X, [asked_alone(first)]), b"alone") if self._exchange.batch > 1 else None
        contact = findings(first, again, alone, answers=self.kind, decimals=self.decimals)
        reason = None if self.decision is None else self.decision.reason
        self.contact = replace(contact, outputs=self.outputs, reason=reason)
        self.queries = before + contact.queries
        self._contact_keys, self._first = record_keys(X), (X, first)
        self._note(verified=True)
        return self.contact

    def _recalled(self, X: Records) -> Contact | None:
        """Take up what an earlier run knew of the target, if it answered some of these records."""
        facts, state = self.ledger.fact("contact"), self.ledger.fact("state")
        if facts is None or state is None:
            return None
        if not _whole(facts, state):
            raise StoreError(
                f"what {self.ledger.folder} holds of the target is damaged, or of another version of this program: remove that "
                "folder to ask again, or choose another output folder"
            )
        ours = record_keys(X)
        place = {key: i for i, key in reversed(list(enumerate(ours)))}
        self._contact_keys, self._verified = [bytes.fromhex(key) for key in state["keys"]], state["verified"]
        rows = [place[key] for key in self._contact_keys if key in place and self.ledger.has(key)]
        if len(rows) < len(self._contact_keys):
            rows = [i for key, i in place.items() if self.ledger.has(key)][: self.probes]
        if not rows:
            return None
        contact, self._exchange.tells = (
            Contact(**facts),
            state.get("named", True),
        )  # of older ones nothing is known, nor told
        self.named |= self._exchange.tells
        self._first = take_records(X, rows), stacked([self.ledger.known(ours[i]) for i in rows])
        self.contact, self.resumed = contact, True
        if self._declared is None and self.decision is None:
            self.decision = Decision(facts["outputs"], contact.reason or "first contact")
            self._one = self._first[1].ndim == 1
        self._saw_decimals(contact.decimals)
        self.queries += contact.queries
        if state["mixed"]:
            raise TargetError(
                f"the answers in {self.ledger.folder} are not those of one model: asked again, the target answered otherwise. "
                "Remove that folder, or choose another output folder, and run again while the model stays as it is"
            )
        return contact

    def _note(self, *, verified: bool, mixed: bool = False) -> None:
        """Keep what is known of the target, and how many answers there were when it was last seen to be the same."""
        if verified:
            self._verified = self._answered()
        keys = [key.hex() for key in self._contact_keys]
        self.ledger.note("contact", None if self.contact is None else asdict(self.contact))
        self.ledger.note(
            "state", {"keys": keys, "verified": self._verified, "mixed": mixed, "named": self._exchange.tells}
        )

    def _answered(self) -> int:
        """Return how many records were answered, not counting those that were asked again on purpose."""
        return sum(1 for _ in self.ledger.records())

    def confirm(self, *, resumed: bool = False) -> Contact | None:
        """Ask the questions of first contact again, and see that the target is the model that it was then.

        After the other records nothing is asked if there were none since the last time. Where the budget is spent, or what
        is left of it is needed for the records that are missing, that is noted: ``contact.unchanged`` is then None.

        Raises
        ------
        TargetError
            If it is another model now.
        """
        self._confirm(set(self._expected), resumed=resumed)
        return self.contact

    def _confirm(self, digests: set[bytes], *, resumed: bool) -> None:
        answers, ledger = self._answered(), self.ledger
        contact = self.contact
        if self._first is None or contact is None or (not resumed and answers == self._verified):
            return
        (X, first), budget = self._first, ledger.left
        n, missing = len(first), sum(not ledger.has(key) for key in digests)
        reason = "the budget left no queries to ask the records of first contact again"
        self.contact = replace(contact, unchanged=None, unchanged_reason=reason)
        if budget is not None and (budget < n or missing <= budget < missing + n):
            self._note(verified=False)
            return
        where = "" if ledger.folder is None else f": remove {ledger.folder} first, or choose another output folder"
        try:
            repeated(
                self,
                first,
                lambda: self._ask(X, os.urandom(8)),
                since="before other records" if resumed else "at the end",
                advice=f"Keep the model as it is while it is audited, and run again{where}",
            )
        finally:
            self.queries += self.contact.queries - contact.queries
            differs = self.contact.unchanged is False
            complete = self.contact.unchanged_reason is None and not differs
            self._note(verified=complete, mixed=differs and answers > self._verified)

    def _ask(self, X: Records, why: bytes = b"") -> NDArray[Any]:
        """Return answers, asking for those not kept; one asked again on purpose is kept beside the first, by the reason."""
        why = os.urandom(8) if ANEW.get() else why
        keys = [key + why for key in record_keys(X)]
        first = {key: i for i, key in reversed(list(enumerate(keys)))}  # identical records are asked about once
        missing = [i for key, i in sorted(first.items(), key=lambda item: item[1]) if not self.ledger.has(key)]
        missing = [i for i in missing if keys[i] not in self._exchange.refusals]
        if missing:
            names = [str(name) for name in self._order or self._names or range(self.classes)]
            try:
                self._exchange.fetch(Asked(X, keys, self.ledger, names, first=self.contact is None), missing)
            except BudgetError as error:
                raise self._explained(error, keys, missing) from None
            self.named |= self._exchange.tells
        return stacked(filled([self.ledger.known(key) for key in keys]))

    def lacking(self, X: Records) -> NDArray[np.bool_]:
        """(n,) Which of some records got no answer, though they were asked about; what was returned for them is no answer."""
        return np.array([key in self._exchange.refusals for key in record_keys(X)], bool)

    def _explained(self, error: BudgetError, keys: Sequence[bytes], missing: Sequence[int]) -> BudgetError:
        """Return what the budget did not cover, with one that does."""
        if self.contact is None:
            return BudgetError(
                f"{error} before first contact was made, which takes up to {2 * self.probes + 1}; give a budget that covers "
                "these and every record that is to be asked about"
            )
        ledger = self.ledger
        now = sum(ledger.has(keys[i]) for i in missing)
        total = set(self._expected) or set(keys)
        rest, further = sum(not ledger.has(key) for key in total), self._further_left()
        where = (
            "for this program alone, as there is no folder (out)" if ledger.folder is None else f"in {ledger.folder}"
        )
        least = (
            ledger.spent + rest + (2 * len(self._contact_keys) if self._expected else 0)
        )  # it is seen to be the same
        more = f", and up to {further:,} more" if further else ""
        enough = f" ({least + further:,} is enough)" if further else ""
        return BudgetError(
            f"{error}: {counted(now, 'record was', 'records were')} answered now, and {len(total) - rest:,} of "
            f"{len(total):,} in all; they are "
            f"kept {where}. {rest:,} are missing{more}: to {'finish' if self._expected else 'have them'}, run again with a "
            f"budget of at least {least:,}{enough}"
        )


T = TypeVar("T", Wire, Connection, Limits)


def _content(value: Any) -> Any:
    """Return a value, or of a function its name and a hash of its source: what decides an answer."""
    if not callable(value):
        return value
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        source = ""
    return [getattr(value, "__qualname__", type(value).__name__), hashlib.sha256(source.encode()).hexdigest()]


def _options(kind: type[T], http: HTTPPlan, **others: Any) -> T:
    """Return what has some of a plan's options as fields of the same names."""
    return kind(**{each.name: getattr(http, each.name) for each in fields(kind) if hasattr(http, each.name)} | others)


def _whole(facts: Any, state: Any) -> bool:
    """Whether what a folder holds of a target has the form in which it was written."""
    form: dict[str, Any] = {"records": int, "queries": int, "answers": str, "deterministic": bool, "later": int}
    form |= {"batch_consistent": bool, "batch_difference": float | int, "repeat_difference": float | int}
    form |= {"decimals": int | None, "later_difference": float | int | None, "unchanged": bool | None}
    form |= {"unchanged_reason": str | None, "outputs": str, "reason": str | None}
    return (
        isinstance(facts, dict)
        and isinstance(state, dict)
        and facts.keys() == form.keys()
        and all(isinstance(facts[name], kind) for name, kind in form.items())
        and facts["outputs"] in get_args(Type)
        and isinstance(state.get("verified"), int)
        and isinstance(state.get("mixed"), bool)
        and isinstance(state.get("keys"), list)
        and all(isinstance(key, str) and re.fullmatch("([0-9a-f]{2})*", key) for key in state["keys"])
    )
