"""Where code comes from: Python itself, an installed package of some version, or the user's own files."""

from __future__ import annotations

import dis
import functools
import importlib.util
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path
from types import CodeType
from typing import Any, Literal

# Names by which code reaches other code that its bytecode does not name.
_LOADERS = frozenset({"import_module", "__import__", "run_path", "run_module", "spec_from_file_location"})
_BUILTIN = frozenset({"eval", "exec", "compile", "__import__", "globals"})


@dataclass(frozen=True)
class Origin:
    """Where a module comes from.

    ``package`` and ``version`` are those of an installed one. ``spec`` finds the code of one's own. ``missing`` is a
    module that is not there.
    """

    kind: Literal["python", "installed", "own", "main", "missing"]
    name: str
    package: str = ""
    version: str = ""
    spec: ModuleSpec | None = None


def origin(name: str) -> Origin:
    """Return where the module of this name comes from; nothing is imported."""
    top = name.partition(".")[0]
    if top in ("__main__", "__mp_main__", ""):
        return Origin("main", name)
    if top == "miaudit":
        from miaudit import __version__

        return Origin("installed", name, "miaudit", __version__)
    spec = _spec(name)
    if spec is None:
        return Origin("main" if name in sys.modules else "missing", name)
    place = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    if place in (None, "built-in", "frozen"):
        return Origin("python", name)
    path = Path(str(place))
    if not _is_installed(path):
        return Origin("python" if _is_standard(path) else "own", name, spec=spec)
    version = package_version(top)
    return Origin("own", name, spec=spec) if version is None else Origin("installed", name, top, version)


def package_version(package: str) -> str | None:
    """Return the version of the distribution that installed a package, which may have another name (xgboost-cpu)."""
    with suppress(PackageNotFoundError):
        return version(package)
    for name in _distributions_of(package):
        with suppress(PackageNotFoundError):
            return version(name)
    return None


def source_of(spec: ModuleSpec) -> bytes | CodeType | None:
    """Return the source of one's own module, or its compiled code where there is no source; None for neither."""
    place = str(spec.origin or "")
    if spec.origin is None or place == "namespace":
        return b""
    if place.endswith(tuple(EXTENSION_SUFFIXES)):
        return None
    loader: Any = spec.loader
    with suppress(Exception):
        return bytes(Path(place).read_bytes()) if place.endswith(".py") else loader.get_source(spec.name).encode()
    with suppress(Exception):
        code: CodeType | None = loader.get_code(spec.name)
        return code
    return None


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all that are defined within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


@dataclass(frozen=True)
class Names:
    """What code names: globals, attributes, modules it imports, texts, and ways to reach code that it does not name."""

    globals: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[tuple[int, str, tuple[str, ...]]]  # level, name, what of it
    texts: frozenset[str]
    dynamic: frozenset[str]


@functools.lru_cache(maxsize=4096)
def names_of(code: CodeType) -> Names:
    """Return what code and all that is defined within it names."""
    names: set[str] = set()
    attributes: set[str] = set()
    texts: set[str] = set()
    imports: set[tuple[int, str, tuple[str, ...]]] = set()
    for part in nested(code):
        constants: list[Any] = []
        for step in dis.get_instructions(part):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_CLASSDEREF"):
                names.add(str(step.argval))
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM", "LOAD_SUPER_ATTR"):
                attributes.add(str(step.argval))
            elif step.opname == "IMPORT_NAME":
                level, members = constants[-2:] if len(constants) > 1 else (0, ())
                level = level if isinstance(level, int) else 0
                imports.add((level, str(step.argval), members if isinstance(members, tuple) else ()))
            if step.opname in ("LOAD_CONST", "LOAD_SMALL_INT", "RETURN_CONST"):
                constants.append(step.argval)
        texts.update(constant for constant in part.co_consts if isinstance(constant, str))
    dynamic = (names & (_BUILTIN | _LOADERS)) | (attributes & _LOADERS)
    return Names(*map(frozenset, (names, attributes, imports, texts, dynamic)))  # type: ignore[arg-type]


def imported(names: Names, package: str, whence: Callable[[str], Origin] = origin) -> Iterator[str]:
    """Yield the full names of the modules that code imports, wherever in it; ``package`` is that of the code."""
    for level, name, members in sorted(names.imports):
        full = name
        if level:
            with suppress(ImportError, ValueError):
                full = importlib.util.resolve_name("." * level + name, package)
        steps = full.strip(".").split(".")
        for end in range(1, len(steps) + 1):
            yield ".".join(steps[:end])
        for part in members:
            if part != "*" and whence(full).kind == "own" and _spec(f"{full}.{part}") is not None:
                yield f"{full}.{part}"


def _spec(name: str) -> ModuleSpec | None:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return spec  # type: ignore[no-any-return]
    file = getattr(module, "__file__", None)
    if file is not None:
        return importlib.util.spec_from_file_location(name, file)
    parent = name.rpartition(".")[0]
    if not parent:
        if name in sys.builtin_module_names:
            return ModuleSpec(name, None, origin="built-in")
        with suppress(ImportError, ValueError, AttributeError):
            return next((spec for finder in sys.meta_path if (spec := finder.find_spec(name, None)) is not None), None)
        return None
    above = _spec(parent)
    if above is None or above.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, list(above.submodule_search_locations))


@functools.cache
def _site_folders() -> tuple[Path, ...]:
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    with suppress(AttributeError):
        folders += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple(Path(folder).resolve() for folder in folders if folder)


@functools.cache
def _standard_folders() -> tuple[Path, ...]:
    return tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))


def _is_installed(path: Path) -> bool:
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder) for folder in _site_folders())


def _is_standard(path: Path) -> bool:
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder) for folder in _standard_folders()) or path.name.startswith("<frozen")


@functools.cache
def _distributions_of(package: str) -> list[str]:
    """Return the distributions that installed a package; `importlib.metadata.packages_distributions` reads those of all."""
    return [str(each.metadata["Name"]) for each in distributions() if _has_installed(each, package)]


def _has_installed(distribution: Distribution, package: str) -> bool:
    declared = distribution.read_text("top_level.txt")
    if declared:
        return package in declared.split()
    files = distribution.read_text("RECORD") or "".join(f"{file},\n" for file in distribution.files or ())
    endings = "|".join(map(re.escape, (".py", *EXTENSION_SUFFIXES)))
    return re.search(rf'^"?{re.escape(package)}(/|({endings})"?,)', files, re.MULTILINE) is not None
