"""The chart of performance.md: bars of the jobs per second, drawn as SVG text. One panel for each store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from html import escape
from statistics import median
from typing import Any

from tests.benchmarks.goals import NotMeasured, drains

WIDTH, ROW, BAR, GAP = 860, 24, 15, 46
LEFT, RIGHT = 150, 560
"""Where bars begin, and where the longest ends."""
STYLE = """
  svg { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif }
  .paper { fill: #ffffff } text { fill: #1f2328 } .quiet { fill: #59636e }
  .ours { fill: #0a7d4f } .peer { fill: #8594a6 } .raw { fill: #d5dbe1 } .range { stroke: #1f2328; stroke-width: 1.2 }
  .title { font-weight: 600; font-size: 15px }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #14181d } text { fill: #e6edf3 } .quiet { fill: #9aa5b1 }
    .ours { fill: #3fc48d } .peer { fill: #6b7a8c } .raw { fill: #39424d } .range { stroke: #e6edf3 }
  }
"""
NAMES = {"ours": "django_jobqueue", "raw": "bare loop"}


def chart(results: dict[str, Any]) -> str:
    panels = [(store["version"], bars(store)) for store in results["stores"].values()]
    lines, top = [], 34
    for title, rows in panels:
        if rows:
            lines += panel(title, rows, top)
            top += GAP + ROW * len(rows)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
        'role="img"><title>Jobs per second while a full queue is emptied</title>'
    )
    paper = f'<rect class="paper" width="{WIDTH}" height="{top}" rx="6"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", paper, *lines, "</svg>"]) + "\n"


def bars(store: dict[str, Any]) -> list[tuple[str, str, list[float]]]:
    """System, setup and its rounds, the fastest first: of each system the setup with the best median.

    Ours on Redis has a bar for each kind of record: they do not do the same work.
    """
    best: dict[tuple[str, str], tuple[str, str, list[float]]] = {}
    for system, measured in store["rounds"].items():
        with suppress(NotMeasured):
            for what, values in drains(measured).items():
                setup = what.removeprefix("drain, ")
                kind = setup.split(",")[0] if setup.startswith("record") else ""
                one = (system, setup, values)
                best[system, kind] = max(best.get((system, kind), one), one, key=rate)
    return sorted(best.values(), key=rate, reverse=True)


def rate(bar: tuple[str, str, list[float]]) -> float:
    return median(bar[2])


def panel(title: str, rows: list[tuple[str, str, list[float]]], top: int) -> Iterator[str]:
    scale = (RIGHT - LEFT) / max(max(values) for _, _, values in rows)
    yield f'<text class="title" x="20" y="{top}">{escape(title)}: jobs per second</text>'
    for number, (system, setup, values) in enumerate(rows):
        y = top + 14 + ROW * number
        yield from bar(system, setup, [LEFT + scale * value for value in values], median(values), y)


def bar(system: str, setup: str, ends: list[float], value: float, y: int) -> Iterator[str]:
    kind, middle, base = system if system in NAMES else "peer", median(ends), y + BAR - 3
    yield f'<text x="{LEFT - 8}" y="{base}" text-anchor="end">{escape(NAMES.get(system, system))}</text>'
    yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{max(1, middle - LEFT):.1f}" height="{BAR}" rx="2"/>'
    if max(ends) - min(ends) > 1:
        yield f'<path class="range" d="M{min(ends):.1f} {y + BAR / 2}H{max(ends):.1f}"/>'
    label = f'{value:,.0f} <tspan class="quiet">{escape(setup)}</tspan>'
    yield f'<text x="{max(ends) + 8:.1f}" y="{base}">{label}</text>'
