"""ShadowPool: the shadow models of one audit, as rows of a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from miaudit.data.dataset import Dataset
from miaudit.data.hashes import row_hashes
from miaudit.data.records import form_of
from miaudit.errors import PoolError, StoreError, TimeLimitError, counted, noun
from miaudit.evidence import Answers, Evidence, Floats, Measure, Population, Probes, Signal
from miaudit.files import temporary_folder
from miaudit.probes import Probed
from miaudit.recipes import Forgetting, GroupRecipe, Recipe, fingerprint_of_recipe, refuse_few
from miaudit.seeds import child_seed, generator
from miaudit.shadows import fork_server
from miaudit.shadows.design import Draws
from miaudit.shadows.engine import GO_ON, Progress, run_jobs
from miaudit.shadows.training import TWICE, Failure, Job
from miaudit.store import Row, Store, content_key

SAME = 1e-6
"""Answers of a model trained twice may differ so much before the recipe is said not to be reproducible."""

_FACTS = ("train_accuracy", "test_accuracy", "train_error", "test_error", "name")  # of a model that came out again

TOLERANCE, TOLERANCE_IN_GROUPS = 1e-6, 1e-4
"""How far a row may differ from the same model trained again, alone or in groups that may be of another width."""


@dataclass(frozen=True, eq=False)
class ShadowPool:
    """Shadow models to be trained on draws of a data set.

    Parameters
    ----------
    dataset, recipe, draws
        Records, how to train one model, and who is trained on what.
    store
        Where the rows lie.
    seed
        Root of the shadows' own seeds.
    probed
        What every shadow is asked beside, many times a record.
    twice
        Whether to train the first shadow twice, where that is cheap: its row says how far the answers differ.
    kept
        Whether the store outlives the audit, so that errors may refer to it.
    apart
        Records of the population that each bystander is trained on; it answers the audited records alone. One that cannot be
        trained is left out.
    forget, apart_forget
        What each shadow, and each bystander, is made to forget after its training; None: nothing.
    """

    dataset: Dataset
    recipe: Recipe
    draws: Draws
    store: Store
    seed: int
    failures: list[Failure] = field(default_factory=list)
    probed: Probed | None = None
    twice: bool = False
    kept: bool = True
    stored: list[Job] = field(default_factory=list)  # what the last run had from the store
    apart: NDArray[np.int64] | None = None  # (b, k)
    bystanders: list[Job] = field(default_factory=list)  # those that the last run trained or had from the store
    forget: Sequence[NDArray[np.int64]] | None = None  # (m,) of the shadows
    apart_forget: Sequence[NDArray[np.int64]] | None = None  # (b,) of the bystanders

    def __post_init__(self) -> None:
        """Refuse shadow models of too few records, before a target is asked.

        Raises
        ------
        PlanError
            If the recipe has more shards than records or classes to deal out to them.
        """
        if len(self.draws.train):
            refuse_few(self.recipe, self.draws.train.shape[1], self.dataset.width)

    @cached_property
    def _keys(self) -> RowKeys:
        return RowKeys(self.dataset, self.recipe)

    @property
    def unknown(self) -> tuple[str, ...]:
        """What decides the rows and cannot be seen, so that they are trained each time."""
        return self._keys.unknown

    @cached_property
    def plan(self) -> list[Job]:
        """One job per shadow; the first may be trained twice, to see whether it comes out the same."""
        keys = self._keys
        jobs = []
        for i, (train, records) in enumerate(zip(self.draws.train, self.draws.asked, strict=True)):
            seed = child_seed(self.seed, "shadow", i)
            forget = None if self.forget is None else self.forget[i]
            key, twice = keys.key(train, records, seed, self.probed, forget), self.twice and i == 0
            jobs.append(Job(key, f"shadow {i}", train, records, seed, self.probed, twice=twice, forget=forget))
        return jobs

    @cached_property
    def bystander_plan(self) -> list[Job]:
        """One job per bystander."""
        jobs, audited = [], self.draws.audited
        for i, train in enumerate(() if self.apart is None else self.apart):
            seed = child_seed(self.seed, "bystander", i)
            forget = None if self.apart_forget is None else self.apart_forget[i]
            key = self._keys.key(train, audited, seed, forget=forget)
            jobs.append(Job(key, f"bystander {i}", train, audited, seed, forget=forget))
        return jobs

    def run(
        self,
        *,
        workers: int,
        minimum: int,
        also: Sequence[Job] = (),
        cluster: str | None = None,
        deadline: float | None = None,
        tell: Callable[[Progress], None] | None = None,
        early: Sequence[Job] = (),
    ) -> dict[int, dict[str, Any]]:
        """Train what the store lacks; return what is known (accuracies, seconds) of every shadow there is, by number.

        Bystanders are trained with the shadows, and counted in what is expected of time and room.

        ``early`` are jobs whose rows this program stored a moment ago.

        Raises
        ------
        PoolError
            If a model of ``also`` (a target that is trained here) could not be trained, or fewer than ``minimum``
            shadows could, or the cluster was lost; what was trained stays in the store.
        TimeLimitError
            If the deadline (by `time.monotonic`) passed first; what was trained stays in the store.
        """
        if workers and cluster is None and len(self.draws.train) > 1:  # while the names of rows are computed
            fork_server.load_early(fork_server.modules_of(self.recipe))
        jobs = self.plan
        new = {job.key for job in early}
        everyone = [*also, *jobs, *self.bystander_plan]
        how: dict[str, Any] = {"workers": workers, "cluster": cluster, "deadline": deadline, "tell": tell}
        needed, of_shadows = {job.name for job in also}, {job.name for job in jobs}

        def hopeless(failures: Sequence[Failure]) -> bool:
            names = {failure.name for failure in failures}
            return bool(names & needed) or len(jobs) - len(names & of_shadows) < minimum

        try:
            failures, facts = run_jobs(everyone, self.dataset, self.recipe, self.store, **how, hopeless=hopeless)
        except TimeLimitError as error:
            if self.kept:
                raise
            text = str(error).removesuffix(GO_ON)
            raise TimeLimitError(
                f"{text}. Nothing was kept: give out= a folder, and the next call goes on there"
            ) from None
        self.stored[:] = [job for job in everyone if job.key in facts and job.key not in new]
        for failure in failures:
            if failure.name in needed:
                raise PoolError(f"the {failure.name} could not be trained: {failure.error}{self._more(failure)}")
        if not all(job.key in facts for job in everyone):  # else all were read a moment ago
            facts = self.store.facts(job.key for job in everyone)
        self.bystanders[:] = [job for job in self.bystander_plan if job.key in facts]
        spare = {job.name for job in self.bystander_plan}
        failures = [failure for failure in failures if failure.name not in spare]
        self.failures[:] = failures
        shadows = {i: facts[job.key] for i, job in enumerate(jobs) if job.key in facts}
        if len(shadows) < minimum:
            total, first = counted(len(jobs), "shadow model"), failures[0] if failures else None
            least = f"at least {counted(minimum, 'is', 'are')} needed"
            why = f"the first failure: {first.error}" if first else "no model failed"
            if len(jobs) - len(failures) < minimum:  # others were not tried any more
                raise PoolError(f"{len(failures):,} of {total} could not be trained, {least}; {why}{self._more(first)}")
            gaps = len(jobs) - len(failures) - len(shadows)
            if gaps == 1:
                why += f"; 1 row is gone from {self.store.folder}, or was damaged, since it was written there"
            elif gaps:
                why += (
                    f"; {gaps:,} rows are gone from {self.store.folder}, or were damaged, since they were written there"
                )
            raise PoolError(f"{len(shadows):,} of {total} could be trained, {least}; {why}{self._more(first)}")
        return shadows

    def retrain(self, count: int, *, seed: int, workers: int, cluster: str | None, deadline: float | None) -> Retrained:
        """Train some of the rows that the last run had from the store again, drawn by the seed, and compare them.

        Raises
        ------
        StoreError
            If a row does not come out again.
        """
        sample = generator(seed, "retrain").permutation(len(self.stored))[:count]
        jobs = [self.stored[i] for i in sorted(sample)]
        tolerance = TOLERANCE_IN_GROUPS if isinstance(self.recipe, GroupRecipe) else TOLERANCE
        with temporary_folder("miaudit-") as folder:
            fresh = Store(folder)
            how: dict[str, Any] = {"workers": workers, "cluster": cluster, "deadline": deadline}
            again = [replace(job, twice=False) for job in jobs]
            failures = run_jobs(again, self.dataset, self.recipe, fresh, **how).failures
            if failures:
                raise StoreError(
                    f"the row of {failures[0].name} in {self.store.folder} could not be made again: {failures[0].error}"
                )
            differences = {job.name: _difference(self.store.get(job.key), fresh.get(job.key)) for job in jobs}
        wrong = {name: difference for name, difference in differences.items() if not difference <= tolerance}
        if wrong:
            self.store.note("rows differ from what was trained again", differences=wrong, tolerance=tolerance)
            name, difference = max(wrong.items(), key=lambda item: item[1])
            raise StoreError(
                f"{len(wrong):,} of {counted(len(jobs), 'row')} in {self.store.folder} "
                f"{noun(len(wrong), 'does', 'do')} not come out when trained again; "
                f"{name} differs by up to {difference:.3g}, allowed is {tolerance:g}. Something else than this recipe on this "
                "kind of machine made them, or the recipe is not reproducible: nothing is concluded from them. Use another "
                "output folder"
            )
        exact = sum(difference == 0 for difference in differences.values())
        return Retrained(list(differences), exact, max(differences.values(), default=0.0), tolerance)

    def _more(self, failure: Failure | None) -> str:
        """Return where to read more of a failure, to end a sentence with."""
        if self.kept:
            traced = failure is not None and failure.traceback
            where = f". Tracebacks are in {self.store.folder / 'journal.jsonl'}" if traced else ""
            return f"{where}; what was trained is kept in {self.store.folder}"
        where = "" if failure is None or not failure.place else f". It was raised{failure.place}"
        return f"{where}. Give out= a folder, to keep tracebacks and what was trained"

    def evidence(
        self,
        shadows: Iterable[int],
        target: NDArray[Any],
        audited: NDArray[np.int64],
        *,
        outside: Population | None = None,
        features: NDArray[Any] | None = None,
        people: NDArray[np.int64] | None = None,
        alike: Callable[[NDArray[np.float32]], None] | None = None,
        residual: Signal | None = None,
        measure: Measure | None = None,
    ) -> ShadowEvidence:
        """Return the evidence of trained shadows about a target that answered the audited records.

        Parameters
        ----------
        shadows
            Numbers of trained shadows, as `run` returned them.
        target
            (n, classes) outputs of the target on the audited records, or its (n,) labels.
        audited
            (n,) record numbers of the audited records in the data set.
        outside
            The target's answers on other records; those of the shadows are put beside them where they are about the
            records that the draws set aside.
        features
            (n, d) numbers the audited records consist of.
        people
            (n_records,) person of each record of the data set, where known.
        alike
            Reduces (m, r, classes) answers in place to what the target gives, such as rounded ones.
        residual, measure
            Of a regression: what is read off its predictions, and what that is. ``target`` and ``outside`` hold it already.

        Answers are read from the store when an attack asks for them, one model at a time; they are never all in memory.
        """
        numbers, draws = list(shadows), self.draws
        n, p, r = len(draws.audited), len(draws.aside), draws.asked.shape[1]
        overlapping = draws.design == "overlapping"
        own = slice(0 if overlapping else n, r - p)
        jobs, reading = [self.plan[number] for number in numbers], (alike, residual)
        rows = self._stored(jobs, own, *reading)
        if p and outside is not None:
            outside = replace(outside, shadows=self._stored(jobs, slice(r - p, r), *reading))
        about = self._stored(jobs, slice(0, n), *reading)
        bystanders: Answers | None = None
        if self.bystanders:
            bystanders = self._stored(self.bystanders, slice(0, n), *reading)
        records, inside = draws.asked[numbers], draws.inside[numbers]  # (m, r)
        order = np.concatenate([audited, np.setdiff1d(records[:, own], audited)])  # the evidence's records axis
        position = np.full(len(self.dataset), -1, dtype=np.int64)
        position[order] = np.arange(len(order))
        beside: dict[str, Any] = {"population": outside, "features": features, "measure": measure}
        labels = self.dataset.y if residual is None else np.zeros(len(self.dataset), np.int64)
        theirs = Evidence(
            target,
            rows,
            inside[:, own],
            labels[order],
            asked=position[records[:, own]],
            people=None if people is None else people[order],
            bystanders=about if bystanders is None and n and not overlapping else bystanders,
            **beside,
        )
        if not n or not numbers:
            return ShadowEvidence(theirs, None)
        beside |= {"own": None if overlapping else theirs, "people": None if people is None else people[audited]}
        beside["bystanders"] = bystanders
        return ShadowEvidence(theirs, Evidence(target, about, inside[:, :n], labels[audited], **beside))

    def about(
        self,
        jobs: Sequence[Job],
        index: NDArray[np.int64],
        array: str = "outputs",
        *,
        alike: Callable[[NDArray[np.float32]], None] | None = None,
    ) -> Answers:
        """Return (m, n, classes) answers of models of this pool to those that ``index`` (n,) names of what they were asked.

        ``array`` is ``"outputs"``, or `miaudit.shadows.training.AFTER`; one model at a time is read, when it is asked for.
        ``alike`` is as of :meth:`evidence`.
        """
        rows = partial(_answers_about, self.store, array, index, alike)
        return Answers(tuple(partial(rows, job.key) for job in jobs), len(index), self.dataset.width)

    def outputs(self, shadows: Iterable[int]) -> NDArray[np.float32]:
        """Return (m, r, classes) outputs of trained shadows; one row at a time is read, so memory holds them once.

        Raises
        ------
        StoreError
            If a row is not there, or was damaged since it was trained.
        """
        numbers = list(shadows)
        outputs = np.empty((len(numbers), self.draws.asked.shape[1], self.dataset.width), dtype=np.float32)
        for place, number in zip(outputs, numbers, strict=True):
            row = self.store.get(self.plan[number].key)
            if row is None:
                raise StoreError(f"the row of shadow {number} is gone from {self.store.folder}; run the audit again")
            place[:] = row.arrays["outputs"]
        return outputs

    def probes(self, shadows: Iterable[int], question: str) -> NDArray[Any]:
        """Return what came of probing trained shadows: (m, n, q) votes, or (m, n) distances.

        Raises
        ------
        StoreError
            If a row is not there, or was damaged since it was trained.
        """
        jobs, rows = self.plan, []
        for number in shadows:
            row = self.store.get(jobs[number].key)
            if row is None or question not in row.arrays:
                raise StoreError(f"the row of shadow {number} is gone from {self.store.folder}; run the audit again")
            rows.append(row.arrays[question])
        return np.stack(rows)

    def errors(self, shadows: Iterable[int]) -> tuple[float, float]:
        """Return the mean absolute and the mean squared error of a regression's shadows on records not trained on."""
        absolute, squares, count = 0.0, 0.0, 0
        for number in shadows:
            job, inside = self.plan[number], self.draws.inside[number]
            predictions = self.store.part(job.key, "outputs", 0, len(job.asked))[:, 0]
            errors = np.abs(predictions - self.dataset.truth[job.asked], dtype=np.float64)[~inside]
            absolute, squares, count = absolute + errors.sum(), squares + np.square(errors).sum(), count + len(errors)
        return float(absolute) / max(count, 1), float(squares) / max(count, 1)

    def _stored(
        self,
        jobs: Sequence[Job],
        part: slice,
        alike: Callable[[NDArray[np.float32]], None] | None,
        residual: Signal | None = None,
    ) -> Answers:
        """(m, ., classes) outputs on a part of each row's records, or their residuals, read when they are asked for."""
        rows = part.stop - part.start, self.dataset.width
        if residual is None:
            answers = partial(_answers_of, self.store, part, alike)
            return Answers(tuple(partial(answers, job.key) for job in jobs), *rows)
        errors = partial(_residuals_of, self.store, part, residual, self.dataset.truth)
        return Answers(tuple(partial(errors, job.key, job.asked[part]) for job in jobs), *rows)


# What reads a row; functions of the module, so that another process can be given them.

_Alike = Callable[[NDArray[np.float32]], None] | None


def _answers_about(store: Store, array: str, index: NDArray[np.int64], alike: _Alike, key: str) -> Floats:
    rows = store.part(key, array, 0, int(index.max(initial=-1)) + 1)[index]
    return _reduced(rows, alike)


def _answers_of(store: Store, part: slice, alike: _Alike, key: str) -> Floats:
    return _reduced(store.part(key, "outputs", part.start, part.stop), alike)


def _reduced(rows: NDArray[Any], alike: _Alike) -> Floats:
    rows = rows.astype(np.float32, copy=False)
    if alike is not None:
        alike(rows[None])
    return rows


def _residuals_of(
    store: Store, part: slice, residual: Signal, truth: NDArray[Any], key: str, asked: NDArray[np.int64]
) -> Floats:
    return residual(store.part(key, "outputs", part.start, part.stop), truth[asked])[:, None]


def _difference(stored: Row | None, fresh: Row | None) -> float:
    """Return by how much two rows differ at most; infinity where they are not of the same form."""
    if stored is None or fresh is None or stored.arrays.keys() != fresh.arrays.keys():
        return float("inf")
    pairs = [(stored.arrays[name], fresh.arrays[name]) for name in stored.arrays]
    if any(one.shape != other.shape or one.dtype != other.dtype for one, other in pairs):
        return float("inf")
    if any(stored.facts.get(name) != fresh.facts.get(name) for name in _FACTS):
        return float("inf")
    apart = [np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0) for one, other in pairs]
    return float(max(apart, default=0.0)) if np.isfinite(apart).all() else float("inf")


@dataclass(frozen=True)
class Retrained:
    """Stored rows that were trained again, and how far they differ from what lay in the store.

    ``tolerance`` is how far they may: the last bits differ by the group that a model is trained in and by the processor.
    """

    models: list[str]
    identical: int
    largest_difference: float
    tolerance: float


class ShadowEvidence(NamedTuple):
    """One pool's evidence in the two forms that attacks read.

    ``own`` has the rows that attacks learn from: every shadow's training and test set. ``direct`` has all shadows'
    answers to the audited records, for attacks that judge each record by them.
    """

    own: Evidence
    direct: Evidence | None

    def of(self, needs: frozenset[str]) -> Evidence:
        """Return the form for an attack with such ``needs``."""
        about_audited = bool(needs & {"overlapping", "probes"})
        return self.direct if about_audited and self.direct is not None else self.own

    def with_answers(self, answers: Mapping[str, Probes]) -> ShadowEvidence:
        """Return the same with what came of questions about the audited records, by the question."""
        if not answers:
            return self
        if self.direct is None:
            return ShadowEvidence(self.own.replace(answers=answers), None)
        return ShadowEvidence(self.own, self.direct.replace(answers=answers))


class RecipeName(NamedTuple):
    """What decides a recipe, as JSON values for the names of things that are made with it."""

    parts: dict[str, Any]
    unknown: tuple[str, ...]


def recipe_name(recipe: Recipe) -> RecipeName:
    """Return what decides a recipe: its description, its code, and the packages it reaches.

    What cannot be seen into gives another name each time.
    """
    decided = fingerprint_of_recipe(recipe)
    parts: dict[str, Any] = {"recipe": recipe.describe(), "code": decided.sha256, "packages": decided.packages}
    if decided.unknown:
        parts["unknown"] = [*decided.unknown, uuid4().hex]
    return RecipeName(parts, decided.unknown)


class RowKeys:
    """Names of output rows: hashes of all that decides what a model answers.

    Where not all that decides it can be seen (``unknown`` says what), names are new each time, so that no row is served.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe) -> None:
        self._digests = _record_digests(dataset)  # (n_records, 24) bytes
        identity = recipe_name(recipe)
        self._history = recipe.history() if isinstance(recipe, Forgetting) else {}
        self.unknown = identity.unknown
        self._common = {
            "row": 2,
            **identity.parts,
            "schema": dataset.schema.fingerprint,
            "form": form_of(dataset.X),
            "classes": list(dataset.classes),
            **({} if dataset.values is None else {"task": "regression"}),
        }

    def key(
        self,
        train: NDArray[np.int64],
        records: NDArray[np.int64],
        seed: int,
        probed: Probed | None = None,
        forget: NDArray[np.int64] | None = None,
        relearn: NDArray[np.int64] | None = None,
        afresh: bool = False,
    ) -> str:
        """Return the name of the row of a model trained on ``train`` with ``seed``, asked about ``asked``, and probed.

        Where it was made to ``forget`` some of them, how and which is a part of the name; so is what it is to ``relearn``, and
        whether it is to be trained ``afresh``, from no state that another stored.
        """
        parts: dict[str, Any] = {
            **self._common,
            "train": self._hash(train),
            "asked": self._hash(records),
            "seed": seed,
        }
        if probed is not None:
            questions = sorted({*map(str, probed.questions)})
            parts["probes"] = {"records": self._hash(probed.records), "questions": questions, "seed": probed.seed}
        if relearn is not None:
            parts["relearn"] = {"version": 2, "records": self._hash(relearn)}
        if afresh:
            parts["afresh"] = True
        if forget is not None:
            parts["history"] = [{**self._history, "forget": self._hash(forget)}]
        return content_key(parts)

    def _hash(self, index: NDArray[np.int64]) -> str:
        return hashlib.sha256(np.ascontiguousarray(self._digests[index]).tobytes()).hexdigest()


def _record_digests(dataset: Dataset) -> NDArray[np.uint8]:
    records = np.ascontiguousarray(row_hashes(dataset.X))
    labels = np.ascontiguousarray(dataset.y, dtype="<i8")
    return np.concatenate(
        [records.view(np.uint8).reshape(len(dataset), -1), labels.view(np.uint8).reshape(len(dataset), -1)], axis=1
    )


def training_oddities(
    unknown: Sequence[str], shadows: Mapping[int, Mapping[str, Any]], progress: Progress
) -> list[str]:
    """Say what was odd about how the models were trained: rows that cannot be named, chance, groups that failed."""
    warnings = []
    if unknown:
        some = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        warnings.append(
            f"The recipe reaches what cannot be read ({some}), so its stored models cannot be told from those of another "
            "version of it: every model is trained again in each run."
        )
    difference = max((facts.get(TWICE) or 0.0 for facts in shadows.values()), default=0.0)
    if difference > SAME:
        warnings.append(
            "The recipe is not reproducible: one model trained twice from the same seed gave answers that differ by up to "
            f"{difference:.3g}. Another run gives other figures; draw all chance from numpy's, Python's or torch's "
            "generators, which are seeded, or from random_state."
        )
    if progress.apart:
        warnings.append(
            f"{counted(progress.apart, 'model was', 'models were')} trained one by one because "
            f"{noun(progress.apart, 'its', 'their')} group failed as a whole: {progress.why_apart}"
        )
    return warnings
