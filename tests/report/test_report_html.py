"""The page says what the document says, all of it, and nothing in the document can break it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from itertools import pairwise

import pytest

from miaudit.errors import StoreError
from miaudit.report import render, write
from miaudit.result import BlindControl, Interval, Result

SECTIONS = [
    "top",
    "warnings",
    "needs",
    "next",
    "by-attack",
    "curves",
    "gap",
    "slices",
    "most-exposed",
    "threat",
    "asked",
    "records",
    "target",
    "shadows",
    "attacks",
    "scores",
    "roc",
    "low-fpr",
    "classes",
    "groups",
    "exposed",
    "factors",
    "controls",
    "not-tested",
    "reading",
    "provenance",
]


@pytest.fixture(scope="module")
def page(result, read_page):
    return read_page(render(result))


def spelled(value, low=None, high=None, digits=3):
    text = f"{value:.{digits}f}"
    return text if low is None else f"{text} {low:.{digits}f}–{high:.{digits}f}"  # noqa: RUF001


def changed(result, **fields):
    return Result.model_validate({**result.model_dump(by_alias=True), **fields})


def test_every_section_is_there_in_order_with_its_own_heading(page):
    assert [a["id"] for tag, a in page.elements if tag in ("section", "header")] == SECTIONS
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_ids_are_unique_and_every_reference_resolves(page):
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = [i for _, a in page.elements for i in (a.get("aria-labelledby") or "").split()]
    wanted += [a["href"].removeprefix("#") for a in page.attrs("a")]
    assert wanted
    assert set(wanted) <= set(ids)


def test_table_headers_have_a_scope_and_charts_a_title_and_a_description(page):
    assert all(a.get("scope") in ("row", "col") for a in page.attrs("th"))
    charts = [a for a in page.attrs("svg") if a.get("class") == "chart"]
    assert len(charts) == len(page.attrs("title")) - 1 == len(page.attrs("desc")) == 6  # three ROC, three histograms
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in charts)


def test_header_and_facts_equal_the_document(page, result):
    for text in (result.title, result.verdict, *result.warnings):
        assert text in page.sections["top"] + page.sections["warnings"]
    assert all(line in page.sections["threat"] for line in result.threat_model)
    assert all(line in page.sections["not-tested"] for line in result.not_tested)
    assert f"{result.target.queries:,}" in page.sections["asked"]
    assert "a probability for every class" in page.sections["asked"]
    assert result.split.draws_sha256 in page.sections["records"]
    for n in (result.split.members, result.split.nonmembers, result.split.population, result.split.shadow_train):
        assert f"{n:,}" in page.sections["records"]
    assert "members and non-members: 3; members and population: 11" in page.sections["records"]
    assert "59 of 60, 1 failed" in page.sections["shadows"]
    assert page.rows["shadows"][1:] == [
        ["Target", "1.000", "0.673", "0.327"],
        ["Shadows, mean", "1.000", "0.621", "0.379"],
    ]
    assert "ValueError: no" in page.sections["shadows"]
    assert all(
        text in page.sections["provenance"] for text in ("20,170,522", "1.9.1", "c0" * 32, '"count": 60', "141.2")
    )


def test_pooled_figures_equal_the_document(page, result):
    rows = page.rows["attacks"][1:]
    for attack, row in zip(result.attacks, rows[:3], strict=True):
        p = attack.pooled
        assert row[0].startswith(attack.title + attack.paper)
        assert row[1] == spelled(p.precision, p.precision_low, p.precision_high)
        assert row[2] == spelled(p.recall, p.recall_low, p.recall_high)
        assert row[3] == spelled(p.accuracy, p.accuracy_low, p.accuracy_high)
        assert row[4] == spelled(attack.auc.value, attack.auc.low, attack.auc.high)
    assert [row[-1] for row in rows] == ["yes", "not compared", "no", "at chance", "not confounded"]
    assert "the baseline" in rows[1][0]
    assert rows[3][3:5] == ["0.502", "0.504 0.481–0.527"]  # noqa: RUF001
    assert rows[4][4] == "0.493 0.470–0.516"  # noqa: RUF001


def test_figures_per_class_equal_the_document(page, result):
    rows = [row for row in page.rows["classes"] if row[0].startswith("place")]
    by_accuracy = sorted(result.attacks, key=lambda attack: -attack.pooled.accuracy)
    expected = [c for attack in by_accuracy for c in attack.per_class]
    assert len(rows) == len(expected) == 90
    for c, row in zip(expected, rows, strict=True):
        assert row[0] == c.class_
        assert row[1] == f"{c.n} {c.members}"
        if c.precision is not None:
            assert row[2] == spelled(c.precision, c.precision_low, c.precision_high)
        assert row[3] == spelled(c.recall, c.recall_low, c.recall_high)
        assert row[4] == spelled(c.accuracy, c.accuracy_low, c.accuracy_high)
        assert row[5:7] == [spelled(c.train_accuracy), spelled(c.test_accuracy)]


def test_an_undefined_figure_is_a_dash_with_its_reason_and_a_fallback_is_said(page):
    rows = [row for row in page.rows["classes"] if row[0].startswith("place")]
    assert rows[3][2] == "–undefined1"  # noqa: RUF001
    reason = "The attack calls no record of this class a member."
    assert reason in page.sections["classes"]
    assert reason in [a.get("title") for a in page.attrs("span")]
    assert rows[5][7] == "pooled2 12"
    assert rows[6][7] == "own 2,406"
    assert "Too few shadow rows of this class" in page.sections["classes"]


def test_low_false_positive_rates_equal_the_document_and_unresolvable_ones_are_flagged(page, result):
    head, *rows = page.rows["low-fpr"]
    assert head == ["Attack", "FPR 10 %", "FPR 1 %", "FPR 0.1 %"]
    for attack, row in zip(result.attacks, rows, strict=False):
        for point, cell in zip(attack.tpr_at_fpr, row[1:], strict=True):
            mark = "" if point.resolvable else "1"
            value, interval = spelled(point.tpr, point.low, point.high, digits=4).split()
            assert cell == f"{value}{mark} {interval}"
    assert rows[-1] == ["Guessing", "0.1000", "0.0100", "0.0010"]
    assert "Not resolvable: 0.001 of 1200 non-members is fewer than 10 records" in page.sections["low-fpr"]


def test_a_long_class_table_is_folded_under_its_chart_and_the_page_stays_small(make_result, read_page):
    text = render(make_result(100))
    assert len(text.encode()) < 350_000
    page = read_page(text)
    in_details = re.search(r'<section id="classes".*?</section>', text, re.S).group()
    long = '<details class="long"><summary>All'
    assert in_details.index("Number of classes") < in_details.index(long) < in_details.index("<table>")
    assert sum(row[0].startswith("place") for row in page.rows["classes"]) == 300


def test_ten_thousand_classes_of_300_characters_leave_a_page_that_can_be_sent(make_result):
    result = make_result(10)
    names = [f"{'n' * 290} {k}" for k in range(10_000)]
    rows = result.attacks[0].per_class
    classes = [rows[k % 10].model_copy(update={"class_": name}) for k, name in enumerate(names)]
    groups = [result.groups[0].groups[k % 10].model_copy(update={"group": name}) for k, name in enumerate(names)]
    attacks = [attack.model_copy(update={"per_class": classes}) for attack in result.attacks]
    many = {"attacks": attacks, "groups": [result.groups[0].model_copy(update={"groups": groups})]}
    text = render(result.model_copy(update=many))
    assert len(text.encode()) < 1_500_000
    assert "9,400 more classes are in result.json" in text
    assert "9,700 more are in result.json" in text


def test_an_older_result_says_what_it_lacks(result, read_page):
    page = read_page(render(changed(result, groups=[])))
    assert "This result has no counts of scores" in page.sections["scores"]
    assert "This result does not say" in page.sections["factors"]
    assert "This result has no figures of slices" in page.sections["slices"]
    assert "The table of records is not in this result" in page.sections["exposed"]


def test_the_page_fetches_nothing(result):
    text = render(result)
    assert not re.search(r"<(link|iframe|object|embed|img|image|use|base)\b", text)
    assert not re.search(r"url\(|@import|javascript:|fetch|XMLHttp|import\(|WebSocket|innerHTML|eval\(", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    targets = re.findall(r"""(?:src|href|srcset|action|data|poster)\s*=\s*["']?([^"'\s>]*)""", text)
    assert targets
    assert all(target.startswith("#") for target in targets if not target.startswith("^="))
    assert "default-src 'none'" in text


HOSTILE = "<script>alert(1)</script>\"' onload=x {{ 7*7 }} </title></style>"


def test_hostile_text_stays_text(result, read_page):
    document = result.model_dump(by_alias=True)

    def poison(value):
        if isinstance(value, dict):
            keep = ("status", "source", "outputs", "design", "attack_model", "name", "baseline", "unit")
            return {key: inner if key in keep else poison(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [poison(inner) for inner in value]
        return HOSTILE if isinstance(value, str) else value

    document = poison(document)
    document["data"]["missing"] = [HOSTILE] * 20
    free = {"plan": {HOSTILE: [{HOSTILE: HOSTILE}]}, "recipe": {HOSTILE: HOSTILE}, "hashes": {HOSTILE: HOSTILE}}
    document["provenance"] |= free
    document["shadows"]["failures"] = [{"shadow": HOSTILE, "error": HOSTILE, "traceback": HOSTILE + "\n"}]
    poisoned = Result.model_validate(document)
    page = read_page(render(poisoned))
    assert page.attrs("script") == [{}]
    assert not [a for _, a in page.elements if "onload" in a]
    assert page.text.count("<script>alert(1)</script>") > 100
    assert "49" not in page.sections["threat"]
    compact = poisoned._repr_html_()
    assert "<script" not in compact
    read_page(compact)


def test_a_result_in_which_nothing_worked_still_gives_a_page_that_says_so(result, read_page):
    attacks = [
        {"name": "lira", "title": "LiRA", "paper": "", "status": "skipped", "reason": "it needs overlapping shadows"},
        {"name": "gap", "title": "Gap", "paper": "", "status": "failed"},
    ]
    nothing = Interval(value=None, low=None, high=None, reason="too few records")
    blind = BlindControl(method="none", auc=nothing, confounded=None)
    page = read_page(
        render(
            changed(
                result,
                attacks=attacks,
                warnings=[],
                not_tested=[],
                controls={"null": None, "baseline": "gap", "blind": blind.model_dump()},
            )
        )
    )
    assert "LiRAskipped: it needs overlapping shadows" in page.text
    assert "Gapfailed: no reason was recorded" in page.text
    assert "This control did not run" in page.sections["controls"]
    assert "too few records" in page.sections["controls"]
    assert "that does not mean everything was tested" in page.sections["not-tested"]
    assert "warnings" not in page.sections


def test_an_attack_without_decisions_or_curve_has_dashes(result, read_page):
    attacks = [{"name": "rank", "title": "Ranking only", "paper": "", "status": "ran"}]
    page = read_page(render(changed(result, attacks=attacks)))
    assert page.rows["attacks"][1][1:5] == ["–undefined1"] * 3 + ["–undefined2"]  # noqa: RUF001
    assert "No attack gave a curve." in page.sections["roc"]


def test_the_page_never_promises_safety(page):
    assert not re.search(r"\b(safe|no leak|no leakage)\b", page.text, re.I)
    assert "An attack that fails does not show privacy" in page.sections["reading"]
    assert "Membership inference is not proof of use" in page.sections["reading"]


def test_the_same_result_gives_the_same_bytes_also_when_read_back(result, tmp_path):
    result.save(tmp_path)
    assert render(result) == render(Result.load(tmp_path))


def test_write_puts_the_page_into_a_new_folder_and_an_unusable_folder_is_an_error(result, tmp_path):
    path = write(result, tmp_path / "new" / "deep")
    assert path == tmp_path / "new" / "deep" / "report.html"
    assert path.read_text(encoding="utf-8") == render(result)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(StoreError, match=r"cannot write to .*output folder"):
        write(result, path / "here")  # a file where a folder should be
    assert write(result, path) == path


def test_the_notebook_summary_shows_the_figures(result, read_page):
    page = read_page(result._repr_html_())
    shokri = result.attacks[0]
    row = page.rows[""][1]
    p = shokri.pooled
    assert row[:2] == ["shokri", f"{p.precision:.3f} ({p.precision_low:.3f}–{p.precision_high:.3f})"]  # noqa: RUF001
    assert row[4] == f"{shokri.auc.value:.3f} ({shokri.auc.low:.3f}–{shokri.auc.high:.3f})"  # noqa: RUF001
    assert result.verdict in page.text
    assert all(warning in page.text for warning in result.warnings)


def test_the_notebook_summary_shows_the_area_of_attacks_that_only_rank(result, read_page):
    ranking = result.attacks[0].model_copy(update={"pooled": None, "per_class": [], "name": "rmia"})
    row = read_page(result.model_copy(update={"attacks": [ranking]})._repr_html_()).rows[""][1]
    assert row[0].startswith("rmia")
    assert row[1:4] == ["–"] * 3  # noqa: RUF001
    assert row[4].startswith(f"{ranking.auc.value:.3f} (")
    assert str(result) == f"{result.title}\n{result.verdict}"


@pytest.mark.parametrize(
    ("split", "population", "shadows"),
    [
        ({"population": 300}, "300 records from which the shadow models' data was drawn", "each trained on"),
        ({"population": 0}, "none", "each trained on"),
        ({"population": 300, "shadows": 0}, "300 records on neither side", "no shadow models"),
        ({"population": 0, "shadows": 0}, "none", "no shadow models"),
        ({"population": 1, "shadow_train": None}, "1 record on neither side", "only memberships are known"),
        ({"population": 9, "population_from": "members"}, "none was given; 9 further members", "each trained on"),
    ],
)
def test_the_page_says_what_the_population_was_for(result, split, population, shadows):
    document = result.model_dump(by_alias=True)
    document["split"] |= {"population_from": None} | split
    text = html.unescape(render(Result.model_validate(document)))
    assert f"<dt>Population</dt><dd>{population}" in text
    assert shadows in re.search("<dt>Shadow data</dt><dd>(.*?)</dd>", text)[1]


def test_the_page_says_which_figures_are_of_equal_sides_where_sides_differ(result):
    document = result.model_dump(by_alias=True)
    equal = html.unescape(render(result))
    assert result.split.members == result.split.nonmembers
    assert f"<dt>Evaluated</dt><dd>{result.split.evaluated_per_side:,} of each side" in equal
    document["split"]["members"] += 900
    other = html.unescape(render(Result.model_validate(document)))
    assert f"<dd>precision, recall and accuracy: {result.split.evaluated_per_side:,} of each side" in other
    assert "half of the time; AUCs and rates: all that are counted</dd>" in other
