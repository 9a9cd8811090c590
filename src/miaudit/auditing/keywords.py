"""Errors in the words of a Python call: messages name keys of a plan, and a call with a model has keywords."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from miaudit.errors import MiauditError, PlanError

_FURTHER = {
    "data.features": "features",
    "shadows.count": "shadows",
    "data.unit": "unit",
    "data.group": "groups",
    "data.ids": "ids",
    "data.slices": "slices",
    "data.population": "population",
    "target.outputs": "outputs",
    "target.columns": "columns",
    "target.positive": "positive",
    "recipe.task": "task",
    "split.by_group = false": 'unit="record"',
}
"""Keywords whose names or values are not those of the key."""


@contextmanager
def in_keywords(keys: Mapping[str, str]) -> Iterator[None]:
    """Name in errors of the block what a call would say in place of a plan's keys.

    Parameters
    ----------
    keys
        Keywords by the paths of keys, beside those whose names are others, or in their place.
    """
    try:
        yield
    except MiauditError as error:
        words = {**_FURTHER, **keys}
        if isinstance(error, PlanError):
            error.problems = [(_called(path, words), _called(text, words)) for path, text in error.problems]
        error.args = tuple(
            _called(each.replace("problems in the plan", "problems", 1), words) if isinstance(each, str) else each
            for each in error.args
        )
        raise


def _called(text: str, words: Mapping[str, str]) -> str:
    longest_first = sorted(words, key=len, reverse=True)
    pattern = rf"(?<![\w./])({'|'.join(map(re.escape, longest_first))})(?!\w)( = (?=[\w\"'\[{{]))?"

    def word(match: re.Match[str]) -> str:
        return words[match[1]] + ("=" if match[2] else "")

    return re.sub(pattern, word, text)
