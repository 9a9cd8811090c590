"""The page: one self-contained HTML file, a rendering of the result and of nothing else.

It has three layers: one screen for everyone (`first`), one for the engineer (`engineer`), and all else, folded by section
(`templates/parts`, one file a section). No request leaves the page: a content security policy forbids it, and allows the one
script inside, which sorts, searches and unfolds. Without scripts all of it can be read. The same result gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from miaudit.files import write_files
from miaudit.report.page.grid import read_grid
from miaudit.report.page.rendering import notebook, render
from miaudit.result import Result

__all__ = ["notebook", "render", "write"]


def write(result: Result, folder: str | Path) -> Path:
    """Write the page to ``folder/report.html``, whole or not at all, and return its path.

    A name that ends in ``.html``, and is no folder, is that of the page itself. Mitigations that lie in the folder
    (``mitigations.json``) are shown, too.

    Raises
    ------
    StoreError
        If the folder cannot be written or the disk is full; an earlier page is then unchanged.
    """
    path = Path(folder)
    page = path if path.suffix.lower() in (".html", ".htm") and not path.is_dir() else path / "report.html"
    write_files(page.parent, {page.name: render(result, read_grid(page.parent)).encode()})
    return page
