"""Execute the example notebooks, each in an empty folder; an error in a cell ends the program: python docs/run_notebooks.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "examples" / "notebooks"


def main() -> None:
    """Execute all of them."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(
                nbformat.read(path, as_version=4), timeout=600, resources={"metadata": {"path": folder}}
            ).execute()
        print(f"ran {path.name}")  # noqa: T201


if __name__ == "__main__":
    main()
