"""Write the oldest versions that pyproject.toml allows of the libraries that users install, as constraints for pip."""

import re
import sys
import tomllib
from pathlib import Path

TOOLS = ("dev", "mlflow", "boosting")  # tools for tests, what the default tests do without, and what dev holds, too
BESIDE = ("onnx>=", "check-jsonschema>=")  # tools that go by these libraries: the oldest runtime, the oldest click


def floors(project: dict) -> list[str]:
    extras = project["optional-dependencies"]
    users = [*project["dependencies"], *(each for name in extras if name not in TOOLS for each in extras[name])]
    beside = [each for each in extras["dev"] if each.startswith(BESIDE)]
    bounds = [re.fullmatch(r"([\w-]+)>=([\d.]+)", each) for each in users + beside]
    if None in bounds:
        raise SystemExit(f"pyproject.toml: expected NAME>=VERSION, got {(users + beside)[bounds.index(None)]}")
    return [f"{name}=={version}" for name, version in map(re.Match.groups, bounds)]


if __name__ == "__main__":
    folder = Path(__file__).parent.parent
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sys.stdout.write("\n".join(floors(project)) + "\n")
