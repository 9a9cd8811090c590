"""Walks through what a thing can reach outside installed packages, and writes it into a hash."""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import random
import sys
import threading
import types
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from miaudit.recipes.foreign import foreign_parts, is_foreign
from miaudit.recipes.layout import attributes, is_heap, is_plain, is_where_it_says
from miaudit.recipes.origin import Names, Origin, imported, names_of, origin, source_of


@dataclass(frozen=True)
class Findings:
    """What is met on the way: packages, digests of one's own sources, what cannot be seen into, random generators."""

    packages: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    generators: dict[int, Any] = field(default_factory=dict)  # by id
    origins: dict[str, Origin] = field(default_factory=dict)

    def origin(self, name: str) -> Origin:
        """Return where a module comes from; looked up once."""
        if name not in self.origins:
            self.origins[name] = origin(name)
        return self.origins[name]


_ATOMS = (bool, int, float, complex, str, type(None), type(Ellipsis), type(NotImplemented))
_SKIPPED = frozenset(
    {
        *("__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__"),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "_abc_impl", "__qualname__"),
        "__slotnames__",  # a cache of copyreg
    }
)
_WEAK = (weakref.ref, weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Event, threading.Condition)
_WRAPPERS = (
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)


class Walk:
    """Writes what a thing is into a hash: values as they are met, objects by number, their contents one after the other.

    An object met again is its number, so that circles end and shared objects count once.
    """

    def __init__(self, findings: Findings, numbers: dict[tuple[int, bool], int] | None = None) -> None:
        self.findings = findings
        self.numbers = dict(numbers or {})
        self.hash = hashlib.sha256()
        self.waiting: deque[tuple[Any, bool]] = deque()
        self.alive: list[Any] = []  # an id belongs to one object for as long as it lives

    def digest(self, thing: Any, cloned: bool = False) -> str:
        """Return the digest of a thing and of all that it reaches."""
        self.see(thing, cloned)
        while self.waiting:
            each, flag = self.waiting.popleft()
            self.write("content")
            self.content(each, flag)
        return self.hash.hexdigest()

    def write(self, *parts: str | bytes) -> None:
        """Add parts to the digest, each behind its length."""
        for part in parts:
            content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            self.hash.update(f"{len(content)}:".encode())
            self.hash.update(content)

    def see(self, thing: Any, cloned: bool = False) -> None:
        """Write a value, or the number of an object whose content is written later."""
        kind = type(thing)
        if kind in _ATOMS:
            self.write(kind.__name__, repr(thing) if kind is not str else thing)
        elif kind is bytes:
            self.write("bytes", thing)
        elif kind is tuple:
            self.write("tuple", str(len(thing)))
            for item in thing:
                self.see(item, cloned)
        elif kind is frozenset:
            self._unordered("frozenset", thing, cloned)
        elif kind in (range, slice):
            self.write(kind.__name__)
            for item in (thing.start, thing.stop, thing.step):
                self.see(item)
        elif isinstance(thing, np.generic) and not thing.dtype.hasobject:
            self.write(
                "numpy", thing.dtype.newbyteorder("<").str, thing.astype(thing.dtype.newbyteorder("<")).tobytes()
            )
        elif isinstance(thing, types.CodeType):
            self._code(thing)
        else:
            place = (id(thing), cloned)
            if place not in self.numbers:
                self.numbers[place] = len(self.numbers)
                self.alive.append(thing)
                self.waiting.append((thing, cloned))
            self.write("object", str(self.numbers[place]))

    def content(self, thing: Any, cloned: bool) -> None:
        """Write what an object is."""
        for kinds, act in _ACTS:
            if isinstance(thing, kinds):
                act(self, thing, cloned)
                return
        if isinstance(thing, getattr(sys.modules.get("torch"), "Generator", ())):
            self._generator(thing, cloned)
        elif is_foreign(thing):
            self._foreign(thing)
        elif cloned and _is_parametrized(thing):
            self._parameters(thing)
        else:
            self._instance(thing, cloned)

    # ---- values

    def _items(self, name: str, items: Iterable[Any], cloned: bool = False) -> None:
        items = list(items)
        self.write(name, str(len(items)))
        for item in items:
            self.see(item, cloned)

    def _apart(self, thing: Any, cloned: bool = False) -> str:
        """Return a digest of its own, which does not depend on what is met beside."""
        if type(thing) in _ATOMS or (type(thing) is tuple and all(type(item) in _ATOMS for item in thing)):
            return f"{type(thing).__name__} {thing!r}"
        return Walk(self.findings, self.numbers).digest(thing, cloned)

    def _unordered(self, name: str, items: Iterable[Any], cloned: bool = False) -> None:
        self.write(name, *sorted(self._apart(item, cloned) for item in items))

    def _list(self, thing: list[Any], cloned: bool) -> None:
        self._items("list", thing, cloned)
        self._subclass(thing, list)

    def _tuple(self, thing: tuple[Any, ...], cloned: bool) -> None:
        self._items("tuple", thing, cloned)
        self._subclass(thing, tuple)

    def _set(self, thing: Any, cloned: bool) -> None:
        self._unordered("set", thing, cloned)
        self._subclass(thing, set)

    def _dict(self, thing: Any, cloned: bool) -> None:
        keys = [(self._apart(key), key) for key in list(thing)]
        if not isinstance(thing, OrderedDict):
            keys.sort(key=lambda pair: pair[0])
        self.write("dict", str(len(keys)))
        for digest, key in keys:
            self.write(digest)
            self.see(dict.__getitem__(thing, key) if isinstance(thing, dict) else thing[key])
        if hasattr(thing, "default_factory"):
            self.see(thing.default_factory)
        self._subclass(thing, dict)

    def _subclass(self, thing: Any, base: type) -> None:
        if type(thing) is not base:
            self.see(type(thing))
            self._state(getattr(thing, "__dict__", None) or {}, thing)

    def _bytes(self, thing: Any, cloned: bool) -> None:
        self.write(type(thing).__name__, bytes(thing))

    def _enum(self, thing: enum.Enum, cloned: bool) -> None:
        self.write("enum", str(thing.name))
        self.see(type(thing))
        self.see(thing.value)

    def _array(self, thing: Any, cloned: bool) -> None:
        self.write("array", str(thing.shape))
        if thing.dtype.hasobject:
            self.see(np.asarray(thing).tolist())
        else:
            dtype = thing.dtype.newbyteorder("<")
            self.write(str(dtype.descr if dtype.names else dtype.str))
            values = np.ascontiguousarray(np.asarray(thing), dtype=dtype)
            for part in [values[name] for name in dtype.names] if dtype.names else [values]:  # no bytes between fields
                self.write(np.ascontiguousarray(part).tobytes())
        if isinstance(thing, np.ma.MaskedArray):
            self.see(np.ma.getmaskarray(thing))

    def _dtype(self, thing: Any, cloned: bool) -> None:
        self.write("dtype", str(thing.descr if thing.names else thing.str))

    def _ufunc(self, thing: Any, cloned: bool) -> None:
        self.write("ufunc", thing.__name__)
        special = sys.modules.get("scipy.special")
        if not any(getattr(home, thing.__name__, None) is thing for home in (np, special)):
            self._unknown(f"the ufunc {thing.__name__}")

    def _generator(self, thing: Any, cloned: bool) -> None:
        self.write("generator", type(thing).__name__)
        self.findings.generators[id(thing)] = thing

    def _nothing(self, thing: Any, cloned: bool) -> None:
        self.write("nothing", type(thing).__name__)

    def _foreign(self, thing: Any) -> None:
        """Arrays and frames of scipy, pandas, polars and torch, by value."""
        library = type(thing).__module__.partition(".")[0]
        try:
            parts = foreign_parts(thing)
        except Exception as error:
            self._unknown(f"a {type(thing).__name__} of {library} ({type(error).__name__})")
            return
        self._items(library, parts)
        self.see(type(thing))

    # ---- code

    def _code(self, code: types.CodeType) -> None:
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        self.write("code", code.co_name, code.co_code, str(counts), getattr(code, "co_exceptiontable", b""))
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            self.write(*names, "")
        for constant in code.co_consts:
            self.see(constant)

    def _function(self, thing: types.FunctionType, cloned: bool) -> None:
        home = str(thing.__globals__.get("__name__") or "")
        whence = self.findings.origin(home)
        self.write("function", thing.__qualname__)
        self._items("defaults", thing.__defaults__ or ())
        self.see(dict(thing.__kwdefaults__ or {}))
        self._cells(thing)
        self.see(dict(vars(thing)))
        if whence.kind in ("python", "installed"):
            self.write(home)
            self._installed(whence)
            return
        self.see(thing.__code__)
        self._reach(names_of(thing.__code__), thing.__globals__, whence)

    def _cells(self, thing: types.FunctionType) -> None:
        for cell in thing.__closure__ or ():
            try:
                self.see(cell.cell_contents)
            except ValueError:
                self.write("empty cell")

    def _reach(self, names: Names, scope: dict[str, Any], whence: Origin) -> None:
        """Write what code of one's own reads from around it, and the modules that it names."""
        modules: dict[str, types.ModuleType] = {}
        for name in sorted(names.globals):
            if name in scope:
                self.write("global", name)
                self.see(scope[name])
                if isinstance(scope[name], types.ModuleType):
                    modules[name] = scope[name]
        package = str(scope.get("__package__") or whence.name.rpartition(".")[0])
        for full in imported(names, package, self.findings.origin):
            self._module_named(full)
            if isinstance(sys.modules.get(full), types.ModuleType):
                modules[full] = sys.modules[full]
        self._attributes(modules, names)
        if whence.kind == "own":
            self._module_named(whence.name)
        elif whence.kind == "missing" and Path(str(scope.get("__file__") or "")).is_file():  # loaded from a path
            self._file(whence.name, Path(scope["__file__"]).read_bytes(), package)
        self._dynamic(names, scope)

    def _attributes(self, modules: dict[str, types.ModuleType], names: Names) -> None:
        """Write what code may read from modules of one's own, as it is now."""
        visits: set[int] = set()
        waiting = sorted(modules.items())
        while waiting:
            path, module = waiting.pop(0)
            if id(module) in visits or self.findings.origin(module.__name__).kind in ("python", "installed"):
                continue
            visits.add(id(module))
            for name in sorted(names.attributes & set(vars(module))):
                value = vars(module)[name]
                self.write("attribute", path, name)
                self.see(value)
                if isinstance(value, types.ModuleType):
                    waiting.append((f"{path}.{name}", value))

    def _dynamic(self, names: Names, scope: dict[str, Any]) -> None:
        """Follow imports by literal names; what is reached by other means cannot be seen."""
        if not names.dynamic:
            return
        followed = False
        for text in sorted(names.texts):
            if text.endswith(".py") and len(text) < 4096:
                folders = [Path(), Path(str(scope.get("__file__") or "")).parent]
                for file in (folder / text for folder in folders):
                    if file.is_file():
                        self._file(text, file.read_bytes(), str(scope.get("__package__") or ""))
                        followed = True
                        break
            elif text.replace(".", "").replace("_", "").isalnum() and self.findings.origin(text).kind in (
                "own",
                "installed",
            ):
                self._module_named(text)
                followed = True
        unseen = sorted(names.dynamic - ({"compile"} if not names.dynamic & {"eval", "exec"} else set()))
        if unseen and not followed:
            self._unknown(f"code that is reached by {', '.join(unseen)}")

    def _module(self, thing: types.ModuleType, cloned: bool) -> None:
        self._module_named(thing.__name__)
        file = getattr(thing, "__file__", None)
        if self.findings.origin(thing.__name__).kind == "missing" and file is not None:  # loaded from a path
            if str(file).endswith(".py") and Path(file).is_file():
                self._file(thing.__name__, Path(file).read_bytes(), str(getattr(thing, "__package__", "") or ""))
            else:
                self._unknown(f"the compiled module {thing.__name__}")

    def _module_named(self, name: str) -> None:
        """Write a module: the source of one's own and of all that it imports, or package and version."""
        whence = self.findings.origin(name)
        if whence.kind == "installed":
            self.write("module", name)
            self._installed(whence)
            return
        self.see(_Named(name) if whence.kind == "own" else f"module {whence.kind} {name}")

    def _named(self, thing: _Named, cloned: bool) -> None:
        whence = self.findings.origin(thing.name)
        assert whence.spec is not None
        source = source_of(whence.spec)
        if source is None:
            self.write("no source", thing.name)
            self._unknown(f"the compiled module {thing.name}")
            return
        is_package = whence.spec.submodule_search_locations is not None
        package = thing.name if is_package else thing.name.rpartition(".")[0]
        if package and package != thing.name:
            self._module_named(package)
        if isinstance(source, bytes):
            self._file(thing.name, source, package)
        else:
            self.see(source)
            self._imports(names_of(source), package)

    def _file(self, name: str, source: bytes, package: str) -> None:
        self.write("file", name, source)
        self.findings.sources[name] = hashlib.sha256(source).hexdigest()
        try:
            with warnings.catch_warnings(action="ignore"):
                code = compile(source, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return
        self._imports(names_of(code), package)

    def _imports(self, names: Names, package: str) -> None:
        for full in dict.fromkeys(imported(names, package, self.findings.origin)):
            self._module_named(full)

    def _installed(self, whence: Origin) -> None:
        if whence.kind == "installed":
            self.write(whence.package, whence.version)
            self.findings.packages[whence.package] = whence.version

    def _class(self, thing: type, cloned: bool) -> None:
        whence = self.findings.origin(str(thing.__module__))
        self.write("class", str(thing.__module__), thing.__qualname__)
        if not is_heap(thing) or (whence.kind in ("python", "installed") and is_where_it_says(thing)):
            self._installed(whence)
            if whence.kind == "own":
                self._module_named(whence.name)
            for each in thing.__mro__ if whence.kind == "installed" else ():
                self._patches(each)
            return
        self.see(type(thing))
        self._items("bases", thing.__bases__)
        for name in sorted(set(vars(thing)) - _SKIPPED):
            self.write(name)
            self.see(vars(thing)[name])
        if whence.kind == "own":
            self._module_named(whence.name)

    def _patches(self, thing: type) -> None:
        """Write functions of one's own that were put into an installed class."""
        for name, value in sorted(vars(thing).items()):
            if isinstance(value, types.FunctionType):
                home = str(value.__globals__.get("__name__") or "")
                if home not in ("", thing.__module__) and self.findings.origin(home).kind in ("own", "main"):
                    self.write("patched", name)
                    self.see(value)

    def _method(self, thing: types.MethodType, cloned: bool) -> None:
        self.write("method")
        self.see(thing.__func__)
        self.see(thing.__self__)

    def _builtin(self, thing: Any, cloned: bool) -> None:
        owner = getattr(thing, "__self__", None)
        self.write("builtin", str(getattr(thing, "__module__", "")), thing.__qualname__)
        if owner is not None and type(owner).__name__ != "PyCapsule":
            self.see(owner)

    def _wrapper(self, thing: Any, cloned: bool) -> None:
        self.write("builtin", thing.__name__)
        if isinstance(thing, types.MethodWrapperType):
            self.see(thing.__self__)
        else:
            self.see(thing.__objclass__)

    def _wrapped(self, thing: Any, cloned: bool) -> None:
        self.write(type(thing).__name__)
        self.see(thing.__wrapped__ if hasattr(thing, "__wrapped__") else thing.__func__)

    def _property(self, thing: property, cloned: bool) -> None:
        self._items("property", (thing.fget, thing.fset, thing.fdel))

    def _partial(self, thing: Any, cloned: bool) -> None:
        self.write("partial")
        self.see(thing.func)
        self.see(tuple(thing.args))
        self.see(dict(thing.keywords or {}))
        self.see(dict(vars(thing)) if type(thing) is functools.partial else type(thing))

    def _cached_property(self, thing: Any, cloned: bool) -> None:
        self.write("cached property")
        self.see(thing.func)

    # ---- objects

    def _parameters(self, thing: Any) -> None:
        """Write an estimator that is cloned: class, and parameters but for ``random_state``, which the seed replaces."""
        self.write("estimator")
        self.see(type(thing))
        parameters = thing.get_params(deep=False)
        for name in sorted(parameters, key=str):
            if name != "random_state":
                self.write(str(name))
                self.see(parameters[name], True)

    def _instance(self, thing: Any, cloned: bool) -> None:
        kind = type(thing)
        self.write("instance")
        self.see(kind)
        if self.findings.origin(str(kind.__module__)).kind in ("own", "main") and is_plain(kind):
            self._state(attributes(thing), thing)
            return
        try:
            with warnings.catch_warnings(action="ignore"):
                reduce = copyreg.dispatch_table.get(kind)  # such as that of regular expressions
                reduced: Any = thing.__reduce_ex__(4) if reduce is None else reduce(thing)
        except Exception:
            if not is_plain(kind):
                self._unknown(f"a {kind.__module__}.{kind.__qualname__}, whose state cannot be read")
                return
            self._state(attributes(thing), thing)
            return
        if isinstance(reduced, str):  # something global, such as a compiled function
            self.write(reduced)
            self._module_named(str(getattr(thing, "__module__", "")))
            return
        for part in reduced[:2]:
            self.see(part)
        state = reduced[2] if len(reduced) > 2 else None
        if isinstance(state, dict):
            self._state(state, thing)
        else:
            self.see(state)
        for more in reduced[3:5]:
            self.see(None if more is None else list(more))

    def _state(self, state: dict[str, Any], owner: Any) -> None:
        for name in sorted(state, key=str):
            self.write(str(name))
            self.see(state[name])

    def _unknown(self, what: str) -> None:
        self.write("unknown", what)
        self.findings.unknown[what] = None


class _Named:
    """One's own module, by name: it need not be imported yet. One object for each name."""

    _all: dict[str, _Named] = {}  # noqa: RUF012

    def __new__(cls, name: str) -> _Named:
        if name not in cls._all:
            cls._all[name] = super().__new__(cls)
            cls._all[name].name = name
        return cls._all[name]

    name: str


def _is_parametrized(thing: Any) -> bool:
    """Whether scikit-learn's ``clone`` makes a new one from its parameters."""
    if not callable(getattr(thing, "get_params", None)) or isinstance(thing, type):
        return False
    own = getattr(type(thing), "__sklearn_clone__", None)
    base = sys.modules.get("sklearn.base")
    return own is None or (base is not None and own is base.BaseEstimator.__sklearn_clone__)


_ACTS: tuple[tuple[tuple[Any, ...], Callable[[Walk, Any, bool], None]], ...] = (
    ((_Named,), Walk._named),
    ((types.ModuleType,), Walk._module),
    ((type,), Walk._class),
    ((types.FunctionType,), Walk._function),
    ((types.MethodType,), Walk._method),
    (_WRAPPERS, Walk._wrapper),
    ((types.BuiltinFunctionType,), Walk._builtin),
    ((np.ufunc,), Walk._ufunc),
    ((staticmethod, classmethod, type(functools.lru_cache(len))), Walk._wrapped),
    ((property,), Walk._property),
    ((functools.partial, functools.partialmethod), Walk._partial),
    ((functools.cached_property,), Walk._cached_property),
    ((*_WEAK, *_LOCKS), Walk._nothing),
    ((random.Random, np.random.RandomState, np.random.Generator, np.random.BitGenerator), Walk._generator),
    ((np.ndarray,), Walk._array),
    ((np.dtype,), Walk._dtype),
    ((enum.Enum,), Walk._enum),
    ((dict, types.MappingProxyType), Walk._dict),
    ((list,), Walk._list),
    ((tuple,), Walk._tuple),
    ((set, frozenset), Walk._set),
    ((bytearray, memoryview), Walk._bytes),
)
