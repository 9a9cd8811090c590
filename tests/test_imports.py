"""Who may import whom, and what the command line loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import miaudit

SOURCE = Path(miaudit.__file__).parent

# room -> rooms of ours it may import; a room may always import errors and itself
ALLOWED = {
    "errors": set(),
    "seeds": set(),
    "files": set(),
    "evidence": set(),
    "signals": set(),
    "stats": set(),
    "attacks": {"evidence", "signals", "stats", "seeds"},
    "testing": {"attacks", "evidence", "recipes", "signals", "stats", "seeds", "targets"},
    "store": {"files"},
    "data": {"seeds"},
    "plan": set(),
    "permissions": {"plan"},
    "table": set(),
    "result": {"files", "table"},
    "targets": {"data", "evidence"},
    "synthesis": {"data", "files", "targets"},
    "recipes": {"data", "targets", "seeds", "files"},
    "probes": {"attacks", "data", "evidence", "seeds", "targets"},
    "shadows": {"data", "evidence", "files", "probes", "recipes", "targets", "store", "seeds"},
    "findings": {"attacks", "evidence", "stats", "result", "seeds"},
    "canaries": {
        *("case", "data", "files", "plan", "recipes", "seeds", "shadows", "signals", "stats", "store", "targets"),
        "workers",
        "permissions",
    },
    "case": {"attacks", "data", "permissions", "plan", "recipes", "seeds", "targets"},
    "shadow_data": {"case", "data", "files", "plan", "seeds", "shadows", "store", "synthesis", "targets"},
    "provenance": set(),
    "workers": {"plan", "recipes", "shadows"},
    "scope": {"attacks", "case", "data", "evidence"},
    "auditing": {
        *(
            "scope",
            "attacks",
            "case",
            "data",
            "evidence",
            "files",
            "findings",
            "permissions",
            "plan",
            "recipes",
            "result",
            "seeds",
        ),
        *("probes", "provenance", "shadow_data", "shadows", "stats", "store", "targets", "workers"),
    },
    "outputs": {"data", "evidence"},
    "scoring": {"attacks", "evidence", "findings", "outputs", "provenance", "result"},
    "report": {"result", "files"},
    "progress": {"shadows"},
    "listing": {"attacks"},
    "cli": {
        "listing",
        "findings",
        "scoring",
        "canaries",
        "case",
        "shadow_data",
        "synthesis",
        "seeds",
        "targets",
        "auditing",
        "report",
        "permissions",
        "plan",
        "result",
        "progress",
        "attacks",
        "recipes",
        "data",
        "workers",
    },
    "__main__": {"cli"},
}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "miaudit":
            names = [node.module] if "." in node.module else [f"miaudit.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("miaudit.")]
        rooms |= {name.split(".")[1] for name in names}
    return rooms - {"__version__"}


def test_every_room_imports_only_what_the_plan_of_the_house_allows():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        assert room in ALLOWED, f"{path}: a room the plan does not know"
        wrong += [f"{path}: {other}" for other in imported_rooms(path) - ALLOWED[room] - {"errors", room}]
    assert not wrong


def test_the_pure_rooms_import_numpy_and_scipy_only():
    for room in ("evidence.py", "signals.py", "stats"):
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


def test_public_names_are_sorted_and_there():
    assert sorted(miaudit.__all__) == miaudit.__all__
    for name in miaudit.__all__:
        assert getattr(miaudit, name) is not None
