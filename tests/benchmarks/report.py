"""The results as Markdown tables: readable on a terminal, and pasted as they are into the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from tests.benchmarks.goals import Verdict, verdicts


def report(results: dict[str, Any]) -> str:
    """All of it. `results` is what the JSON file holds."""
    parts = [machine(results), goals(results)]
    for store in results["stores"].values():
        parts += [f"### {store['version']}", f"Durability: {store['durability']}.", speeds(store), latencies(store)]
        parts.append(sizes(store))
        if store["counted"]:
            parts.append(counted(store))
    return "\n\n".join(part for part in parts if part)


def machine(results: dict[str, Any]) -> str:
    found = results["machine"]
    return (
        f"{found['rounds']} interleaved rounds in {found['seconds']:.0f} s on {found['cores']} cores; "
        f"{found['python']}, {found['django']}, {found['peers']}; "
        f"a synced 8 kB write takes {found['sync_us']:.0f} µs. Medians, smallest and largest in brackets."
    )


def goals(results: dict[str, Any]) -> str:
    judged = [one for name, store in results["stores"].items() for one in verdicts(name, store["rounds"])]
    return table(("store", "goal", "wanted", "measured", ""), map(_goal, judged)) if judged else ""


def _goal(one: Verdict) -> Sequence[str]:
    sign = "≤" if one.at_most else "≥"
    return (one.store, one.what, f"{sign} {one.goal:g}", spread(one.values, 2), "met" if one.is_met else "NOT MET")


def speeds(store: dict[str, Any]) -> str:
    rows = [
        (system, what, spread(figures["per_second"]), spread(figures["cpu_us"]) if "cpu_us" in figures else "")
        for system, whats in store["rounds"].items()
        for what, figures in whats.items()
        if "per_second" in figures
    ]
    return table(("system", "what", "jobs/s", "CPU of the process, µs/job"), rows)


def latencies(store: dict[str, Any]) -> str:
    rows = [
        (system, what, *(spread(figures[share], 1) for share in ("p50", "p95", "p99")))
        for system, whats in store["rounds"].items()
        for what, figures in whats.items()
        if "p95" in figures
    ]
    return table(("system", "what", "p50 ms", "p95 ms", "p99 ms"), rows)


def sizes(store: dict[str, Any]) -> str:
    rows = [
        (system, what, spread(figures["bytes"]))
        for system, whats in store["rounds"].items()
        for what, figures in whats.items()
        if "bytes" in figures
    ]
    return table(("system", "what", "bytes"), rows)


def counted(store: dict[str, Any]) -> str:
    found = [(system, what, figures) for system, whats in store["counted"].items() for what, figures in whats.items()]
    trips = [(system, what, f"{figures['round_trips']:.3f}") for system, what, figures in found]
    if any("wal_bytes" not in figures for *_, figures in found):
        return table(("system", "what", "round trips/job"), trips)
    written = [f"{figures['wal_bytes']:,.0f}" for *_, figures in found]
    rows = [(*row[:2], size, row[2]) for row, size in zip(trips, written, strict=True)]
    return table(("system", "what", "WAL bytes/job", "round trips/job"), rows)


def raw_figures(results: dict[str, Any]) -> str:
    """Every value of every round, in the order they were measured."""
    lines = [
        f"{name} | {system} | {what} | {figure}: {', '.join(f'{value:,.1f}' for value in values)}"
        for name, store in results["stores"].items()
        for system, whats in store["rounds"].items()
        for what, figures in whats.items()
        for figure, values in figures.items()
    ]
    return "```text\n" + "\n".join(lines) + "\n```"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """`median (smallest-largest)`"""
    middle = f"{median(values):,.{digits}f}"
    return f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})" if len(values) > 1 else middle


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rows = list(rows)
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines) if rows else ""
