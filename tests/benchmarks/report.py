"""The results as Markdown tables: readable on a terminal, and pasted as they are into the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from tests.benchmarks.goals import Verdict, verdicts

Figures = dict[str, list[float]]


def report(results: dict[str, Any]) -> str:
    """All of it. `results` is what the JSON file holds."""
    parts = [machine(results), missing(results), goals(results)]
    for store in results["stores"].values():
        parts += [
            f"### {store['version']}",
            f"Durability: {store['durability']}.",
            promises(store),
            speeds(store),
            growth(store),
            costs(store),
        ]
        parts += [latencies(store), ideals(store), scaling(store), crowds(store), claims(store)]
        parts += [memory(store), sizes(store), counted(store)]
    return "\n\n".join(part for part in parts if part)


def machine(results: dict[str, Any]) -> str:
    found = results["machine"]
    return (
        f"{found['rounds']} interleaved rounds in {found['seconds']:.0f} s on {found['cores']} cores; "
        f"{found['python']}, {found['django']}, {found['peers']}; "
        f"a synced 8 kB write takes {found['sync_us']:.0f} µs. Medians, smallest and largest in brackets."
    )


def missing(results: dict[str, Any]) -> str:
    """Nothing is passed over: what could not be installed, and what did not work."""
    found = results["machine"]
    lines = [f"Not measured: {why}." for why in found.get("missing", {}).values()]
    lines += [f"Failed: {what}: {why.splitlines()[-1]}." for what, why in found.get("broken", {}).items()]
    return "\n\n".join(lines)


def goals(results: dict[str, Any]) -> str:
    return table(("store", "goal", "wanted", "measured", ""), map(_goal, verdicts(results["stores"])))


def _goal(one: Verdict) -> Sequence[str]:
    wanted = f"{'≤' if one.at_most else '≥'} {one.goal:,.4g}"
    if not one.values:
        return (one.store, one.what, wanted, "", "not measured")
    return (one.store, one.what, wanted, spread(one.values, 2), "met" if one.is_met else "NOT MET")


def promises(store: dict[str, Any]) -> str:
    return table(("system", "a job whose worker is killed"), store.get("promises", {}).items())


def having(store: dict[str, Any], figure: str) -> Iterator[tuple[str, str, Figures]]:
    """system, what, figures: of the measurements that give this one."""
    for system, whats in store["rounds"].items():
        for what, figures in whats.items():
            if figure in figures:
                yield system, what, figures


def speeds(store: dict[str, Any]) -> str:
    rows = [
        (system, what, spread(figures["per_second"]), spread(figures["cpu_us"]) if "cpu_us" in figures else "")
        for system, what, figures in having(store, "per_second")
    ]
    return table(("system", "what", "jobs/s", "CPU of the processes that run jobs, µs/job"), rows)


def growth(store: dict[str, Any]) -> str:
    """Of our drains, what is counted: the same on a busy machine. Zero where nothing can be."""
    parts = ("server_us", "cpu_us", "pages", "written")
    rows = [(what, *(spread(figures[part]) for part in parts)) for _, what, figures in having(store, "pages")]
    head = (
        "ours, per job",
        "CPU of the server, µs",
        "of the worker",
        "pages the server looked at",
        "bytes written",
    )
    return table(head, rows)


def latencies(store: dict[str, Any]) -> str:
    rows = [
        (system, what, *(spread(figures[share], 1) for share in ("p50", "p95", "p99")))
        for system, what, figures in having(store, "p95")
    ]
    return table(("system", "what", "p50 ms", "p95 ms", "p99 ms"), rows)


def ideals(store: dict[str, Any]) -> str:
    rows = [(system, what, spread(figures["of_ideal"], 2)) for system, what, figures in having(store, "of_ideal")]
    return table(("system", "what", "of the ideal"), rows)


def scaling(store: dict[str, Any]) -> str:
    rows = [
        (what, spread(figures["one"]), spread(figures["two"]), spread(figures["times"], 2))
        for _, what, figures in having(store, "times")
    ]
    return table(("what", "1 process, jobs/s", "2 processes, jobs/s", "times"), rows)


def crowds(store: dict[str, Any]) -> str:
    names = ("backlog", "worst", "dead")
    rows = [(what, *(spread(figures[name]) for name in names)) for _, what, figures in having(store, "backlog")]
    return table(("what", "jobs that wait, in the last third", "at most", "dead rows that stay"), rows)


def claims(store: dict[str, Any]) -> str:
    """Nothing is counted on MariaDB and Redis: zeros."""
    kinds = [(f"{name}_{kind}", digits) for name in ("us", "work") for kind, digits in CLAIMS.items()]
    rows = [
        (what, *(spread(figures[name], digits) for name, digits in kinds))
        for _, what, figures in having(store, "us_times")
    ]
    return table(("what", "µs of 1,000", "µs", "times", "counted of 1,000", "counted", "times"), rows)


CLAIMS = {"short": 0, "long": 0, "times": 2}
"""Figures of `long_line`, and their digits."""


def costs(store: dict[str, Any]) -> str:
    """Microseconds of CPU per job, and what that allows."""
    parts = ("server_us", "client_us", "call_us", "rest_us", "total_us", "allowed")
    rows = [(what, *(spread(figures[part]) for part in parts)) for _, what, figures in having(store, "total_us")]
    head = (
        "CPU of a drained job, µs",
        "server",
        "statements, driver, rows",
        "decode, call, encode",
        "rest of the worker",
    )
    return table((*head, "all", "two cores allow, jobs/s"), rows)


def memory(store: dict[str, Any]) -> str:
    rows = [
        (system, spread(figures["processes"]), spread(figures["rss_mb"]), spread(figures["pss_mb"]))
        for system, what, figures in having(store, "rss_mb")
        if what == "latency"
    ]
    children = [
        (system, spread(figures["child_mb"]), spread(figures["django_mb"]), spread(figures["more_mb"], 1))
        for system, _, figures in having(store, "more_mb")
    ]
    of_workers = table(("system", "processes, idle", "memory, MB", "shared pages once, MB"), rows)
    of_children = table(("system", "a child, MB", "a Django process, MB", "more, MB"), children)
    return "\n\n".join(part for part in (of_workers, of_children) if part)


def sizes(store: dict[str, Any]) -> str:
    rows = [(system, what, spread(figures["bytes"])) for system, what, figures in having(store, "bytes")]
    return table(("system", "what", "bytes"), rows)


def counted(store: dict[str, Any]) -> str:
    rows = [
        (
            system,
            what,
            f"{figures['wal_bytes']:,.0f}" if "wal_bytes" in figures else "",
            f"{figures['round_trips']:.3f}" if "round_trips" in figures else "",
        )
        for system, whats in store["counted"].items()
        for what, figures in whats.items()
    ]
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
