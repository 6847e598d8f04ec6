"""The figures in the documentation: written from a run, never by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.chart import chart
from tests.benchmarks.environments import ROOT
from tests.benchmarks.systems import KINDS

PAGE = Path("docs/explanation/performance.md")
CHART = PAGE.with_suffix(".svg")
BEGIN = "<!-- figures: written by `make bench ARGS=--write-docs` -->"
END = "<!-- end of figures -->"


def write(results: dict[str, Any], root: Path = ROOT) -> None:
    """Replace what is between the markers, and the chart, and nothing else."""
    page = root / PAGE
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{figures(results)}\n\n{END}{after}")
    (root / CHART).write_text(chart(results))


def figures(results: dict[str, Any]) -> str:
    """The chart, the tables and, below them, every value they were made of."""
    scale = {key.removeprefix("scale_"): value for key, value in results["machine"].items() if "scale_" in key}
    shares = sorted({(kind.name, kind.share) for kind in KINDS if kind.share < 1})
    amounts = (
        f"Drained: {scale['jobs']:,} jobs ({', '.join(f'{name} {share:.0%}' for name, share in shares)} of them). "
        f"Enqueued one by one: {scale['single']:,}. Latency: {scale['spaced']} jobs, {scale['idle']} asleep. "
        f"Old rows: {scale['past']:,}. Delayed: {scale['delayed']:,}. "
        f"Blocked: {scale.get('blocked', 0):,}. A long line: {scale['waiting']:,}. "
        f"Waiting on Redis: {scale['sized']:,}."
    )
    picture = f"![Jobs per second of each system, by store]({CHART.name})"
    return "\n\n".join([picture, report.report(results), amounts, "### Every round", report.raw_figures(results)])
