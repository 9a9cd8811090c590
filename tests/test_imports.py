"""Who may import whom, and what the command line loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import miaudit
import miaudit.recipes
import miaudit.targets

SOURCE = Path(miaudit.__file__).parent
RENDERINGS = ("result", "report")  # whoever holds a result may ask it for a rendering, which it knows only then

TABLE = Path(__file__).parent.parent / "ARCHITECTURE.md"
EVERYBODYS = {"errors", "visible"}


def rooms_of_the_table() -> dict[str, set[str]]:
    """Return what each room may import, as ARCHITECTURE.md says."""
    allowed: dict[str, set[str]] = {}
    for names, rest in re.findall(
        r"^\| (`[^|]+) \| [^|]+ \| ([^|]+) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE
    ):
        above = set(allowed)
        for room in re.findall(r"`(\w+)(?:\.py|/)`", names):
            assert room not in allowed, f"ARCHITECTURE.md names {room} twice"
            others = {"nothing": set(), "all above": above}.get(rest, set(rest.split(", ")))
            allowed[room] = (others | EVERYBODYS if allowed else others) - {room}
    return allowed


ALLOWED = rooms_of_the_table()


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms a file imports anywhere in it: also in functions, and for type checkers."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports whole"
            if node.module and node.module.split(".")[0] == "miaudit":
                names = [node.module] if "." in node.module else [f"miaudit.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "miaudit"]
            assert "miaudit" not in names, f"{path}: name the room that is meant"
        elif isinstance(node, ast.Call):
            names = [
                of.value for of in node.args if isinstance(of, ast.Constant) and str(of.value).startswith("miaudit.")
            ]
            names = names if names and "import" in ast.unparse(node.func) else []
        rooms |= {name.split(".")[1] for name in names}
    return rooms - {"__version__"}


ROOMS = sorted({room_of(path) for path in SOURCE.rglob("*.py")})


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """Return the other rooms that each room imports."""
    rooms: dict[str, set[str]] = {room: set() for room in ROOMS}
    for source in SOURCE.rglob("*.py"):
        rooms[room_of(source)] |= imported_rooms(source) - {room_of(source)}
    rooms[RENDERINGS[0]].discard(RENDERINGS[1])
    return rooms


def test_the_table_of_the_architecture_names_every_room_and_no_other():
    assert set(ALLOWED) == set(ROOMS)
    for room, others in ALLOWED.items():
        assert others <= set(ROOMS), (
            f"ARCHITECTURE.md lets {room} import {others - set(ROOMS)}, and there is no such room"
        )


def test_a_room_imports_only_what_the_table_of_the_architecture_says(imported):
    further = {room: imported[room] - ALLOWED[room] for room in ROOMS}
    assert not any(further.values()), f"not in ARCHITECTURE.md: {further}"


def test_no_room_imports_another_in_a_circle(imported):
    for graph in (imported, ALLOWED):
        TopologicalSorter(graph).prepare()  # raises CycleError


def test_a_result_knows_no_rendering_before_it_is_asked_for_one():
    code = "import sys, miaudit.result; assert not any(name.startswith('miaudit.report') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_pure_rooms_import_numpy_and_scipy_only():
    for room in ("evidence", "signals.py", "stats"):
        for path in [SOURCE / room] if room.endswith(".py") else (SOURCE / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not any(name in text for name in ("import sklearn", "from sklearn", "import torch", "import pandas"))


def test_help_loads_no_heavy_library():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from miaudit.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'torch', 'pydantic', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_worker_loads_nothing_that_it_does_not_need():
    code = (
        "import sys, miaudit.shadows.processes, miaudit.recipes.estimator\n"
        "heavy = {'pydantic', 'httpx2', 'jinja2', 'rich', 'click', 'sklearn', 'torch', 'pandas'}\n"
        "heavy |= {'miaudit.plan', 'miaudit.result', 'miaudit.targets.client', 'miaudit.targets.endpoint'}\n"
        "heavy |= {'miaudit.recipes.service', 'miaudit.recipes.sisa', 'miaudit.recipes.network'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_audits_begin_without_the_half_second_of_the_libraries_that_attacks_and_targets_may_need():
    code = (
        "import sys, miaudit.auditing\n"
        "heavy = {'scipy.stats', 'scipy.optimize', 'sklearn', 'torch', 'pandas', 'httpx2', 'rich', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("package", [miaudit, miaudit.recipes, miaudit.targets], ids=lambda package: package.__name__)
def test_public_names_are_there_and_listed_also_those_that_are_imported_on_first_use(package):
    assert len(set(package.__all__)) == len(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None
    for name, home in package._HOME.items():
        assert name in package.__all__
        assert getattr(sys.modules[home], name) is getattr(package, name)
    with pytest.raises(AttributeError, match=rf"{package.__name__}.*no attribute 'Nothing'"):
        package.Nothing  # noqa: B018
    assert sorted(miaudit.__all__) == miaudit.__all__


@pytest.mark.parametrize("package", [miaudit, miaudit.recipes, miaudit.targets], ids=lambda package: package.__name__)
def test_modules_of_a_package_are_its_attributes_though_nothing_imported_them(package):
    for name in {home.removeprefix(f"{package.__name__}.").partition(".")[0] for home in package._HOME.values()}:
        assert package.__getattr__(name) is sys.modules[f"{package.__name__}.{name}"]
    for name in ("__main__", "__file__.py", "errors.x"):
        with pytest.raises(AttributeError, match="no attribute"):
            package.__getattr__(name)


def test_names_on_first_use_are_hidden_from_type_checkers_which_would_take_a_typo_for_a_name():
    hidden = 0
    for path in SOURCE.rglob("__init__.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if "__getattr__" in ast.unparse(node):
                assert isinstance(node, ast.If), path
                assert (ast.unparse(node.test), node.orelse) == ("not TYPE_CHECKING", []), path
                hidden += 1
    assert hidden == 3
