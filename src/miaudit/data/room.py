"""Room in memory: what a file says it holds is compared with it before anything of that size is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from miaudit.errors import DataError

COPIES = 3
"""How often records lie in memory at once: as read, as models take them, and as numbers for the attacks."""

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes() -> int:
    """Return the bytes of memory this process may still take: of the machine, its container and its own limit."""
    free = [_machine()]
    for limit, use in _CGROUPS:
        most, now = _number(limit), _number(use)
        if most is not None and now is not None:
            free.append(most - now)
    own = _own_limit()
    if own is not None:
        free.append(own)
    return max(min(free), 0)


def require_room(size: int, what: str, *, copies: int = COPIES) -> None:
    """Refuse what would not fit into memory.

    Parameters
    ----------
    size
        Bytes of it in memory.
    what
        What takes them, as the beginning of a sentence.
    copies
        How often it lies there at once.

    Raises
    ------
    DataError
        With the bytes it takes and those there are.
    """
    if size <= 1 << 24:
        return  # not worth asking the machine
    available = available_bytes()
    if copies * size > available:
        raise DataError(
            f"{what}: {_gigabytes(size)} of memory{f', {copies} times over while it is used' if copies > 1 else ''}, and "
            f"{_gigabytes(available)} are free; {ADVICE}"
        )


ADVICE = "take fewer records or columns, write numbers in a smaller type (float32, uint8), or use a machine with more"


@contextmanager
def within_memory(what: str | Path) -> Iterator[None]:
    """Turn a MemoryError into a DataError that says what to do."""
    try:
        yield
    except MemoryError as error:
        raise DataError(f"{what} does not fit into memory{f' ({error})' if str(error) else ''}; {ADVICE}") from error


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _machine() -> int:
    try:
        with Path("/proc/meminfo").open() as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return 1 << 62  # not known: a MemoryError will tell


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return None


def _own_limit() -> int | None:
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        return limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return None
