"""Random generators that code draws from without being given one: seeded for each model and query, and put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from miaudit.seeds import child_seed


@contextmanager
def seeded_generators(seed: int, others: Sequence[Any] = ()) -> Iterator[None]:
    """Seed the global generators of numpy, Python and torch, and ``others``; put all back at the end.

    ``others`` are generators that a recipe reaches, as its fingerprint tells. Torch's are seeded where torch is loaded.
    """
    restore: list[Callable[[], None]] = []
    try:
        numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
        restore += [lambda: np.random.set_state(numpy_state), lambda: random.setstate(python_state)]  # noqa: NPY002
        np.random.seed(child_seed(seed, "numpy"))  # noqa: NPY002
        random.seed(child_seed(seed, "python"))
        if "torch" in sys.modules:
            restore += _seed_torch(child_seed(seed, "torch"))
        for i, each in enumerate(others):
            restore.append(_seed(each, child_seed(seed, "generator", i)))
        yield
    finally:
        for act in reversed(restore):
            act()


def torch_was_drawn_from() -> bool:
    """Whether torch's global generator is not as it was when it was last seeded; torch seeds it when it is loaded."""
    torch: Any = sys.modules["torch"]
    untouched = torch.Generator().manual_seed(torch.initial_seed())
    return not torch.equal(torch.get_rng_state(), untouched.get_state())


def _seed_torch(seed: int) -> list[Callable[[], None]]:
    torch: Any = sys.modules["torch"]
    if not hasattr(torch, "get_rng_state"):  # in the middle of being loaded
        return []
    state = torch.get_rng_state()
    restore: list[Callable[[], None]] = [lambda: torch.set_rng_state(state)]
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states = torch.cuda.get_rng_state_all()
        restore.append(lambda: torch.cuda.set_rng_state_all(states))
        torch.cuda.manual_seed_all(seed)
    return restore


def _seed(generator: Any, seed: int) -> Callable[[], None]:
    """Seed one generator; return what puts it back."""
    if isinstance(generator, random.Random):
        if isinstance(generator, random.SystemRandom):  # has no state
            return lambda: None
        before = generator.getstate()
        generator.seed(seed)
        return lambda: generator.setstate(before)
    if isinstance(generator, np.random.RandomState):
        state = generator.get_state(legacy=False)
        generator.set_state(np.random.RandomState(seed).get_state(legacy=False))
        return lambda: generator.set_state(state)
    if isinstance(generator, np.random.Generator):
        return _seed(generator.bit_generator, seed)
    if isinstance(generator, np.random.BitGenerator):
        content = generator.state
        generator.state = type(generator)(seed).state
        return lambda: setattr(generator, "state", content)
    tensor = generator.get_state()  # torch's
    generator.manual_seed(seed)
    return lambda: generator.set_state(tensor)
