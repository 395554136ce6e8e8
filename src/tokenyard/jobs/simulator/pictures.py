"""Runs as a picture and as lines of text: GPUs in use over time, and how long jobs waited.

Decides how figures are drawn, nothing else. No plotting library: a picture is a few polylines.
"""

from bisect import bisect_right
from collections.abc import Sequence

from tokenyard.jobs.simulator.run import Outcome

WIDTH, HEIGHT, GAP = 800, 220, 60
POINTS_MAX = 600
CHART_COLUMNS = 72
_BARS = " ▁▂▃▄▅▆▇█"
_COLOURS = ("#2563eb", "#dc2626", "#16a34a", "#9333ea", "#ea580c", "#0891b2", "#65a30d", "#57534e")
_SECONDS_MAX = 7


def draw(runs: Sequence[tuple[str, Outcome]], title: str) -> str:
    """One SVG of all runs: use over time above, the part of jobs that waited less below."""
    lines: list[str] = []
    for number, (name, outcome) in enumerate(runs):
        colour = _COLOURS[number % len(_COLOURS)]
        lines.extend(
            f'<polyline fill="none" stroke="{colour}" points="{points}"/>'
            for points in (_use_points(outcome), _wait_points(outcome))
        )
        lines.append(
            f'<text x="{number % 4 * 200}" y="{2 * HEIGHT + GAP + 50 + number // 4 * 18}" '
            f'fill="{colour}">{_escape(name)}</text>'
        )
    frames = [
        f'<rect y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
        for top in (0, HEIGHT + GAP)
    ]
    ticks = [
        f'<text x="{power / _SECONDS_MAX * WIDTH:.0f}" y="{2 * HEIGHT + GAP + 16}">{10**power:g} s'
        "</text>"
        for power in range(_SECONDS_MAX)
    ]
    height = 2 * HEIGHT + GAP + 120
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -28 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">'
        f'<text y="-10">{_escape(title)}: GPUs in use over time, 0 to 100 %</text>'
        f'<text y="{HEIGHT + GAP - 10}">Jobs that waited less than so long, 0 to 100 %</text>'
        f"{''.join([*frames, *lines, *ticks])}</svg>\n"
    )


def chart(name: str, outcome: Outcome) -> str:
    """GPUs in use over time as one line of bars; a full bar is the whole cluster."""
    means = _use_means(outcome, CHART_COLUMNS)
    bars = "".join(_BARS[round(min(part, 1.0) * (len(_BARS) - 1))] for part in means)
    return f"{name:16} {bars}"


def _use_means(outcome: Outcome, columns: int) -> list[float]:
    """The mean part of GPUs in use in each of so many equal stretches of time."""
    span = outcome.ended_at - outcome.started_at
    if span <= 0 or not outcome.curve:
        return [0.0] * columns
    step, found = span / columns, [0.0] * columns
    ends = [when for when, _ in outcome.curve[1:]] + [outcome.ended_at]
    for (when, used), end in zip(outcome.curve, ends, strict=True):
        part = used / max(outcome.gpu_milli_capacity, 1)
        begins = when - outcome.started_at
        while begins < end - outcome.started_at:
            column = min(int(begins / step), columns - 1)
            stops = min((column + 1) * step, end - outcome.started_at)
            if stops <= begins:
                break
            found[column] += part * (stops - begins) / step
            begins = stops
    return found


def _use_points(outcome: Outcome) -> str:
    means = _use_means(outcome, POINTS_MAX)
    return " ".join(
        f"{column / POINTS_MAX * WIDTH:.1f},{HEIGHT * (1 - part):.1f}"
        for column, part in enumerate(means)
    )


def _wait_points(outcome: Outcome) -> str:
    waits = sorted(one.waited_seconds for one in outcome.records.values() if one.first_start >= 0)
    if not waits:
        return ""
    points = []
    for step in range(POINTS_MAX + 1):
        power = step / POINTS_MAX * _SECONDS_MAX
        part = bisect_right(waits, 10**power) / len(waits)
        x, y = power / _SECONDS_MAX * WIDTH, HEIGHT + GAP + HEIGHT * (1 - part)
        points.append(f"{x:.1f},{y:.1f}")
    return " ".join(points)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
