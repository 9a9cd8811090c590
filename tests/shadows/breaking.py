"""Estimators that break in known ways; in a module of their own, so that worker processes find them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
from sklearn.tree import DecisionTreeClassifier


class KillsItsWorkerOnce(DecisionTreeClassifier):
    """Dies by SIGKILL at the first fit anywhere, told by a file."""

    def __init__(self, scar: str = "", random_state: int = 0) -> None:
        super().__init__(random_state=random_state)
        self.scar = scar

    def fit(self, X, y):
        if not Path(self.scar).exists():
            Path(self.scar).write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)


class KillsItsWorkerAlways(DecisionTreeClassifier):
    """Dies by SIGKILL at every fit whose seed is even."""

    def __init__(self, random_state: int = 0) -> None:
        super().__init__(random_state=random_state)

    def fit(self, X, y):
        if self.random_state % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)


class FailsSometimes(DecisionTreeClassifier):
    """Raises at every fit whose seed is even."""

    def __init__(self, random_state: int = 0) -> None:
        super().__init__(random_state=random_state)

    def fit(self, X, y):
        if self.random_state % 2 == 0:
            raise ValueError("this one does not converge")
        return super().fit(X, y)


class CountsFits(DecisionTreeClassifier):
    """Adds a line to a file at every fit."""

    def __init__(self, ledger: str = "", random_state: int = 0, max_depth: int | None = None) -> None:
        super().__init__(random_state=random_state, max_depth=max_depth)
        self.ledger = ledger

    def fit(self, X, y):
        with Path(self.ledger).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return super().fit(X, y)


class Slow(DecisionTreeClassifier):
    """Takes a fifth of a second to fit."""

    def __init__(self, random_state: int = 0) -> None:
        super().__init__(random_state=random_state)

    def fit(self, X, y):
        import time

        time.sleep(0.2)
        return super().fit(X, y)


class Shares(DecisionTreeClassifier):
    """Has joblib share an array among processes, says so by a file, and does not come to an end."""

    def __init__(self, folder: str = "", random_state: int = 0) -> None:
        super().__init__(random_state=random_state)
        self.folder = folder

    def fit(self, X, y):
        import time

        from joblib import Parallel, delayed

        Parallel(2)(delayed(np.sum)(np.ones(200_000)) for _ in range(2))
        (Path(self.folder) / f"{os.getpid()}.shares").touch()
        time.sleep(60)
        return super().fit(X, y)


class HoldsTheLock(DecisionTreeClassifier):
    """Says so by a file, and sleeps in C without letting go of Python's lock."""

    def __init__(self, folder: str = "", random_state: int = 0) -> None:
        super().__init__(random_state=random_state)
        self.folder = folder

    def fit(self, X, y):
        import ctypes

        (Path(self.folder) / "holds").touch()
        ctypes.PyDLL(None).sleep(60)
        return super().fit(X, y)


def points(n: int = 300, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return n noisy points of three classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(size=(n, 4)) + y[:, None], y
