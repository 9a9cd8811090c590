"""Two audits side by side, as lines for a terminal."""

from __future__ import annotations

from miaudit.gate import Comparison, FigureChange
from miaudit.visible import visible


def text(comparison: Comparison) -> str:
    """Return a comparison as lines: figures that moved, those that did not, what cannot be compared, and what changed."""
    pairing = "AUCs by the same records" if comparison.unpaired is None else f"unpaired: {comparison.unpaired}"
    lines = [f"Before     {comparison.before}", f"After      {comparison.after}", f"Figures    {pairing}"]
    moves = [each for each in comparison.figures if each.moved is not None]
    still = [each for each in comparison.figures if each.moved is None and each.difference is not None]
    pairs = comparison.unpaired is None
    lines += [f"  {each.moved:<10} {_figure(each, pairs)}" for each in moves]
    lines += [f"  {'-':<10} {_figure(each, pairs)}" for each in still]
    lines += [
        f"  {'no figure':<10} {each.figure} of '{each.attack}': {each.reason}"
        for each in comparison.figures
        if each.difference is None
    ]
    if not moves and still:
        lines.append("  no figure moved by more than chance explains, all of them taken together")
    elif moves:
        lines.append(
            "  rose and fell: by more than chance explains, all figures taken together; each interval is its own"
        )
    lines.append(
        "  differences are of these two models on these records; another training of either, or of the shadow models, may "
        "differ by more"
    )
    lines.append(f"Changes    {len(comparison.changes)}")
    lines += [f"  {each.what}: {each.before or '-'} -> {each.after or '-'}" for each in comparison.changes]
    return "\n".join(map(visible, lines)) + "\n"


def _figure(each: FigureChange, pairs: bool) -> str:
    alone = ", unpaired" if pairs and each.figure == "auc" and not each.paired else ""
    ends = f"{each.difference:+z.3f} (95 % interval {each.low:+z.3f} to {each.high:+z.3f}{alone})"
    return f"{each.figure} of '{each.attack}' {each.before:.3f} -> {each.after:.3f}: {ends}"
