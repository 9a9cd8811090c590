"""How many networks train together: known without torch, so that a run is planned while torch loads."""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

GROUP_BYTES = 1_500_000
"""Parameters of a group are kept under this, about three quarters of a core's level-2 cache, where that was fastest."""

GROUP_MOST = 8
"""More models than this in one group gained nothing on a processor, and groups are what workers share out."""

SINGLE_WORK = 4_000_000
"""Parameters times records in a batch from which faster products outweigh the calls that a group would share."""

CUDA_MOST = 256
"""Models in one group on a GPU: rows of a group are stored together, and the time limit is looked at between groups."""

CUDA_WORK = 6e13
"""Parameters times records times epochs of one group on a GPU: by arithmetic a minute at 6 TFLOP/s, six operations to each."""

CUDA_BYTES = 8 * 2**30
"""Memory a GPU is taken to have free where it cannot be asked, as by the program that hands work to a cluster."""

_ZEN_5 = 26  # its processor family; Zen 4 is 25


def group_width(parameters: int) -> int:
    """Return how many models of this size to train together: 4 for 600-128-100, 1 beyond 375,000 parameters."""
    return int(np.clip(GROUP_BYTES // (4 * parameters), 1, GROUP_MOST))


def groups_of(sizes: Sequence[int], width: int) -> list[list[int]]:
    """Return positions in groups of at most ``width``, each of one training-set size, in order of first appearance."""
    by_size: dict[int, list[int]] = {}
    for position, size in enumerate(sizes):
        by_size.setdefault(size, []).append(position)
    return [same[start : start + width] for same in by_size.values() for start in range(0, len(same), width)]


def cuda_width(parameters: int, width: float, batch: int, *, free: int) -> int:
    """Return how many models fit a third of a GPU's free bytes, with ``width`` floats for each record of a batch.

    A model needs its parameters six times at most (gradient, two moments of Adam, and two copies in bfloat16).
    """
    return int(np.clip(free // 3 // (4 * (6 * parameters + batch * width)), 1, CUDA_MOST))


def cuda_floats(features: int, places: int, classes: int, *, dropout: bool) -> float:
    """Return how many floats of four bytes the tensors of a group on a GPU take at most for each record of a model's batch.

    They are counted on a processor; what CUDA's libraries take beside them is not in it.

    Parameters
    ----------
    features, places, classes
        Widths of a record, of all hidden layers together, and of the output.
    dropout
        Whether hidden layers are thinned by masks.
    """
    records = 2.5 * features  # a copy that gathering makes, what it is copied into, and perhaps that in bfloat16
    values = 2.25 * places + 2 * classes  # of every layer and derivatives there; which of them are above 0
    # a mask, what it lets through, and, while masks are drawn, nine whole numbers of eight bytes for four places
    dropped = (2 + 9 * 8 / 4 / 4) * places if dropout else 0
    return records + values + dropped


def cuda_portion(parameters: int, records: int, epochs: int) -> int:
    """Return how many models of this size and training are one group on a GPU, whatever would fit its memory."""
    return int(np.clip(CUDA_WORK // (parameters * records * epochs), 1, CUDA_MOST))


def usable_bytes(free: int, *, reserved: int, allocated: int) -> int:
    """Return the bytes of a GPU that torch can still hand out.

    Parameters
    ----------
    free
        What the driver calls free.
    reserved, allocated
        What torch took from the driver, and what of it is in tensors: the rest is torch's cache, which it reuses.
    """
    return free + reserved - allocated


def is_large(parameters: int, batch: int) -> bool:
    """Whether a step of one network has products that outweigh its calls."""
    return parameters * batch >= SINGLE_WORK


@functools.cache
def is_zen_5() -> bool:
    """Whether this processor is AMD's from Zen 5 on."""
    cpuinfo = Path("/proc/cpuinfo")
    return from_zen_5(cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else platform.processor())


def from_zen_5(about: str) -> bool:
    """Whether this text, of ``/proc/cpuinfo`` or `platform.processor`, is of a processor of AMD from Zen 5 on."""
    family = re.search(r"^cpu family\s*:\s*(\d+)|Family (\d+)", about, re.MULTILINE)
    return "AuthenticAMD" in about and family is not None and int(family[1] or family[2]) >= _ZEN_5
