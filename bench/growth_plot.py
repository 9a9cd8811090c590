"""Draw how training grows with models and records, from what bench/shadows.py wrote.

    python bench/growth_plot.py bench/results/shadows.json docs/growth.svg

Dots are seconds by models and by records; the line is the start and what each further one takes.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 260, 56, 44, 30


def panel(growth: dict[str, Any], title: str, axis: str, at: int) -> str:
    """Return one panel, both axes logarithmic: dots are measured, the line is start + per_unit * x."""
    seconds = {int(k): float(s) for k, s in growth["seconds"].items()}
    low_x, high_x = math.log10(min(seconds)), math.log10(max(seconds))
    low_y, high_y = math.floor(math.log10(min(seconds.values()))), math.floor(math.log10(max(seconds.values()))) + 1

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low_x) / (high_x - low_x)
        up = (math.log10(y) - low_y) / (high_y - low_y)
        return at + LEFT + across * (WIDTH - LEFT - 20), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    parts = [f'<text x="{at + WIDTH / 2:.0f}" y="18" text-anchor="middle" font-weight="bold">{title}</text>']
    for power in range(low_y, high_y + 1):
        x, y = place(min(seconds), 10**power)
        end, _ = place(max(seconds), 10**power)
        parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{y:.1f}" stroke="#ccc"/>')
        parts.append(f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    curve = [10 ** (low_x + (high_x - low_x) * i / 40) for i in range(41)]
    line_at = {x: growth["start"] + growth["per_unit"] * x for x in curve}
    fitted = [place(x, y) for x, y in line_at.items() if 10**low_y <= y <= 10**high_y]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in fitted)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#2563a8" stroke-width="1.5"/>')
    for k, s in seconds.items():
        x, y = place(k, s)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#b3391f"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{k:,}</text>')
    parts.append(f'<text x="{at + WIDTH / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{axis}</text>')
    return "".join(parts)


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    found = json.loads(source.read_text())
    growth, machine = {name: found["growth"][name] for name in ("models", "records")}, found["machine"]
    off = {name: 100 * each["worst_deviation_from_a_line"] for name, each in growth.items()}
    said = (
        f"Seconds of training against the number of models (worst {off['models']:.0f} % off a line) and of records "
        f"(worst {off['records']:.0f} %); {machine['processor']}, {machine['cores']} cores"
    )
    body = panel(growth["models"], "seconds by models", "models of 10,000 records", 0)
    body += panel(growth["records"], "seconds by records", "records of each of 8 models", WIDTH)
    target.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" role="img" font-family="sans-serif" '
        f'font-size="11"><title>{escape(said)}</title><rect width="100%" height="100%" fill="white"/>{body}</svg>\n'
    )


if __name__ == "__main__":
    main()
