"""Masks of dropout for the networks of a group: from a generator of each model's own, or counted. Needs torch.

On a processor every model draws from its own generator, one after another. On a GPU that would be a launch for each model,
and a generator's state would not be part of a captured graph. There a mask is a hash of what it is for: the model's seed,
the number of the update, the layer, and the place in the batch. All masks of a step come from the same few operations on
whole numbers, and none depends on which models stand beside it, or on what was drawn before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch

from miaudit.seeds import child_seed

_WORD = 0xFFFFFFFF
_MULTIPLIERS, _WEYL, _ROUNDS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 10


class Words(NamedTuple):
    """Four words of 32 bits, each a tensor of int64 with values from 0 to 2^32 - 1; shapes are broadcast together."""

    first: torch.Tensor
    second: torch.Tensor
    third: torch.Tensor
    fourth: torch.Tensor


def round_keys(key: tuple[torch.Tensor, torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the key of every round of `philox`, of two words of 32 bits each: a Weyl sequence from the first on."""
    low, high = key
    steps = range(_ROUNDS)
    return [((low + step * _WEYL[0]) & _WORD, (high + step * _WEYL[1]) & _WORD) for step in steps]


def philox(counter: Words, keys: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Words:
    """Return the 128 bits that Philox4x32-10 makes of 128 bits of counter under a key of 64.

    J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC11 (2011); the
    tests hold it to the vectors that its authors published.

    Parameters
    ----------
    counter
        Words, as each place has its own.
    keys
        What `round_keys` returned.
    """
    first, second, third, fourth = counter
    for low, high in keys:
        # A product of two words has 64 bits. It wraps in int64, which leaves its bits; a shift to the right copies the sign.
        one, other = first * _MULTIPLIERS[0], third * _MULTIPLIERS[1]
        first, third = (other >> 32 & _WORD) ^ second ^ low, (one >> 32 & _WORD) ^ fourth ^ high
        second, fourth = other & _WORD, one & _WORD
    return Words(first, second, third, fourth)


class Masks(Protocol):
    """What fills the masks of a step, one for each hidden layer."""

    def draw(self) -> None:
        """Fill them for the next update: 1 / keep for what stays, else 0."""
        ...


class DrawnMasks:
    """Masks from generators, one a model: layer by layer, a draw for each place of the batch.

    Parameters
    ----------
    generators
        One for each model.
    masks
        One for each hidden layer, (models, batch, width).
    keep
        Share of the places that stay, in (0, 1).
    """

    def __init__(self, generators: Sequence[torch.Generator], masks: Sequence[torch.Tensor], keep: float) -> None:
        self._generators, self._masks, self._keep = generators, masks, keep

    def draw(self) -> None:
        """Fill the masks for the next update."""
        for mask in self._masks:
            for model, generator in enumerate(self._generators):
                mask[model].bernoulli_(self._keep, generator=generator)
            mask.div_(self._keep)


class CountedMasks:
    """Masks by `philox`, all of a step at once, and from no generator, so that a CUDA graph can hold them.

    Place p of a layer's batch has word p mod 4 of the counter (p div 4, layer, update), and stays where that is below keep
    times 2^32, rounded to a whole number.

    Parameters
    ----------
    seeds
        One for each model, from which its key comes.
    masks
        One for each hidden layer, (models, places): the places of a batch, (batch, width) flattened, and perhaps a few more
        for alignment; a multiple of 4.
    keep
        Share of the places that stay, in (0, 1).
    update
        Number of the update to draw for, int64 (1, 1), read whenever masks are drawn.
    """

    def __init__(
        self, seeds: Sequence[int], masks: Sequence[torch.Tensor], keep: float, *, update: torch.Tensor
    ) -> None:
        device = update.device

        def column(*path: str) -> torch.Tensor:
            words = [child_seed(seed, "dropout", *path) for seed in seeds]
            return torch.tensor(words, dtype=torch.int64).unsqueeze(1).to(device)  # (models, 1)

        self._keys = round_keys((column("low"), column("high")))
        self._fours = [mask.unflatten(1, (-1, 4)) for mask in masks]  # (models, places / 4, 4)
        counts = [each.shape[1] for each in self._fours]
        self._place = torch.cat([torch.arange(count, device=device) for count in counts]).unsqueeze(0)
        self._layer = torch.cat([torch.full((n,), layer, device=device) for layer, n in enumerate(counts)]).unsqueeze(0)
        self._ends = list(itertools.accumulate(counts, initial=0))
        self._keep, self._below, self._update = keep, round(keep * 2**32), update

    def draw(self) -> None:
        """Fill the masks for the update whose number ``update`` holds by now."""
        counter = Words(self._place, self._layer, self._update & _WORD, self._update >> 32)
        for part, word in enumerate(philox(counter, self._keys)):  # (models, places of all layers / 4)
            for four, start, end in self._parts():
                four[..., part].copy_(word[:, start:end] < self._below)
        for four in self._fours:
            four.div_(self._keep)

    def _parts(self) -> Iterator[tuple[torch.Tensor, int, int]]:
        return zip(self._fours, self._ends, self._ends[1:], strict=False)
