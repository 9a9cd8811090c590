"""The errors miaudit raises on purpose.

::

    MiauditError
    |-- PlanError      a plan or an argument cannot be carried out            exit 2
    |-- DataError      records, labels or a schema are not usable             exit 2
    |   `-- SplitError   members, non-members and population do not fit       exit 2
    |-- StoreError     the output folder cannot be read or written            exit 2
    |-- TargetError    the model under audit gave an unusable answer          exit 4
    |   `-- BudgetError    its budget of queries is spent; answers are kept   exit 4
    |-- PoolError      too few shadow models could be trained                 exit 4
    `-- TimeLimitError the time limit came first; what is done is kept        exit 4

Every message says what was wrong, the value seen, what is allowed, and what to do. Anything else that escapes is a
defect of miaudit, with which the command line ends in 70.
"""

from __future__ import annotations

import difflib
import os
import re
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import inf, isfinite, nan
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from miaudit.visible import visible

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint


class MiauditError(Exception):
    """Root of the tree; ``exit_code`` is what the command line ends with.

    A message may quote data, files and servers, so every character that cannot be seen is written out in it.
    """

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        super().__init__(visible(message))


class PlanError(MiauditError):
    """A plan or an argument cannot be carried out.

    Parameters
    ----------
    problems
        One sentence, or several ``(path, sentence)`` pairs that are all listed at once.
    """

    def __init__(self, problems: str | Sequence[tuple[str, str]]) -> None:
        self.problems = [("", problems)] if isinstance(problems, str) else list(problems)
        lines = [visible(f"{path}: {text}" if path else text) for path, text in self.problems]
        if len(lines) > 1:
            lines = [f"{len(lines)} problems in the plan", *(f"  {line}" for line in lines)]
        Exception.__init__(self, "\n".join(lines))

    def within(self, path: str) -> list[tuple[str, str]]:
        """Return the problems as those of a section, whose path is put before theirs."""
        return [(".".join(part for part in (path, below) if part), text) for below, text in self.problems]


@contextmanager
def section(path: str, problems: list[tuple[str, str]] | None = None) -> Iterator[None]:
    """Put the path of a section before those of the problems that a block finds.

    Parameters
    ----------
    problems
        A list that collects them; default: they are raised.

    Raises
    ------
    PlanError
        If the block does, and nothing collects its problems.
    """
    try:
        yield
    except PlanError as error:
        if problems is None:
            raise PlanError(error.within(path)) from error
        problems += error.within(path)


class DataError(MiauditError):
    """Records, labels or a schema are not usable."""


class SplitError(DataError):
    """Members, non-members and population do not fit the data or each other."""


class StoreError(MiauditError):
    """The output folder cannot be read or written."""


class TargetError(MiauditError):
    """The model under audit gave an unusable answer."""

    exit_code = 4


class BudgetError(TargetError):
    """The budget of queries is spent; what was answered is kept."""


class PoolError(MiauditError):
    """Too few shadow models could be trained."""

    exit_code = 4


class TimeLimitError(MiauditError):
    """The time limit came before the audit was done; what is done is kept."""

    exit_code = 4


def misfits(*values: tuple[str, Any, Any]) -> list[tuple[str, str]]:
    """Return path and sentence of each value that its ``Literal`` does not list: triples of path, value and that type."""
    return [
        (path, f"must be one of {', '.join(get_args(kind))}; got {literal(value)}")
        for path, value, kind in values
        if value not in get_args(kind)
    ]


def literal(value: Any) -> str:
    """Return a value as code writes it, for a message; numbers of NumPy as plain ones, also in lists."""
    return re.sub(r"\bnp\.\w+\(([^()]*)\)", r"\1", repr(value))


def not_whole(
    *values: tuple[str, Any], least: int = 1, most: float = inf, optional: bool = False
) -> list[tuple[str, str]]:
    """Return path and sentence of each value that is no whole number from ``least`` to ``most``, whoever's integer it is.

    Parameters
    ----------
    values
        Pairs of path and value.
    least, most
        The range, both ends included.
    optional
        Whether a value may be None.
    """
    allowed = f"a whole number from {least}" + (f" to {most}" if most < inf else "") + (", or None" if optional else "")
    return [
        (path, f"must be {allowed}, got {literal(value):.50}")
        for path, value in values
        if not (optional and value is None)
        and (isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most)
    ]


def not_real(
    *values: tuple[str, Any],
    least: float = -inf,
    above: float = -inf,
    most: float = inf,
    below: float = inf,
    optional: bool = False,
) -> list[tuple[str, str]]:
    """Return path and sentence of each value that is no finite number within the limits.

    Parameters
    ----------
    values
        Pairs of path and value.
    least, most
        Limits that a value may have.
    above, below
        Limits that it may not have.
    optional
        Whether a value may be None.
    """
    limits = (("from", least), ("above", above), ("at most", most), ("below", below))
    words = " and ".join(f"{word} {limit:g}" for word, limit in limits if abs(limit) < inf)
    allowed = f"a finite number {words}".rstrip() + (", or None" if optional else "")
    return [
        (path, f"must be {allowed}, got {literal(value):.50}")
        for path, value in values
        if not (optional and value is None) and not (least <= _number(value) <= most and above < _number(value) < below)
    ]


def _number(value: Any) -> float:
    """Return a real number as float, NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return nan
    try:
        return float(value)
    except OverflowError:
        return nan


def is_number(value: Any) -> bool:
    """Whether a value is a real number that is finite as a float; bools are none."""
    return isfinite(_number(value))


def not_bool(*values: tuple[str, Any]) -> list[tuple[str, str]]:
    """Return path and sentence of each value that is no bool."""
    return [
        (path, f"must be true or false, got {literal(value)}") for path, value in values if not isinstance(value, bool)
    ]


def not_list(*values: tuple[str, Any], of: str = "names") -> list[tuple[str, str]]:
    """Return path and sentence of each value that is no list, such as a text, which would be read as its letters."""
    return [
        (
            path,
            f"must be a list of {of}, got {literal(value):.80}"
            + (f": write [{literal(value):.80}]" if isinstance(value, str) else ""),
        )
        for path, value in values
        if isinstance(value, str | bytes) or not isinstance(value, Iterable)
    ]


def not_path(*values: tuple[str, Any]) -> list[tuple[str, str]]:
    """Return path and sentence of each value that is neither None nor the path of a folder."""
    return [
        (path, f"must be the path of a folder, got {literal(value):.80}")
        for path, value in values
        if value is not None and not isinstance(value, str | os.PathLike)
    ]


def refuse(*problems: Sequence[tuple[str, str]]) -> None:
    """Raise the problems of all lists, if there are any.

    Raises
    ------
    PlanError
        Listing all of them.
    """
    if listed := [each for some in problems for each in some]:
        raise PlanError(listed)


class Exit(SystemExit):
    """Stands for ``os._exit`` in code that is not ours and is not to end the program."""


def reason_of(error: BaseException) -> str:
    """Return in one line, without a full stop, what code that is not ours raised; an exit is told as the call that it was."""
    if isinstance(error, SystemExit):
        call = "os._exit" if isinstance(error, Exit) else "sys.exit"
        return f"its code called {call}({error.code!r}){place_of(error)}"
    return re.sub(r"(?<!\.)\.$", "", " ".join(f"{type(error).__name__}: {error}".split()))


_NO_ATTRIBUTE = re.compile(  # of two forms of a pickle
    r"Can't get attribute '(?P<name>[^']+)' on <module '(?P<of>[^']+)'"
    r"|module '(?P<module>[^']+)' has no attribute '(?P<what>[^']+)'"
)


def missing_code(error: BaseException) -> str:
    """Return what to do where an object in a file needs code that is not here; empty where it failed for another reason."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f". It needs the module {error.name}: install the package as it was where the model was saved, or, where the "
            "module is a file of yours, put its folder into PYTHONPATH"
        )
    if (match := _NO_ATTRIBUTE.search(str(error))) is None:
        return ""
    name, module = match["name"] or match["what"], match["of"] or match["module"]
    if module.rpartition(".")[2] != "__main__":
        return f". {module} has no {name} here: install its package as it was where the model was saved"
    return (
        f". {name} was defined in the script or notebook that saved the model: move it to a module of its own, import it from "
        "there, save the model again, and put that module's folder into PYTHONPATH; or call miaudit.audit(model, ...) there"
    )


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count and what is counted: "1 record", "2,000 records"; "1 record is", "2 records are"; see `noun`."""
    return f"{count:,} {noun(count, one, many)}"


def noun(count: int, one: str, many: str | None = None) -> str:
    """Return what stands after a count: ``one`` after 1, else ``many``, by default ``one`` with an s."""
    return one if count == 1 else many or f"{one}s"


_SPELLED = re.compile("[aefhilmnorsx]")
_VOWEL = re.compile(
    r"x|(?!one|eu)[aeio]|un(?!i)"  # spoken as written, as in "an xgboost file" and "a OneHotEncoder"
    r"|[hlmn][b-df-hj-np-tv-xz]|r[b-df-gj-np-tv-xz]|f[b-df-hj-km-qs-tv-xz]|s[bdfgjxz]"  # no syllable, as in "an ndarray"
)


def with_article(word: str) -> str:
    """Return a word, such as a kind of file or the name of a class, after "a" or "an"; capitals are read as letters."""
    spelled = len(word) > 1 and word[:2].isupper()
    return f"{'an' if (_SPELLED if spelled else _VOWEL).match(word.lower()) else 'a'} {word}"


def place_of(error: BaseException) -> str:
    """Return in which file and line code that is not ours raised, or called an exit, to end a sentence with.

    It is the last line of its author's: outside the standard library, installed packages that are no plug-ins of miaudit,
    and miaudit, or, where there is none, outside the standard library.
    """
    frames = list(traceback.extract_tb(error.__traceback__))
    if isinstance(error, Exit):
        frames = frames[:-1]  # raised in the place of os._exit
    files = [frame for frame in frames if not frame.filename.startswith("<")]
    beyond = [frame for frame in files if _installed(frame.filename) or not _within(frame.filename, _STANDARD)]
    others = [frame for frame in beyond if not _within(frame.filename, _MIAUDIT)]
    own = others
    if others and _installed(others[-1].filename) is not None:
        authors = [f"{entry.value.partition(':')[0].strip()}." for entry in declared()[0]]
        own = [frame for frame in others if _is_by(frame.filename, authors)]
    place = next(reversed(own or beyond or files or frames), None)
    return f" in {place.filename}, line {place.lineno}" if place is not None else ""


_STANDARD, _MIAUDIT = Path(os.__file__).parent, Path(__file__).parent


def _within(file: str, folder: Path) -> bool:
    return Path(file).is_relative_to(folder)


def _installed(file: str) -> str | None:
    """Return the package or module that a file is of, None where it is of none that is installed.

    A folder without ``__init__.py`` is no package: several distributions may have modules in it.
    """
    path = Path(file).with_suffix("")
    parts = path.parts
    start = next((i for i, part in enumerate(parts, 1) if part in ("site-packages", "dist-packages")), len(parts))
    for end in range(start + 1, len(parts)):
        if Path(*parts[:end], "__init__.py").is_file():
            return ".".join(parts[start:end])
    return ".".join(parts[start:]) or None


def _is_by(file: str, authors: Sequence[str]) -> bool:
    """Whether a file is of no installed package, or of that of a module whose name, and a dot, is among these."""
    package = _installed(file)
    return package is None or any(author.startswith(f"{package}.") for author in authors)


def declared() -> tuple[list[EntryPoint], list[str]]:
    """Return what installed packages declare to miaudit, and a sentence for each where that cannot be read."""
    from importlib.metadata import distributions

    entries: dict[str, list[EntryPoint]] = {}
    problems = []
    for distribution in distributions():
        try:
            own = [entry for entry in distribution.entry_points if entry.group.startswith("miaudit.")]
            if own:  # of several copies the first is imported
                entries.setdefault(re.sub("[-_.]+", "-", distribution.name).lower(), own)
        except Exception as error:
            problems.append(f"the entry points of {_title(distribution)} cannot be read: {reason_of(error)}")
    return [entry for own in entries.values() for entry in own], problems


def _title(distribution: Distribution) -> str:
    with suppress(Exception):
        if distribution.name:
            return f"{distribution.name} {distribution.version}"
    return f"a package in {distribution.locate_file('')}"


def nearest(name: str, names: Collection[str], *, cutoff: float = 0.6) -> str:
    """Return the question whether the nearest of the known names was meant; nothing if none is near."""
    small = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name.lower(), small, n=1, cutoff=cutoff)
    return f"did you mean {small[near[0]]!r}?" if near else ""


def sentence_of(problem: Mapping[str, Any], allowed: Collection[str], *, secret: bool = False) -> str:
    """Return what one of pydantic's errors says: what is wrong, what is allowed, and the value seen unless it is secret.

    Parameters
    ----------
    allowed
        The keys that are known where the error is.
    """
    kind, value = problem["type"], problem.get("input")
    seen = "" if secret else f"; got {literal(value):.200}"
    if kind == "extra_forbidden":
        hint = nearest(str(problem["loc"][-1]), allowed, cutoff=0.5) or _allowed(allowed)
        return f"unknown key; {hint}"
    if kind == "missing":
        return "missing, and it has no default"
    if kind == "model_type":
        return f"must be a table of keys; {_allowed(allowed)}{seen}"
    if kind in _KINDS:
        return _KINDS[kind].format_map(problem.get("ctx", {})) + seen
    text: str = problem["msg"].removeprefix("Value error, ")
    return text if kind == "value_error" else f"{text[0].lower()}{text[1:]}{seen}"


def _allowed(keys: Collection[str]) -> str:
    return f"allowed here: {', '.join(keys)}" if keys else "no key is known here"


_KINDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_attributes_type"), "must be a table of keys"),
    "string_type": "must be a text",
    "finite_number": "must be a finite number",
    "none_required": "must be left out",
    "literal_error": "must be {expected}",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have {max_length} or fewer entries",
    "string_too_short": "must have {min_length} or more characters",
    "is_instance_of": "must be of the class {class}",
}
"""What pydantic's common kinds of errors say, in the words of plans; the names in braces are those of its context."""


def refuse_masked(values: Any, what: str) -> None:
    """Raise a `DataError` for an array of numpy's in which values are masked, for arrays made of it lose the mask."""
    if type(values).__name__ == "MaskedArray" and (count := int(values.mask.sum())):
        leave = ", or leave those records out" if count < values.size else ""
        raise DataError(
            f"{what} a masked array, of which {counted(count, 'value is', 'values are')} masked; fill them in, as "
            f"values.filled(0) does{leave}"
        )


def refuse_iterator(values: Any, what: str) -> None:
    """Raise a `DataError` for what can be read once, as a generator."""
    if isinstance(values, Iterator):
        raise DataError(
            f"{what} {with_article(type(values).__name__)}, which can be read only once: give list(...) of it, or an array"
        )
