"""Train one model, or a group of them, and ask each about its records: what every crew does with a job."""

from __future__ import annotations

import gc
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.data.dataset import Dataset
from miaudit.data.mapped import is_mapped
from miaudit.data.on_disk import is_on_disk
from miaudit.data.records import take_records
from miaudit.errors import PlanError, PoolError, place_of
from miaudit.evidence import Floats
from miaudit.recipes import (
    Fingerprint,
    Foreseeing,
    Forgetting,
    GroupRecipe,
    Model,
    Recipe,
    Relearning,
    choice_of,
    content_of,
    fingerprint_of_recipe,
    shortened,
    staged,
    work_of,
)
from miaudit.recipes.randomness import seeded_generators, torch_was_drawn_from
from miaudit.seeds import child_seed
from miaudit.shadows.guard import ModelError, contained
from miaudit.shadows.sharing import LEAST
from miaudit.store import Rows
from miaudit.targets.at_hand import as_target
from miaudit.targets.regression import RegressionTarget
from miaudit.targets.target import Target
from miaudit.threads import one_thread

if TYPE_CHECKING:
    from miaudit.probes.probing import Probed

SHORT_EPOCHS, SHORT_RECORDS, SHORT_SECONDS = 5, 2000, 0.5
"""A calibration is one epoch on so many records, repeated for so long; it is left out for recipes of fewer epochs."""

TOGETHER = 4096
"""A trained model is asked about so many records at once: answers in float64, and copies of them, stay small."""

TWICE = "difference when trained twice"
"""Fact of a row: the most that answers of its model changed when it was trained a second time from the same seed."""

CHOICE = "choice"
"""Fact of a row: what the model's training chose among learners or settings, where it chose."""

AFTER = "after"
"""Array of a row: what its model answered after the deletion of the records that its job names."""

WORK = "record-epochs"
"""Fact of a row: what the deletion trained again, and what training all that stays would be."""

RELEARNING = "updates to learn again"
"""Fact of a row: how many updates on the records that its job names its model takes to learn them, or why none are known."""

CONTENT = "model"
"""Fact of a row: a digest of all that the model is, of one that forgot records as it is then; None where it is not seen."""

TWICE_SECONDS = 5.0
"""A model that took longer is not trained twice to see whether it comes out the same."""

ERROR_CHARACTERS = 2000
"""Longer messages of errors are cut in the middle."""


@dataclass(frozen=True, eq=False)
class Job:
    """One model to train and to ask; its row will be stored under ``key``."""

    key: str
    name: str
    train: NDArray[np.int64]  # (n,) records of the training set
    asked: NDArray[np.int64]  # (r,) records the model is asked about
    seed: int
    probed: Probed | None = None  # what else the model is asked, many times a record
    twice: bool = False  # whether to train it twice, where that is cheap, to see whether it comes out the same
    forget: NDArray[np.int64] | None = None  # records of `train` that it is made to forget; then it is asked again
    relearn: NDArray[np.int64] | None = None  # records that it is tried on, for how fast it learns them again
    afresh: bool = False  # whether no state that another training stored may be read


@dataclass(frozen=True)
class Failure:
    """A model that could not be trained; ``place`` is where in the code of its author, to end a sentence with."""

    name: str
    error: str
    traceback: str
    place: str = ""


@dataclass(frozen=True)
class Trained:
    """A model whose row is in the store: how long training and asking it took, and the most memory its process held so far."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Calibrated:
    """What a model seems to take, from a short piece of its training."""

    seconds: float
    peak_bytes: int


Outcome = Trained | Failure


@dataclass(frozen=True)
class Apart:
    """A group that failed as a whole, so that its models were trained one by one."""

    models: int
    error: str


@dataclass(frozen=True)
class Waiting:
    """A model (or a group, by its first) that has been training for long."""

    name: str
    seconds: float


News = Sequence[Outcome | Calibrated | Apart | Waiting]  # what a crew yields


def train_and_ask(jobs: Sequence[Job], dataset: Dataset, recipe: Recipe, store: Rows) -> list[Outcome | Apart]:
    """Train a group of models, ask each about its records, and store the rows.

    A group that fails as a whole is trained one by one, so that the blame falls where it belongs.

    Returns
    -------
    list
        For each job what became of it; before them, that the group failed as a whole, where it did.
    """
    if any(job.afresh for job in jobs):
        recipe = staged(recipe, None)
    generators = _generators(recipe)
    began = time.perf_counter()
    failure: Failure | None = None
    models: Sequence[Model] = ()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            with contained() as notes:
                models = _train(jobs, dataset, recipe, generators)
        except Exception as error:
            failure = _failure(jobs[0], error)
        if failure is None:
            each = (time.perf_counter() - began) / len(jobs)
            remarks = sorted({f"{w.category.__name__}: {w.message}".splitlines()[0] for w in heard})[:5] + notes
            answers: list[Outcome | Apart] = []
            for job, model in zip(jobs, models, strict=True):
                answers.append(_ask(job, model, dataset, recipe, store, each, remarks, alone=len(jobs) == 1))
            return answers
    if len(jobs) == 1:
        return [failure]
    _free_memory()  # out here nothing holds what the group had allocated
    singles = [outcome for job in jobs for outcome in train_and_ask([job], dataset, recipe, store)]
    return [Apart(len(jobs), failure.error), *singles]


def trained_alone(recipe: Recipe, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Model:
    """Return a model as a job of this seed would train it.

    Raises
    ------
    PoolError
        If its training fails.
    """
    job = Job("", "target", np.arange(len(y)), np.arange(0), seed)
    try:
        with contained():
            generators = _generators(recipe)
            with seeded_generators(seed, generators):
                return recipe.fit(X, y, classes=classes, seed=seed)
    except Exception as error:
        raise PoolError(f"the target could not be trained: {_failure(job, error).error}") from error


def stored_alone(job: Job, model: Model, seconds: float, dataset: Dataset, recipe: Recipe, store: Rows) -> Outcome:
    """Ask a model that is trained already about a job's records, and store its row."""
    with one_thread():
        return _ask(job, model, dataset, recipe, store, seconds, ())


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def latest_fingerprint(recipe: Recipe) -> Fingerprint:
    """Return the fingerprint of a recipe, taken once for all of its models in this process."""
    global _latest
    latest = _latest  # another thread may train by another recipe
    if latest is None or latest[0] is not recipe:
        latest = _latest = (recipe, fingerprint_of_recipe(recipe))
    return latest[1]


_latest: tuple[Recipe, Fingerprint] | None = None


def _generators(recipe: Recipe) -> tuple[Any, ...]:
    """Return the random generators that a recipe reaches; torch is loaded where it will be, so that it can be seeded."""
    fingerprint = latest_fingerprint(recipe)
    if "torch" in fingerprint.packages:
        with suppress(ImportError):
            import torch  # noqa: F401
    return fingerprint.generators


def _train(jobs: Sequence[Job], dataset: Dataset, recipe: Recipe, generators: Sequence[Any] = ()) -> Sequence[Model]:
    """Train models with all generators seeded by the first one's seed; groups have seeds of their own for each."""
    before = "torch" in sys.modules
    with seeded_generators(jobs[0].seed, generators):
        models = _fitted(jobs, dataset, recipe)
    if not before and "torch" in sys.modules and torch_was_drawn_from():
        with seeded_generators(jobs[0].seed, generators):  # loaded while it trained, so not from the seed
            models = _fitted(jobs, dataset, recipe)
    return models


def _fitted(jobs: Sequence[Job], dataset: Dataset, recipe: Recipe) -> Sequence[Model]:
    classes = dataset.width
    if isinstance(recipe, GroupRecipe):
        indices, seeds = [job.train for job in jobs], [job.seed for job in jobs]
        X, y = dataset.X, dataset.truth
        if is_mapped(X) or is_on_disk(X):  # a group needs the records that it trains on, and not the whole file
            rows = np.unique(np.concatenate(indices))
            X, y = take_records(X, rows), y[rows]
            indices = [np.searchsorted(rows, index) for index in indices]
        elif not type(recipe).__module__.startswith("miaudit."):  # others may change what they are given
            X, y = take_records(X, np.arange(len(y))), y.copy()
        return recipe.fit_many(X, y, indices=indices, classes=classes, seeds=seeds)
    models = []
    for job in jobs:
        X, y = take_records(dataset.X, job.train), dataset.truth[job.train]
        if isinstance(recipe, Foreseeing):
            questions = take_records(dataset.X, job.asked)
            models.append(recipe.fit_for(X, y, questions, classes=classes, seed=job.seed))
        else:
            models.append(recipe.fit(X, y, classes=classes, seed=job.seed))
    return models


def is_repeated(job: Job, recipe: Recipe, seconds: float) -> bool:
    """Whether a model that trained alone in so many seconds is trained once more, to see whether it comes out the same.

    Not where a training is somebody else's work. That it does come out the same is known of recipes of ours that say so; what
    others hand on or inherit from one says nothing of their own code.
    """
    ours = type(recipe).__module__.startswith("miaudit.") and getattr(recipe, "reproducible", False)
    return job.twice and seconds <= TWICE_SECONDS and not ours and not getattr(recipe, "remote", False)


def _ask(
    job: Job,
    model: Model,
    dataset: Dataset,
    recipe: Recipe,
    store: Rows,
    seconds: float,
    remarks: Sequence[str],
    *,
    alone: bool = False,
) -> Outcome:
    difference, began = None, time.perf_counter()
    try:
        with contained():
            outputs, right, probes, decision = _answers(job, model, dataset, recipe)
            choice = choice_of(model)
            asking = time.perf_counter() - began
            if alone and is_repeated(job, recipe, seconds):
                afresh = staged(recipe, None)  # states of the first training would be read
                again = _answers(job, _train([job], dataset, afresh, _generators(afresh))[0], dataset, recipe)[0]
                difference = float(np.abs(np.subtract(again, outputs, out=again), out=again).max(initial=0.0))
            afterwards = None if job.forget is None else _after(job, model, dataset, recipe)
            relearning = _relearning(job, model, dataset, recipe)
    except Exception as error:
        return _failure(job, error)
    trained_on, figure = np.isin(job.asked, job.train), "accuracy" if dataset.values is None else "error"
    facts: dict[str, Any] = {
        "name": job.name,
        f"train_{figure}": _mean(right[trained_on]),
        f"test_{figure}": _mean(right[~trained_on]),
        "seconds": round(seconds, 4),
        "warnings": list(remarks),
        "answers": None if decision is None else asdict(decision),
    }
    further = {TWICE: difference, CHOICE: choice, RELEARNING: relearning}
    facts |= {name: fact for name, fact in further.items() if fact is not None}
    if job.afresh:
        facts[CONTENT] = content_of(model)
    arrays: dict[str, NDArray[Any]] = {"outputs": outputs}
    if afterwards is not None:
        arrays[AFTER] = afterwards.outputs
        facts |= afterwards.facts
    for question, answers in probes.items():
        arrays[question] = answers.answers
        facts[f"queries of {question}"] = answers.queries
    store.put(job.key, arrays, facts)
    return Trained(seconds + asking, peak_memory())


def _relearning(job: Job, model: Model, dataset: Dataset, recipe: Recipe) -> int | str | None:
    """Return the updates that a model takes to learn the records of its job again, or why there are none to count."""
    if job.relearn is None or not isinstance(recipe, Relearning):
        return None
    X, y = take_records(dataset.X, job.relearn), dataset.y[job.relearn]
    try:
        return recipe.relearn(model, X, y, seed=child_seed(job.seed, "relearning"))
    except PlanError as error:
        return str(error)


class _Afterwards(NamedTuple):
    """What a model answers once it was made to forget, and what is known of that."""

    outputs: Floats
    facts: dict[str, Any]


def _after(job: Job, model: Model, dataset: Dataset, recipe: Recipe) -> _Afterwards:
    assert job.forget is not None
    if not isinstance(recipe, Forgetting):
        raise PoolError(f"{recipe.name} does not say how its models forget records")
    seed, began = child_seed(job.seed, "forget"), time.perf_counter()
    with seeded_generators(seed, _generators(recipe)):
        forgot = recipe.forget(
            model,
            take_records(dataset.X, job.train),
            dataset.truth[job.train],
            forget=np.isin(job.train, job.forget),
            classes=dataset.width,
            seed=seed,
        )
    facts: dict[str, Any] = {"deletion_seconds": round(time.perf_counter() - began, 4)}
    if (work := work_of(forgot)) is not None:
        facts[WORK] = [work.spent, work.whole]
    if (content := content_of(forgot)) is not None:
        facts[CONTENT] = content
    if (relearning := _relearning(job, forgot, dataset, recipe)) is not None:
        facts[f"{RELEARNING} {AFTER}"] = relearning
    return _Afterwards(_answers(replace(job, probed=None), forgot, dataset, recipe)[0], facts)


def _answers(
    job: Job, model: Model, dataset: Dataset, recipe: Recipe
) -> tuple[Floats, NDArray[Any], dict[str, Any], Any]:
    """Return a model's answers, which are right, what came of its probes, and what its answers were taken for.

    Of a regression it is the absolute errors, in place of which are right.
    """
    before = "torch" in sys.modules
    answers = _seeded_answers(job, model, dataset, recipe)
    if not before and "torch" in sys.modules and torch_was_drawn_from():  # loaded meanwhile, so not from the seed
        answers = _seeded_answers(job, model, dataset, recipe)
    return answers


def _seeded_answers(
    job: Job, model: Model, dataset: Dataset, recipe: Recipe
) -> tuple[Floats, NDArray[Any], dict[str, Any], Any]:
    regression = dataset.values is not None
    outputs = np.empty((len(job.asked), dataset.width), np.float64 if regression else np.float32)  # (r, classes)
    right = np.empty(len(job.asked), np.float64 if regression else bool)
    with seeded_generators(child_seed(job.seed, "asking"), _generators(recipe)):
        target: Target = RegressionTarget(model) if regression else as_target(model, classes=len(dataset.classes))
        few = take_records(dataset.X, job.asked[:2])
        batch = min(target.most_at_once(few) if len(job.asked) else 1, TOGETHER)
        for start in range(0, len(job.asked), batch):
            part = slice(start, start + batch)
            answer = target.answer(take_records(dataset.X, job.asked[part]))
            outputs[part], truth = answer.probabilities, dataset.truth[job.asked[part]]
            right[part] = np.abs(outputs[part, 0] - truth) if regression else answer.labels == truth
        probes = {} if job.probed is None else job.probed.ask(target, dataset)
    return outputs, right, probes, target.decision


def peak_memory() -> int:
    """Return the most bytes this process has held in memory."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _mean(right: NDArray[Any]) -> float | None:
    return float(right.mean()) if len(right) else None


def _failure(job: Job, error: BaseException) -> Failure:
    ended = isinstance(error, ModelError)  # it names the place in the code, and is raised by us around it
    place = ""
    try:
        place = "" if ended else place_of(error)
        text = str(error) if ended else f"{type(error).__name__}: {error}"
        trace = "" if ended else "".join(traceback.format_exception(error)).strip()
    except Exception:  # an error that cannot be printed
        text, trace = type(error).__name__, ""
    texts = _clipped(text, ERROR_CHARACTERS), _clipped(trace, 10 * ERROR_CHARACTERS)
    return Failure(job.name, *texts, place=place)


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"


def calibrated(group: Sequence[Job], dataset: Dataset, recipe: Recipe) -> list[Calibrated]:
    """Train a group for one epoch on a few of its records, and tell from it what a model takes.

    First so that libraries are loaded, then on a quarter of the records and on all, the least of three times each where that
    is soon done: what all take beyond the quarter grows with records and epochs. The rest is counted once, also what an
    epoch takes whatever its records. Empty for a recipe without epochs, and where so few of them are asked for that the
    first models are soon there.
    """
    short = shortened(recipe)
    if short is None or short[1] < SHORT_EPOCHS:
        return []
    n = len(group[0].train)
    many = min(SHORT_RECORDS, n)
    few = max(many // 4, 1)
    part, began = staged(short[0], None), time.perf_counter()
    seconds = {few: float("inf"), many: float("inf")}
    try:
        _epoch(group, many, dataset, part)
        for again in range(3):
            if not again or time.perf_counter() - began < SHORT_SECONDS:
                for records in (few, many):
                    seconds[records] = min(seconds[records], _epoch(group, records, dataset, part))
    except Exception:
        return []  # the models themselves will say what is wrong
    grows = (seconds[many] - seconds[few]) / max(many - few, 1)  # with each record of an epoch
    if grows <= 0:  # noise, or a single record
        grows = seconds[many] / many
    once = max(seconds[many] - grows * many, 0.0)
    return [Calibrated((once + grows * n * short[1]) / len(group), peak_memory() + _to_come(group[0], dataset))]


def _to_come(job: Job, dataset: Dataset) -> int:
    """Return the bytes that a process holds later, and not after a few records: those of the others, and a row four times.

    Large arrays of records are mapped, and count as they are read. A row is held as answers, twice more while it is written,
    and about once in what the allocator keeps.
    """
    mapped = isinstance(dataset.X, np.ndarray) and dataset.X.nbytes >= LEAST and not dataset.X.flags.owndata
    return (dataset.X.nbytes if mapped else 0) + 4 * 4 * len(job.asked) * dataset.width


def _epoch(group: Sequence[Job], records: int, dataset: Dataset, recipe: Recipe) -> float:
    """Return the seconds of training a group on the first of its records."""
    part = [replace(job, train=job.train[:records]) for job in group]
    began = time.perf_counter()
    with warnings.catch_warnings(action="ignore"), contained():
        _train(part, dataset, recipe)
    return time.perf_counter() - began
