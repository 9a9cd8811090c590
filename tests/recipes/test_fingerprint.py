"""What decides a recipe is in its fingerprint; what does not is not; what cannot be seen is told."""

from __future__ import annotations

import csv
import importlib
import importlib.machinery
import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from miaudit.recipes import EstimatorRecipe, as_recipe, fingerprint, fingerprint_of_recipe
from miaudit.recipes.estimator import describe_parameter
from miaudit.recipes.origin import origin, package_version

_numbers = itertools.count()


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Load a package of one's own from given files, anew each time, and return the fingerprint of an expression in it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(files: dict[str, str], expression: str):
        folder = tmp_path / str(next(_numbers))
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        before = set(sys.modules)
        monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        try:
            main = importlib.import_module("mine")
            return fingerprint(eval(expression, vars(main)), cloned=True)
        finally:
            for name in set(sys.modules) - before:
                if getattr(sys.modules[name], "__file__", None) and str(folder) in sys.modules[name].__file__:
                    del sys.modules[name]
            sys.path.remove(str(folder))

    return load


CLASS = """
from sklearn.base import BaseEstimator, ClassifierMixin
{head}
class Mine({bases}):
    def __init__(self, depth=1): self.depth = depth
    def fit(self, X, y): {fit}
"""
PLAIN = {"head": "", "bases": "ClassifierMixin, BaseEstimator", "fit": "return self"}


def mine(**parts: str) -> str:
    return CLASS.format(**{**PLAIN, **parts})


EDITS = {
    "a helper in the same file": ({"mine.py": mine(head="def h(x): return x * {}", fit="return h(y)")}, "Mine()"),
    "a constant": ({"mine.py": mine(head="DEPTH = {}", fit="return DEPTH")}, "Mine()"),
    "an array that is read": ({"mine.py": mine(head="import numpy as np\nW = np.arange({}, {}+3)", fit="return W")}, "Mine()"),
    "a helper in another file": (
        {"mine.py": mine(head="from other import h", fit="return h(y)"), "other.py": "def h(x): return x * {}"}, "Mine()"),
    "two files away": (
        {"mine.py": mine(head="import other", fit="return other.h(y)"),
         "other.py": "from third import k\ndef h(x): return k(x)", "third.py": "def k(x): return x * {}"}, "Mine()"),
    "a module imported in a function": (
        {"mine.py": mine(fit="import late; return late.h(y)"), "late.py": "def h(x): return x * {}"}, "Mine()"),
    "a name imported in a function": (
        {"mine.py": mine(fit="from late import h; return h(y)"), "late.py": "def h(x): return x * {}"}, "Mine()"),
    "a module imported by name": (
        {"mine.py": mine(head="import importlib", fit="return importlib.import_module('late').h(y)"),
         "late.py": "def h(x): return x * {}"}, "Mine()"),
    "a relative import": (
        {"mine.py": "from kit.model import Mine", "kit/__init__.py": "",
         "kit/model.py": mine(head="from .sub import steps", fit="return steps.h(y)"),
         "kit/sub/__init__.py": "", "kit/sub/steps.py": "def h(x): return x * {}"}, "Mine()"),
    "a relative import within a function": (
        {"mine.py": "from kit.model import Mine", "kit/__init__.py": "",
         "kit/model.py": mine(fit="from . import steps; return steps.h(y)"), "kit/steps.py": "def h(x): return x * {}"},
         "Mine()"),
    "the package of a module": (
        {"mine.py": "from kit.model import Mine", "kit/__init__.py": "SCALE = {}",
         "kit/model.py": mine(fit="import kit; return kit.SCALE")}, "Mine()"),
    "a namespace package": (
        {"mine.py": mine(head="import space.steps", fit="return space.steps.h(y)"),
         "space/steps.py": "def h(x): return x * {}"},
         "Mine()"),
    "a base class": (
        {"mine.py": mine(head="from bases import Base", bases="Base, BaseEstimator"),
         "bases.py": "class Base:\n    def transform(self, X): return X * {}"}, "Mine()"),
    "a metaclass": (
        {"mine.py": mine(head="from meta import Meta\nclass B(metaclass=Meta): pass", bases="B, BaseEstimator"),
         "meta.py": "class Meta(type):\n    def scale(cls): return {}"}, "Mine()"),
    "a decorator": (
        {"mine.py": mine(head="from deco import twice").replace("    def fit", "    @twice\n    def fit"),
         "deco.py": "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def g(*a): return f(*a), {}\n    return g"},
         "Mine()"),
    "what a decorator wraps": (
        {"mine.py": "import functools\n@functools.lru_cache\ndef h(x): return x * {}\ndef build(): return h(2)"}, "build"),
    "a closure": ({"mine.py": "def make(k):\n    def f(X): return X * k\n    return f\nf = make({})"}, "f"),
    "a function in a closure": (
        {"mine.py": "def make(g):\n    def f(X): return g(X)\n    return f\ndef g(x): return x * {}\nf = make(g)"}, "f"),
    "a default": ({"mine.py": "def f(X, k={}): return X * k"}, "f"),
    "a keyword default": ({"mine.py": "def f(X, *, k={}): return X * k"}, "f"),
    "a lambda": ({"mine.py": "f = lambda X: X * {}"}, "f"),
    "a lambda in a list": ({"mine.py": "f = [lambda X: X, lambda X: X * {}]"}, "f"),
    "a partial": ({"mine.py": "import functools\ndef g(X, k): return X * k\nf = functools.partial(g, k={})"}, "f"),
    "the function of a partial": ({"mine.py": "import functools\ndef g(X, k): return X * k * {}\n"
         "f = functools.partial(g, k=1)"},
         "f"),
    "the object of a bound method": (
        {"mine.py": "class S:\n    def __init__(self, k): self.k = k\n    def f(self, X): return X * self.k\nf = S({}).f"},
         "f"),
    "slots of an object": (
        {"mine.py": "class S:\n    __slots__ = ('k',)\n    def f(self, X): return X * self.k\ns = S()\ns.k = {}\nf = s.f"},
         "f"),
    "a callable object": (
        {"mine.py": "class S:\n    def __call__(self, X): return X * self.k\ns = S()\ns.k = {}"}, "s"),
    "a generator expression": ({"mine.py": "def f(X): return sum(x * {} for x in X)"}, "f"),
    "a nested function": ({"mine.py": "def f(X):\n    def g(x): return x * {}\n    return g(X)"}, "f"),
    "a property": ({"mine.py": mine().rstrip() + "\n    @property\n    def k(self): return {}\n"}, "Mine()"),
    "a static method": ({"mine.py": mine().rstrip() + "\n    @staticmethod\n    def k(): return {}\n"}, "Mine()"),
    "a class attribute": ({"mine.py": mine().rstrip() + "\n    k = {}\n"}, "Mine()"),
    "an object among the globals": (
        {"mine.py": "from sklearn.preprocessing import StandardScaler\ns = StandardScaler().fit([[0], [{}]])\n"
         "def f(X): return s.transform(X)"},
         "f"),
    "a class made by a function": ({"mine.py": "def make(k):\n    class C:\n        def f(self, X): return X * k\n"
         "    return C\nC = make({})"},
         "C"),
    "a dataclass": ({"mine.py": "import dataclasses\n@dataclasses.dataclass\nclass C:\n    k: int = {}\nc = C()"}, "c"),
    "code made by exec": ({"mine.py": "scope = dict()\nexec('def h(x): return x * {}', scope)\nf = scope['h']"}, "f"),
    "a class made by exec": (
        {"mine.py": "scope = dict()\nexec('class C:\\n    def h(self): return {}', scope)\nc = scope['C']()"}, "c"),
    "a module loaded from a path": (
        {"mine.py": "import importlib.util as u, pathlib\np = pathlib.Path(__file__).parent / 'x' / 'aside.py'\n"
                    "s = u.spec_from_file_location('aside', p)\nm = u.module_from_spec(s)\ns.loader.exec_module(m)\n"
                    "def f(X): return m.h(X)", "x/aside.py": "def h(x): return x * {}"}, "f"),
    "a module read at run time by another way": (
        {"mine.py": "import other\ndef f(X): return getattr(other, 'h' + '')(X)", "other.py": "def h(x): return x * {}"}, "f"),
    "a patched class of a library": (
        {"mine.py": "from sklearn.dummy import DummyClassifier\nclass D(DummyClassifier): pass\n"
                    "def g(self): return {}\nD.more = g\nd = D()"}, "d"),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_of_what_the_recipe_can_reach_changes_its_name(own, what):
    files, expression = EDITS[what]

    def edited(value: int):
        return {name: text.replace("{}", str(value)) for name, text in files.items()}

    one, same, other = (own(edited(value), expression) for value in (3, 3, 7))
    assert one.sha256 == same.sha256
    assert one.sha256 != other.sha256
    assert not one.unknown


UNKNOWN = {
    "a compiled module": ({"mine.py": "import fast\n"
         "def f(X): return fast.h(X)", f"fast{importlib.machinery.EXTENSION_SUFFIXES[0]}": ""},
         "f"),
    "eval of what is computed": ({"mine.py": "def f(X, t): return eval(t)"}, "f"),
    "an import by a computed name": ({"mine.py": "import importlib\ndef f(X, t): return importlib.import_module(t + '?')"},
         "f"),
    "mapped memory": ({"mine.py": "import mmap\nm = mmap.mmap(-1, 9)\ndef f(X): return m[0]"}, "f"),
    "a running generator": ({"mine.py": "g = (i for i in range(3))\ndef f(X): return next(g)"}, "f"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNKNOWN)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_seen_into_is_told(own, what):
    files, expression = UNKNOWN[what]
    if what == "a compiled module":  # it need not load to be found
        files = {**files, "mine.py": "def f(X):\n    import fast\n    return fast.h(X)"}
    assert own(files, expression).unknown


def test_code_that_trains_torch_modules_is_no_mystery():
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)

        def forward(self, x):
            self.eval()
            return torch.relu(self.layer(x))

    torch.manual_seed(0)
    net = Net()
    one, same = fingerprint(Net), fingerprint(Net)
    assert (one.sha256, one.unknown) == (same.sha256, ())
    assert one.packages["torch"] == torch.__version__ or one.packages["torch"]
    before = fingerprint(net)
    assert not before.unknown
    with torch.no_grad():
        net.layer.bias += 1
    assert fingerprint(net).sha256 != before.sha256


class Learns(ClassifierMixin, BaseEstimator):
    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.seen_ = np.asarray(X)
        return self


def test_what_an_estimator_learned_is_in_its_name_only_where_clones_keep_it():
    X, y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])
    for make in (Learns, lambda: make_pipeline(StandardScaler(), LogisticRegression())):
        assert fingerprint(make().fit(X, y), cloned=True).sha256 == fingerprint(make(), cloned=True).sha256
    assert fingerprint(Learns(3), cloned=True).sha256 == fingerprint(Learns(4), cloned=True).sha256  # seeds replace it
    frozen = [FrozenEstimator(Learns().fit(X + k, y)) for k in (0, 1)]
    assert fingerprint(frozen[0], cloned=True).sha256 != fingerprint(frozen[1], cloned=True).sha256
    bound = [FunctionTransformer(StandardScaler().fit(X * k).transform) for k in (1, 2)]
    assert fingerprint(bound[0], cloned=True).sha256 != fingerprint(bound[1], cloned=True).sha256


def test_generators_are_found_and_their_state_is_not_in_the_name():
    rng = [np.random.default_rng(k) for k in (0, 1)]

    def drawing(rng):
        return FunctionTransformer(lambda X: X + rng.normal())

    one, other = (fingerprint(drawing(each), cloned=True) for each in rng)
    assert one.sha256 == other.sha256
    assert one.generators == (rng[0],)
    state = np.random.RandomState(3)
    search = GridSearchCV(DecisionTreeClassifier(), {}, cv=KFold(3, shuffle=True, random_state=state))
    assert fingerprint(search, cloned=True).generators == (state,)


@dataclass
class Pair:
    left: object
    right: object


DIFFERENT = {
    "object arrays": (np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)),
    "types within object arrays": (np.array([1, "b"], dtype=object), np.array(["1", "b"], dtype=object)),
    "arrays": (np.arange(3), np.arange(3.0)),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "sets": ({"a", "b"}, {"a", "c"}),
    "sets and frozen sets": ({"a"}, frozenset({"a"})),
    "keys": ({1: 2}, {"1": 2}),
    "ordered dicts": (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    "default factories": (defaultdict(int), defaultdict(list)),
    "dates": (date(2020, 1, 1), date(2020, 1, 2)),
    "paths": (Path("a"), Path("b")),
    "objects": (Pair(1, [2]), Pair(1, [3])),
    "sparse": (sparse.csr_array(np.eye(3)), sparse.csr_array(2 * np.eye(3))),
    "numbers and truths": ([1], [True]),
    "bytes": (b"a", bytearray(b"a")),
    "functions of libraries": (np.log, np.log1p),
    "masked": (np.ma.masked_array([1, 2], [0, 1]), np.ma.masked_array([1, 2], [1, 0])),
    "structures": (np.array([(1, 2.0)], dtype="i4,f8"), np.array([(1, 3.0)], dtype="i4,f8")),
    "scalars": (np.float32(1), np.float64(1)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_other_values_have_other_names_and_equal_ones_the_same(what):
    import copy

    one, other = DIFFERENT[what]
    assert fingerprint(one).sha256 == fingerprint(copy.deepcopy(one)).sha256
    assert fingerprint(one).sha256 != fingerprint(other).sha256
    assert not fingerprint(one).unknown
    said = [json.dumps(describe_parameter(each)) for each in (one, copy.deepcopy(one), other)]
    assert said[0] == said[1] != said[2]


def test_frames_are_named_by_value():
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    for make in (
        lambda word: pandas.DataFrame({"a": [1, 2], "b": ["x", word]}),
        lambda word: pandas.Series(["x", word, None], dtype="category"),
        lambda word: pandas.Series([word, pandas.NA], dtype="string"),
        lambda word: pandas.Index(["x", word]),
        lambda word: pandas.DataFrame({"t": pandas.to_datetime(["2020-01-01", f"2020-01-{len(word):02}"])}),
        lambda word: polars.DataFrame({"a": [1, 2], "b": ["x", word]}),
        lambda word: polars.Series([word, None]),
    ):
        one, same, other = (fingerprint(make(word)) for word in ("y", "y", "zz"))
        assert one.sha256 == same.sha256 != other.sha256
        assert not one.unknown


ZOO = """
import sys, numpy as np, functools, logging, re, enum, random
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.tree import DecisionTreeClassifier
from miaudit.recipes import EstimatorRecipe, fingerprint
WORDS = {"alpha", "beta", "gamma", "delta", "epsilon"}
TABLE = {word: {word, word * 2} for word in WORDS}
PAIRS = {(word, i) for i, word in enumerate(sorted(WORDS))} | {frozenset(WORDS)}
log = logging.getLogger("zoo")
class Colour(enum.Enum): RED = 1; BLUE = 2
class Own(ClassifierMixin, BaseEstimator):
    def __init__(self, words=frozenset(WORDS), **_): self.words = words
    def get_params(self, deep=True): return {"words": self.words}
    def fit(self, X, y):
        log.info("x"); random.random()
        return self if y in {"alpha", "beta", "gamma"} else TABLE
    def predict_proba(self, X): return [PAIRS, Colour.RED, re.compile("a+")]
def f(X): return Own().fit(X, "alpha")
things = [Own(), make_pipeline(FunctionTransformer(f), Own({"x", "y", "z"}), DecisionTreeClassifier()),
    OneHotEncoder(categories=[np.array(["a", "b"], dtype=object)]), TABLE, PAIRS, {Own, DecisionTreeClassifier, f}]
for thing in things:
    found = fingerprint(thing, cloned=True)
    print(found.sha256, found.unknown)
print(EstimatorRecipe(things[1]).describe())
"""


def test_names_are_the_same_in_every_process():
    said = {
        subprocess.run(
            [sys.executable, "-W", "error", "-"],
            input=ZOO,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1
    assert all(line.endswith("()") for line in said.pop().splitlines()[:-1])


def test_many_functions_that_call_each_other_are_seen_once():
    scope: dict = {}
    names = [f"f{i}" for i in range(60)]
    exec("\n".join(f"def {name}(x): return ({', '.join(names)}, x)" for name in names), scope)
    one = fingerprint(scope["f0"]).sha256
    exec("def f59(x): return 1", scope)
    assert fingerprint(scope["f0"]).sha256 != one


def test_a_deep_structure_needs_no_deep_stack():
    chain: list = []
    for _ in range(5000):
        chain = [chain]
    assert fingerprint(chain).sha256


def test_a_recipe_of_ones_own_is_named_by_its_code_whatever_it_says_of_itself():
    def recipe(depth):
        class Recipe:
            name = "own"

            def describe(self):
                return {"recipe": "own"}

            def fit(self, X, y, *, classes, seed):
                return DecisionTreeClassifier(max_depth=depth).fit(X, y)

        return Recipe()

    assert fingerprint_of_recipe(recipe(1)).sha256 == fingerprint_of_recipe(recipe(1)).sha256
    assert fingerprint_of_recipe(recipe(1)).sha256 != fingerprint_of_recipe(recipe(2)).sha256

    class Sub(EstimatorRecipe):
        """Overrides nothing yet."""

    plain = fingerprint_of_recipe(as_recipe(DecisionTreeClassifier()))
    assert fingerprint_of_recipe(Sub(DecisionTreeClassifier())).sha256 != plain.sha256


@pytest.fixture
def distributions(tmp_path, monkeypatch) -> Path:
    """Return a folder of installed distributions whose names are those of none of their packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = ("folders", "modules", "compiled", "spaces", "declared", "commas", "quotes")
    for number, (name, listing, content) in enumerate(
        (
            ("Folders-of-Code", "RECORD", "folders/__init__.py,sha256=x,1\nfolders/part.py,,\nothers.libs/a.so,,\n"),
            ("one-module", "RECORD", "modules.py,sha256=x,1\nmodules_no_more.py,,\n"),
            ("one-compiled", "RECORD", f"compiled{importlib.machinery.EXTENSION_SUFFIXES[0]},sha256=x,1\n"),
            ("first-of-two", "RECORD", "spaces/one/__init__.py,,\n"),
            ("second-of-two", "RECORD", "spaces/two/__init__.py,,\n"),
            ("says-so", "top_level.txt", "declared\n_declared\n"),
            ("with-a-comma", "RECORD", '"commas/of,two.py",sha256=x,1\n'),
            ("quoted-module", "RECORD", '"quotes.py",sha256=x,1\n'),
            ("editable", "RECORD", "__editable__.editable-8.5.pth,,\neditable-8.5.dist-info/RECORD,,\n"),
        )
    ):
        info = tmp_path / f"{name.replace('-', '_')}-{number}.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}.5\n")
        (info / listing).write_text(content)
        for row in csv.reader(content.splitlines() if listing == "RECORD" else ()):
            (tmp_path / row[0]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / row[0]).touch()  # a backport of the standard library leaves out files that are not there
    older = tmp_path / "older-9.5.egg-info"
    older.mkdir()
    (older / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: older\nVersion: 9.5\n")
    (older / "SOURCES.txt").write_text("listed/__init__.py\n")
    for module in (*modules, "listed"):
        (tmp_path / module).mkdir(exist_ok=True)
        (tmp_path / module / "__init__.py").touch()
    return tmp_path


def test_a_package_has_the_version_of_the_distribution_that_installed_it(distributions):
    versions = {
        "folders": "0.5",
        "modules": "1.5",
        "compiled": "2.5",
        "spaces": "3.5",
        "declared": "5.5",
        "commas": "6.5",
        "quotes": "7.5",
        "listed": "9.5",
    }
    assert {name: package_version(name) for name in versions} == versions
    assert {package_version(name) for name in ("folder", "others", "modules_no", "code", "parts", "RECORD")} == {None}
    everyone = packages_distributions()
    for name in (*versions.keys() - {"compiled"}, "linked"):  # before Python 3.12 it does not tell of compiled modules
        assert package_version(name) == (version(everyone[name][0]) if name in everyone else None)


def test_an_editable_install_has_a_version_by_its_name_and_its_packages_are_code_of_ones_own(
    distributions, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere" / "linked").mkdir(parents=True)
    (tmp_path / "elsewhere" / "linked" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")  # as its .pth file does
    assert (package_version("editable"), package_version("linked")) == ("8.5", None)
    assert origin("linked").kind == "own"


def test_the_distributions_of_packages_are_those_that_the_standard_library_tells():
    everyone = packages_distributions()
    for name in ("sklearn", "xgboost", "yaml", "dateutil", "_pytest", "PIL", "attr", "mpl_toolkits", "google"):
        if name in everyone:
            assert package_version(name) == version(everyone[name][0])


def test_installed_packages_are_named_by_version():
    found = fingerprint(make_pipeline(FunctionTransformer(partial(np.clip, a_min=0)), OneHotEncoder()), cloned=True)
    assert {"numpy", "sklearn"} <= found.packages.keys()
    assert not found.unknown


def test_a_regular_expression_is_its_pattern_and_flags():
    one, same, other, flag = (fingerprint(re.compile(*of)) for of in (["a+"], ["a+"], ["a*"], ["a+", re.I]))
    assert (one.sha256, one.unknown) == (same.sha256, ())
    assert len({each.sha256 for each in (one, other, flag)}) == 3
