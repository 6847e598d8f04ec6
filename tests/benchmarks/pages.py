"""The figures in the documentation: written from a run, never by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks import report

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path("docs/explanation/performance.md")
BEGIN = "<!-- figures: written by `make bench ARGS=--write-docs` -->"
END = "<!-- end of figures -->"


def write(results: dict[str, Any], root: Path = ROOT) -> None:
    """Replace what is between the markers, and nothing else."""
    page = root / PAGE
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{figures(results)}\n\n{END}{after}")


def figures(results: dict[str, Any]) -> str:
    """The tables and, below them, every value they were made of."""
    scale = {key.removeprefix("scale_"): value for key, value in results["machine"].items() if "scale_" in key}
    amounts = (
        f"Drained: {scale['jobs']:,} jobs ({scale['jobs'] // 10:,} by django-tasks-db). Enqueued one by one: "
        f"{scale['single']:,}. Latency: {scale['spaced']} jobs, {scale['idle']} asleep. Old rows: {scale['past']:,}. "
        f"On Redis: drained {scale['jobs'] * 2:,} (celery a quarter, rq a tenth of them), enqueued one by one "
        f"{scale['single'] * 3:,}, waiting {scale['sized']:,}."
    )
    return "\n\n".join([report.report(results), amounts, "### Every round", report.raw_figures(results)])
