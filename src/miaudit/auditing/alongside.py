"""Asks a target while shadow models train, where that takes nothing from the training: behind a URL, asking is waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from miaudit.auditing.asking import Tell
from miaudit.auditing.workers import Workers
from miaudit.recipes import Recipe
from miaudit.shadows.engine import trains_elsewhere
from miaudit.shadows.training import Job
from miaudit.store import Store
from miaudit.targets import Target

Answers = TypeVar("Answers")


def can_overlap(targets: Sequence[Target], jobs: Sequence[Job], recipe: Recipe, store: Store, workers: Workers) -> bool:
    """Whether targets are asked while these models train: all are behind a URL, and other processes or machines train.

    In one process, models and a target's client would meet: models may draw from the global generators, and are watched for
    what they leave changed.
    """
    behind_urls = bool(targets) and all(target.source == "given url" for target in targets)
    return behind_urls and trains_elsewhere(jobs, recipe, store, workers=workers.count, cluster=workers.cluster)


class Asking(Generic[Answers]):
    """Answers that are there, or on their way."""

    def __init__(self, answers: Future[Answers], tell: Tell) -> None:
        self._answers, self._tell = answers, tell

    def check(self) -> None:
        """Raise what ended the asking, if anything did."""
        if self._answers.done():
            self._answers.result()

    def result(self) -> Answers:
        """Return the answers; wait for those that are on their way."""
        if not self._answers.done():
            self._tell("asking the target", None)
        return self._answers.result()


@contextmanager
def asking(
    ask: Callable[[], Answers], targets: Sequence[Target], tell: Tell, *, overlap: bool
) -> Iterator[Asking[Answers]]:
    """Ask before the block, or with ``overlap`` while it runs; where the block fails, nothing more is asked."""
    if not overlap:
        answers = Future[Answers]()
        answers.set_result(ask())
        yield Asking(answers, tell)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="miaudit asks the target") as thread:
        try:
            yield Asking(thread.submit(ask), tell)
        except BaseException:
            for target in targets:
                target.cease()
            raise
