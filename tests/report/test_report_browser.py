"""The page in a real browser, the network cut off: it draws, sorts, searches and prints, and nothing sticks out."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest
from chromium import chromium

from miaudit.report import write
from miaudit.result import Records, Result

pytestmark = pytest.mark.browser

WIDTHS = (390, 768, 1280)
HOSTILE = "<script>document.title='x'</script>\u202e\x1b[31m" + "w" * 300
STICKING_OUT = """(() => { const w = document.documentElement.clientWidth;
    const inner = e => e.closest('.scroll, .hidden, svg, .skip, pre');
    return [...document.querySelectorAll('main *')].filter(e => !inner(e) && e.getBoundingClientRect().right > w + 1)
        .map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40)).slice(0, 9); })()"""
BEYOND_ITS_CELL = """[...document.querySelectorAll('.dotted td.number')].filter(e => {
    const r = document.createRange(); r.selectNodeContents(e);
    const [text, cell] = [r.getBoundingClientRect(), e.getBoundingClientRect()];
    return text.left < cell.left - 1 || text.right > cell.right + 1; }).map(e => e.textContent)"""
BROKEN_WORDS = """[...document.querySelectorAll('#attacks td.text')].filter(e => {
    const r = document.createRange(), word = e.textContent.split(' ').pop();
    r.setStart(e.firstChild, e.textContent.length - word.length); r.setEnd(e.firstChild, e.textContent.length);
    return r.getClientRects().length > 1; }).map(e => e.textContent)"""
UNFOLD = "document.querySelectorAll('details').forEach(d => { d.open = true; })"


@pytest.fixture(scope="module")
def browser():
    """Return a running Chromium."""
    with chromium() as program:
        yield program


@pytest.fixture(scope="module")
def pages(make_result, tmp_path_factory):
    """Return the pages of a usual result, and of one whose names are hostile and whose figures are often undefined."""
    folder = tmp_path_factory.mktemp("pages")
    usual = write(make_result(40), folder / "usual")
    strange = make_result(12, names=[f"{HOSTILE} {k}" for k in range(12)])
    document = strange.model_dump(by_alias=True)
    document["attacks"].append(
        document["attacks"][0] | {"name": "ranks", "pooled": None, "per_class": [], "tpr_at_fpr": []}
    )
    records = Records.of(row | {"id": f"{HOSTILE} {i}"} for i, row in enumerate(strange.records))
    hostile = Result.model_validate(document | {"title": HOSTILE, "warnings": [HOSTILE] * 3, "records": records})
    return {"usual": usual, "hostile": write(hostile, folder / "hostile")}


def until(condition: str) -> str:
    """Return an expression that waits until a condition holds in the page, at most ten seconds."""
    return (
        "new Promise(done => { const end = Date.now() + 1e4, look = () => "
        f"({condition}) || Date.now() > end ? done() : setTimeout(look, 30); look(); }})"
    )


def pictures(tmp_path: Path) -> Path:
    """Return where screenshots are written, to be looked at."""
    return Path(os.environ.get("MIAUDIT_SCREENSHOTS", tmp_path))


@pytest.mark.parametrize("name", ["usual", "hostile"])
def test_the_page_draws_at_three_widths_in_light_and_dark(browser, pages, name, tmp_path):
    for width, dark in product(WIDTHS, (False, True)):
        with browser.open(pages[name], width=width, dark=dark) as page:
            picture = page.picture(pictures(tmp_path) / f"{name}-{width}{'-dark' if dark else ''}.png")
            assert picture.stat().st_size > 30_000
            assert page.run(STICKING_OUT) == page.run(BEYOND_ITS_CELL) == []
            page.run(UNFOLD)
            assert page.run(STICKING_OUT) == page.run(BEYOND_ITS_CELL) == page.run(BROKEN_WORDS) == []
            assert page.run("document.documentElement.scrollWidth") == width
            charts = page.run(
                "[...document.querySelectorAll('svg.chart, svg.dots, svg.people')].map(e => e.getBoundingClientRect())"
                ".filter(r => r.width < 40 || r.height < 8).length"
            )
            assert charts == 0
            assert page.run("document.querySelectorAll('svg.chart').length") >= 3
            background = page.run("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, background[4:-1].split(","))) < 200) == dark
            assert page.requests == [pages[name].as_uri()]
            assert page.complaints == []


def test_the_first_two_layers_fit_on_two_screens(browser, pages):
    with browser.open(pages["usual"], width=1280, height=900) as page:
        tops = page.run("['#engineer', '#everything'].map(q => document.querySelector(q).getBoundingClientRect().top)")
        assert tops[0] <= 900
        assert tops[1] <= 1800


def test_tables_sort_by_number_and_by_text(browser, pages):
    column = "[...document.querySelectorAll('#exposed tbody tr')].map(r => r.cells[{}].textContent)"
    with browser.open(pages["usual"]) as page:
        page.run("document.querySelector('#exposed details').open = true")
        for index, key in ((2, lambda text: int(text.replace(",", ""))), (1, lambda text: int(text.split()[1]))):
            head = f"document.querySelectorAll('#exposed thead th')[{index}]"
            page.run(f"{head}.querySelector('button').focus()")
            page.press("Enter", 13)
            values = [key(text) for text in page.run(column.format(index))]
            assert len(values) == 200
            assert values == sorted(values)
            assert page.run(f"{head}.getAttribute('aria-sort')") == "ascending"
            page.press("Enter", 13)
            assert [key(text) for text in page.run(column.format(index))] == sorted(values, reverse=True)
        assert page.complaints == []


def test_records_can_be_searched(browser, pages):
    with browser.open(pages["usual"]) as page:
        page.run("document.querySelector('#exposed details').open = true")
        wanted = page.run("document.querySelector('#exposed tbody tr:nth-child(7) th').textContent")
        page.run("document.querySelector('#exposed input').focus()")
        page.keys(wanted)
        shown = page.run(
            "[...document.querySelectorAll('#exposed tbody tr')].filter(r => !r.hidden).map(r => r.textContent)"
        )
        assert 1 <= len(shown) < 50
        assert all(wanted in text for text in shown)


def test_search_opens_the_sections_that_match_and_hides_the_others(browser, pages):
    state = (
        "[...document.querySelectorAll('#everything > section')]"
        ".map(s => [s.id, !s.hidden, s.querySelector('details').open])"
    )
    with browser.open(pages["usual"]) as page:
        assert not any(is_open for _, _, is_open in page.run(state))
        page.run("document.querySelector('#search').focus()")
        page.keys("shadow 17")
        page.run(until("document.querySelector('#matches').textContent != ''"))
        assert [name for name, shown, is_open in page.run(state) if shown and is_open] == ["shadows"]
        assert sum(shown for _, shown, _ in page.run(state)) == 1
        assert page.run("document.querySelector('#matches').textContent") == f"in 1 of {len(page.run(state))} sections"
        page.run("document.querySelector('#search').select()")
        page.press("Backspace", 8)
        page.run(until("document.querySelector('#matches').textContent == ''"))
        assert all(shown and not is_open for _, shown, is_open in page.run(state))


def test_a_link_opens_the_section_it_leads_to_and_keys_reach_all_that_can_be_used(browser, pages):
    with browser.open(pages["usual"]) as page:
        page.run("document.querySelector('a[href=\"#exposed\"]').click()")
        assert page.run("document.querySelector('#exposed details').open")
        page.run("document.activeElement.blur(); scrollTo(0, 0)")
        reached = set()
        for _ in range(60):
            page.press("Tab", 9)
            reached.add(page.run("document.activeElement.tagName + ' ' + (document.activeElement.id || '')").strip())
        assert {"INPUT search", "SUMMARY", "BUTTON"} <= reached


def test_a_screen_reader_is_told_what_charts_show(browser, pages):
    with browser.open(pages["usual"]) as page:
        nodes = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in page.accessible()]
        images = [name for role, name in nodes if role in ("image", "img", "graphics-document")]
        assert images
        assert all(images)
        assert any("AUC" in name for name in images)
        assert next(name for role, name in nodes if role == "heading") == "Location-30, neural network"


def test_the_page_prints_with_all_sections_open(browser, pages, tmp_path):
    with browser.open(pages["usual"]) as page:
        pdf = page.pdf(pictures(tmp_path) / "page.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert 5 <= pdf.count(b"/Type /Page\n") <= 60
        browser.call("Emulation.setEmulatedMedia", page.session, media="print")
        assert page.run(BEYOND_ITS_CELL) == page.run(BROKEN_WORDS) == []
        assert page.complaints == []


def test_without_scripts_all_of_it_can_be_read(browser, pages):
    with browser.open(pages["usual"]) as page:
        browser.call("Emulation.setScriptExecutionDisabled", page.session, value=True)
        browser.call("Page.reload", page.session)
        browser.call("Runtime.evaluate", page.session, expression="1")
        nodes = [node.get("name", {}).get("value", "") for node in page.accessible()]
        assert "What the attacker was assumed to have" in " ".join(nodes)
        assert not any(name.startswith("Search") for name in nodes)
