"""Text of others made harmless for a terminal, a page and a table: what cannot be seen is written out."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0 and C1: escapes, titles, carriage returns
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # direction, breaks, no width
    "\ud800-\udfff"  # halves of characters, which cannot be written
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"  # shorthand, beams, tags
)


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return a text as one line in which every character can be seen: an escape is ``\x1b``, a line break ``\n``.

    Letters, marks and symbols of all scripts stay as they are, and so do the joiners that emoji and some scripts need.

    Parameters
    ----------
    text
        Any text.
    lines
        Keep line breaks: for a text of ours with several lines, or a whole page.

    Examples
    --------
    >>> visible("\x1b[31mred\n")
    '\\x1b[31mred\\n'
    """
    return _UNSEEN.sub(lambda c: "\n" if lines and c[0] == "\n" else c[0].encode("unicode_escape").decode(), text)
