"""An evidence file as Markdown and as one HTML page; texts of others are shown letter by letter in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from miaudit.report.annex.fields import Annex, Group
from miaudit.report.decision import plain_markdown
from miaudit.visible import visible

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}th,td{border:1px solid #8886;padding:.3rem .5rem;"
    "text-align:left;vertical-align:top;overflow-wrap:break-word}th+td:last-child{overflow-wrap:anywhere}.cited{opacity:.75}.wide{overflow-x:auto}"
)


def markdown(annex: Annex) -> str:
    """Return an evidence file as Markdown."""
    lines = [f"# Evidence file for {annex.standard.title}", "", f"**{plain_markdown(annex.title)}**", ""]
    lines += [annex.standard.asks, "", f"*{annex.standard.source}*", ""]
    for group in annex.groups:
        lines += [f"## {group.number}. {group.title}" + (f" ({group.cited})" if group.cited else ""), ""]
        lines += _table(("field", "content"), group.rows)
        lines += _table(group.table[0], group.table[1:]) if group.table else []
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield f"| {' | '.join(heads)} |"
        yield f"|{'---|' * len(heads)}"
        yield from (f"| {' | '.join(map(plain_markdown, row))} |" for row in rows)
        yield ""


def html(annex: Annex) -> str:
    """Return an evidence file as one HTML page, which loads nothing and runs no script."""
    title = f"Evidence file for {escape(annex.standard.title)}"
    body = "".join(map(_section, annex.groups))
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><h1>{title}</h1>"
        f"<p><strong>{escape(annex.title)}</strong></p><p>{escape(annex.standard.asks)}</p>"
        f'<p class="cited">{escape(annex.standard.source)}</p>\n{body}</body></html>\n'
    )
    return visible(page, lines=True)


def _section(group: Group) -> str:
    cited = f' <small class="cited">({escape(group.cited)})</small>' if group.cited else ""
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in group.rows)
    table = ""
    if group.table:
        heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in group.table[0])
        cells = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in group.table[1:])
        table = f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table></div>'
    head = f"<h2>{group.number}. {escape(group.title)}{cited}</h2>"
    return f"<section>{head}<table><tbody>{rows}</tbody></table>{table}</section>\n"
