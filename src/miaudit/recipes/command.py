"""Training by a command: files in, answers out, in any language."""

from __future__ import annotations

import csv
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from modulefinder import ModuleFinder
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.hashes import row_hashes
from miaudit.data.records import column_names, column_values, densified, is_texts, kind_of, n_columns
from miaudit.errors import DataError, PlanError, PoolError, counted, not_real
from miaudit.files import sha256_of, temporary_folder
from miaudit.recipes.recipe import on_device

_PLACES = ("records", "train", "asked", "answers", "seed", "classes")
_PLACE = re.compile(r"\{(\w+)\}")
_LINES, _CHARACTERS = 12, 1500  # of a command's last words


@dataclass(frozen=True)
class CommandRecipe:
    """Train by running a command, once for each model: it trains on the records of one file, and answers others.

    Parameters
    ----------
    command
        The command as one text, split into words as a shell would; no shell is started. ``python`` is the Python that this
        program runs in, unless a path is given. In it stand for a value:

        * ``{records}``: an ``.npz`` file with ``X`` and ``y`` to train on, and ``asked``, the records to answer; or in its
          place ``{train}`` and ``{asked}``: two ``.csv`` files, the first with the class in its last column, ``label``;
        * ``{answers}``: the file to write, ``.npy``, ``.npz`` with one array, or ``.csv`` without a header: a row for each
          record asked about, in their order, of what a target may answer;
        * ``{seed}``: a whole number; ``{classes}``: how many there are. Classes are numbers from 0.
    folder
        Where it is run.
    files
        Further files that decide the model. Files that the command names, and what Python files among them import from
        their folder, are known; another content of one trains anew.
    timeout
        Seconds after which a command is ended and its model counts as failed; None: none.
    device
        "cuda" where the command trains on an NVIDIA GPU: then one runs at a time, not one per core.

    Raises
    ------
    PlanError
        If the command lacks a place for records or answers, or a file is not there.
    """

    command: str
    folder: str | PathLike[str] = "."
    files: tuple[str | PathLike[str], ...] = ()
    timeout: float | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(fspath(file) for file in self.files))
        object.__setattr__(self, "folder", fspath(self.folder))
        places = set(_PLACE.findall(self.command))
        problems = [("files", f"there is no file {file}") for file in self.files if not Path(file).is_file()]
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            words, problems = [], [*problems, ("command", f"cannot be split into words: {error}")]
        if unknown := sorted(places - {*_PLACES}):
            allowed = ", ".join("{" + place + "}" for place in _PLACES)
            problems.append(("command", f"there is no {{{unknown[0]}}}; allowed: {allowed}"))
        if words and ("answers" not in places or not ("records" in places or {"train", "asked"} <= places)):
            problems.append(
                (
                    "command",
                    "needs {answers}, the file it writes, and {records}, an .npz file, or {train} and {asked}, two .csv files; "
                    f"got {self.command!r}",
                )
            )
        if not words and not problems:
            problems.append(("command", "is empty; write it as in a shell"))
        if not Path(self.folder).is_dir():
            problems.append(("folder", f"there is no folder {self.folder}"))
        problems += not_real(("timeout", self.timeout), above=0, optional=True)
        if problems:
            raise PlanError(problems)

    @property
    def name(self) -> str:
        """First words of the command."""
        return "command " + " ".join(shlex.split(self.command)[:2])

    def describe(self) -> dict[str, Any]:
        """Return the command, and the hashes of the files that decide what it does."""
        return {
            "recipe": "command",
            "version": 1,
            "command": self.command,
            "files": {name: sha256_of(file) for name, file in sorted(self._deciding().items())},
            **({} if self.device == "cpu" else {"device": "cuda"}),
        }

    def _deciding(self) -> dict[str, Path]:
        """Return the files that decide what the command does, by name: those it names, those they import, and those stated."""
        folder = Path(self.folder)
        words = [folder / word for word in shlex.split(self.command) if not _PLACE.search(word)]
        files = {path.name: path for path in [*words, *map(Path, self.files)] if path.is_file()}
        for script in [path for path in words if path.suffix == ".py" and path.is_file()]:
            finder = ModuleFinder(path=[str(script.parent)])
            with suppress(SyntaxError):  # the command will say so
                finder.run_script(str(script))
            for name, module in finder.modules.items():
                source = getattr(module, "__file__", None)
                if name != "__main__" and source:
                    files[f"{name} of {script.name}"] = Path(source)
        return files

    def placed(self, device: str, dtype: str | None) -> CommandRecipe:
        """Return the recipe on a device; see `TrainingRecipe.placed`."""
        return on_device(self, device, dtype)

    def fit(self, X: Any, y: NDArray[Any], *, classes: int, seed: int) -> Any:
        """Raise PlanError: a command trains and answers in one step, see `fit_for`."""
        raise PlanError(
            "a command trains and answers in one step, so it must be told beforehand what will be asked; making records by "
            "asking the target (shadows.data) needs a recipe that keeps a model, such as recipe.train"
        )

    def fit_for(self, X: Any, y: NDArray[Any], asked: Any, *, classes: int, seed: int) -> AnsweredModel:
        """Run the command, and return its answers to the records ``asked``.

        Raises
        ------
        PoolError
            If it cannot be started, ends with another exit code than 0 or not in time, or leaves no answers.
        """
        with temporary_folder("miaudit-command-") as home:
            values = {"seed": str(seed), "classes": str(classes), "answers": str(home / "answers")}
            values |= _written(home, X, y, asked, set(_PLACE.findall(self.command)))
            words = [_PLACE.sub(lambda place: values[place[1]], word) for word in shlex.split(self.command)]
            with (home / "log").open("w+b") as log:
                self._run(words, log)
                answers = _answers(home)
                if answers is None:
                    raise PoolError(f"{self.name} ended without writing {{answers}}{_last_words(log)}")
        if answers.shape[:1] != (len(row_hashes(asked)),):
            raise PoolError(
                f"{self.name} was asked about {counted(asked.shape[0], 'record')} and wrote "
                f"{counted(answers.shape[0] if answers.ndim else 0, 'answer')}; write one for each, in their order"
            )
        return AnsweredModel(dict(zip(row_hashes(asked).tolist(), answers, strict=True)))

    def _run(self, words: list[str], log: Any) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        try:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env={**os.environ, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        except OSError as error:
            raise PoolError(f"{self.name} cannot be started in {self.folder}: {error.strerror or error}") from error
        try:
            code = process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            raise PoolError(
                f"{self.name} was ended after {self.timeout:g} {'second' if self.timeout == 1 else 'seconds'} "
                f"(timeout){_last_words(log)}"
            ) from None
        finally:
            if process.poll() is None:
                for each in reversed(_descendants(process.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(each, signal.SIGKILL)
                process.kill()
                process.wait()
        if code:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise PoolError(f"{self.name} {how}{_last_words(log)}")


@dataclass(frozen=True, eq=False)
class AnsweredModel:
    """A model that is known by its answers alone, by the content of the records."""

    answers: dict[bytes, NDArray[Any]]

    def __call__(self, X: Any) -> NDArray[Any]:
        """Return the answers to records that it was asked about in training.

        Raises
        ------
        PlanError
            If there are others: they come from an attack that asks further questions.
        """
        try:
            return np.stack([self.answers[row] for row in row_hashes(X).tolist()])
        except KeyError:
            raise PlanError(
                "a command answers the records it was given and no others, and an attack asks about variants of them: leave "
                "that attack out, or use a recipe that keeps a model, such as recipe.train"
            ) from None


def _written(home: Path, X: Any, y: NDArray[Any], questions: Any, places: set[str]) -> dict[str, str]:
    """Write the records in the forms that a command names; return the paths."""
    paths: dict[str, str] = {}
    if "records" in places:
        if kind_of(X) in ("pandas", "polars") or (X.dtype.kind == "O" and not is_texts(X)):
            raise PlanError(
                "records of several types do not fit into one array of {records}: let the command read {train} and {asked}, "
                "which are .csv files"
            )
        plain = [np.asarray(_texts(each), dtype=str) if is_texts(each) else densified(each) for each in (X, questions)]
        np.savez(home / "records.npz", X=plain[0], asked=plain[1], y=y)
        paths["records"] = str(home / "records.npz")
    if "train" in places:
        _write_csv(home / "train.csv", X, y)
        _write_csv(home / "asked.csv", questions, None)
        paths |= {"train": str(home / "train.csv"), "asked": str(home / "asked.csv")}
    return paths


def _texts(X: Any) -> list[str]:
    """Return records that are one text each, tokens with blanks between them."""
    return [each if isinstance(each, str) else " ".join(map(str, each)) for each in X.tolist()]


def _write_csv(path: Path, X: Any, y: NDArray[Any] | None) -> None:
    if kind_of(X) in ("array", "sparse") and not is_texts(X):
        X = densified(X).reshape(X.shape[0], -1)
    names = column_names(X) or (["text"] if is_texts(X) else [f"x{i}" for i in range(n_columns(X))])
    columns = [_texts(X)] if is_texts(X) else [column_values(X, i).tolist() for i in range(n_columns(X))]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(names if y is None else [*names, "label"])
        for row in zip(*columns, *([] if y is None else [y.tolist()]), strict=True):
            rows.writerow(["" if value is None or value != value else value for value in row])


def _answers(home: Path) -> NDArray[Any] | None:
    """Return what the command wrote, told by its content; None where it wrote nothing."""
    path = next((each for end in ("", ".npy", ".npz", ".csv") if (each := home / f"answers{end}").is_file()), None)
    if path is None:
        return None
    with path.open("rb") as file:
        start = file.read(6)
    try:
        if start == b"\x93NUMPY":
            return np.asarray(np.load(path, allow_pickle=False))
        if start[:2] == b"PK":
            with np.load(path, allow_pickle=False) as arrays:
                if len(arrays.files) != 1:
                    raise DataError(f"it holds {counted(len(arrays.files), 'array')}, {arrays.files}; write one")
                return np.asarray(arrays[arrays.files[0]])
        return np.loadtxt(path, delimiter=",", ndmin=1)
    except (ValueError, OSError, DataError) as error:
        raise PoolError(
            f"the answers that a command wrote cannot be read: {error}. Write .npy, .npz with one array, or .csv of numbers "
            "without a header"
        ) from error


def _last_words(log: Any) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()[-_LINES:]
    return f"; its last words: {' | '.join(lines)[-_CHARACTERS:]}" if lines else "; it printed nothing"


def _descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did, where the system tells."""
    processes: list[int] = []
    with suppress(OSError, ValueError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            processes += [child, *_descendants(child)]
    return processes
