"""Every command and every block of Python on the pages for newcomers runs, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("tutorial.md", "mitigations.md")
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[tuple[str, int]]:
    """Return the commands of a console block, each with the exit code that the page says it ends with."""
    parts = re.findall(r"^\$ (.*)\n(?:exit (\d+)\n)?", text, re.MULTILINE)
    return [(command, int(code or 0)) for command, code in parts]


@pytest.mark.docs
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_tells_to_do_can_be_done(page, tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for kind, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        todo = (
            [([sys.executable, "-c", text], 0)]
            if kind == "python"
            else [(["bash", "-c", command], code) for command, code in commands(text)]
        )
        for command, code in todo:
            done = subprocess.run(
                command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
            )
            assert done.returncode == code, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


def test_pages_hold_what_is_run():
    kinds = [kind for page in PAGES for kind, _ in BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))]
    assert {*kinds} == {"python", "console"}
    assert commands("$ a b\n$ c\nexit 1\n") == [("a b", 0), ("c", 1)]
