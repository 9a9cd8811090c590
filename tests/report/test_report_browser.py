"""The page in a real browser: it draws, and nothing sticks out on a phone."""

from __future__ import annotations

import html
import re
import shutil
import struct
import subprocess

import pytest

from miaudit.report import render, write
from miaudit.result import Result

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=2000",
)


@pytest.fixture
def chromium(tmp_path):
    """Return a function that runs Chromium on a file with a profile of its own and returns its standard output."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "the browser tests need Chromium on the PATH"

    def run(page, *flags):
        command = [program, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, page.as_uri()]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    return run


@pytest.mark.parametrize("width", [1280, 360])
def test_a_screenshot_is_made(result, tmp_path, chromium, width):
    picture = tmp_path / "page.png"
    chromium(write(result, tmp_path), f"--window-size={width},2000", f"--screenshot={picture}")
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (width, 2000)
    assert len(data) > 30_000  # an empty page of this size takes a few thousand bytes


@pytest.mark.parametrize("folded", [True, False])
def test_nothing_sticks_out_at_360_pixels(make_result, tmp_path, chromium, folded):
    document = make_result(40).model_dump(by_alias=True)
    ranks = {"name": "ranks", "pooled": None, "per_class": [], "tpr_at_fpr": []}  # has undefined figures in its row
    document["attacks"].append(document["attacks"][0] | ranks)
    page = render(Result.model_validate(document))
    if not folded:
        page = page.replace("<details>", "<details open>")
    # a frame of the page inside a page of ours: windows have a least width, and the page itself allows no script
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<iframe style="width:360px;height:800px;border:0" srcdoc="{html.escape(page)}"></iframe><p id="out"></p>'
        "<script>addEventListener('load', () => {"
        "const d = document.querySelector('iframe').contentDocument, w = d.documentElement.clientWidth;"
        "const inner = e => e.closest('.scroll, .hidden, svg');"
        "const wide = e => !inner(e) && e.getBoundingClientRect().right > w + 1;"
        "const out = [...d.querySelectorAll('main *')].filter(wide);"
        "document.querySelector('#out').textContent ="
        "`width=${w} scroll=${d.documentElement.scrollWidth} rows=${d.querySelectorAll('tr').length} "
        "out=${out.map(e => e.tagName + '.' + e.className)}`;})</script>",
        encoding="utf-8",
    )
    dom = chromium(outer, "--dump-dom")
    found = re.search(r'<p id="out">width=(\d+) scroll=(\d+) rows=(\d+) out=([^<]*)</p>', dom)
    assert found, dom[-2000:]
    assert int(found[1]) in range(345, 361)  # less the scroll bar, where one takes room
    assert found[2] == found[1]
    assert int(found[3]) > 120
    assert found[4] == ""
