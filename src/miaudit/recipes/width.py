"""How many networks train together on a processor: known without torch, so that a run is planned while torch loads."""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path

import numpy as np

GROUP_BYTES = 1_500_000
"""Parameters of a group are kept under this, about three quarters of a core's level-2 cache, where that was fastest."""

GROUP_MOST = 8
"""More models than this in one group gained nothing on a processor, and groups are what workers share out."""

SINGLE_WORK = 4_000_000
"""Parameters times records in a batch from which faster products outweigh the calls that a group would share."""

_ZEN_5 = 26  # its processor family; Zen 4 is 25


def group_width(parameters: int) -> int:
    """Return how many models of this size to train together: 4 for 600-128-100, 1 beyond 375,000 parameters."""
    return int(np.clip(GROUP_BYTES // (4 * parameters), 1, GROUP_MOST))


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
