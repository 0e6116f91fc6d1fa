"""Small line charts as SVG, readable on light and dark pages. Both axes are logarithmic."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 66, 16, 58, 46
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 13px }
.grid { stroke: #d0d7de; stroke-width: 1 } .series { fill: none; stroke-width: 2 }
.c0 { stroke: #0969da; fill: #0969da } .c1 { stroke: #bc4c00; fill: #bc4c00 } .c2 { stroke: #1a7f37; fill: #1a7f37 }
.c3 { stroke: #8250df; fill: #8250df }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .grid { stroke: #3d444d }
.c0 { stroke: #4493f8; fill: #4493f8 } .c1 { stroke: #f0883e; fill: #f0883e } .c2 { stroke: #3fb950; fill: #3fb950 }
.c3 { stroke: #ab7df8; fill: #ab7df8 }
}
.series { fill: none }
</style>"""


def number(value):
    """1000 and 0.002, not 1e3."""
    return f"{value:,.10f}".rstrip("0").rstrip(".")


def ticks(low, high):
    """1, 2 and 5 times powers of ten around the range, fewer when it is wide."""
    factors = (1, 2, 5) if high / low < 300 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [factor * 10.0**power for power in powers for factor in factors]
    below = max((step for step in steps if step <= low), default=low)
    above = min((step for step in steps if step >= high), default=high)
    return [step for step in steps if below <= step <= above]


def line_chart(title, x_label, y_label, series, x_ticks=None):
    """`series`: name → points (x, y), all above zero; lines are drawn in the order of x."""
    series = {name: sorted(points) for name, points in series.items()}
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_ticks, y_ticks = x_ticks or ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x_range = (min(*xs, *x_ticks), max(*xs, *x_ticks))
    y_range = (min(*ys, *y_ticks), max(*ys, *y_ticks))

    def place(value, span, start, end):
        low, high = map(math.log, span)
        return start + (math.log(value) - low) / ((high - low) or 1) * (end - start)

    x_at = lambda x: place(x, x_range, LEFT, WIDTH - RIGHT)
    y_at = lambda y: place(y, y_range, HEIGHT - BOTTOM, TOP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">']
    parts += [STYLE, f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>']
    for tick in x_ticks:
        x = x_at(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number(tick)}</text>')
    for tick in y_ticks:
        y = y_at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    legend = LEFT
    for index, (name, points) in enumerate(series.items()):
        color = f"c{index % 4}"
        path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in points)
        parts.append(f'<polyline class="{color} series" points="{path}"/>')
        parts += [f'<circle class="{color}" cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="3"/>' for x, y in points]
        parts.append(f'<circle class="{color}" cx="{legend + 5}" cy="36" r="5"/>')
        parts.append(f'<text x="{legend + 15}" y="40">{escape(name)}</text>')
        legend += 30 + 7 * len(name)
    return "\n".join([*parts, "</svg>", ""])
