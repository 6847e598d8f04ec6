"""What a host without jobs costs the server: with one child and with some more, so that it is known what each costs."""

from __future__ import annotations

import time
from typing import Any

from tests.benchmarks import clocks
from tests.benchmarks.measures import Bench
from tests.benchmarks.processes import Place, alive
from tests.benchmarks.systems import System
from tests.benchmarks.systems.base import Setup

FEW, MORE = 1, 5
"""Children."""
JOBS = 2_000
"""Before it is idle: a child opens most of its connections when it first needs them."""
CALM_SECONDS, SECONDS = 3.0, 10.0
Figures = dict[str, float]

SERVER = {
    "postgres": (
        "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database",
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    ),
    "mariadb": (
        "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'questions'",
        "SELECT count(*) - 1 FROM information_schema.processlist WHERE db = database()",
    ),
}


def measure(bench: Bench, system: System) -> dict[str, Figures]:
    """Of a child and of a host, each per second: the server's microseconds, and what it was asked; and connections."""
    few, more = (of_host(bench, system, children) for children in (FEW, MORE))
    child = {name: (more[name] - few[name]) / (MORE - FEW) for name in few}
    return {"child": child, "host": {name: max(0.0, few[name] - FEW * child[name]) for name in few}}


def of_host(bench: Bench, system: System, children: int) -> Figures:
    one = system.serves
    setup = Setup("", 1, ("--processes", str(children)), one.companion, one.environment)
    with bench.place(system, bench.empty(system), setup) as place:
        place.produce("many", JOBS)
        workers = place.workers(setup)
        with alive(workers):
            bench.wait(place, workers)
            time.sleep(CALM_SECONDS)
            begun, before = time.monotonic(), account(bench, place)
            time.sleep(SECONDS)
            seconds, after = time.monotonic() - begun, account(bench, place)
    figures = {name: (after[name] - before[name]) / seconds for name in ("server_us", "asked")}
    return figures | {"connections": after["connections"]}


def account(bench: Bench, place: Place) -> Figures:
    spent = clocks.on_cores(bench.store.pid) * 1e6 if bench.store.pid else 0.0
    asked, connections = counters(bench, place)
    return {"server_us": spent, "asked": asked, "connections": connections}


def counters(bench: Bench, place: Place) -> tuple[float, float]:
    """Transactions (on MariaDB statements, on Redis commands) since the server was started; and who is connected."""
    if bench.name == "redis":
        info: dict[str, Any] = bench.store.info()  # type: ignore[attr-defined]
        return float(info["total_commands_processed"]), float(info["connected_clients"])
    if bench.name not in SERVER:
        return 0.0, 0.0
    asked, connections = (bench.store.rows(place.address, sql)[0][0] for sql in SERVER[bench.name])
    return float(asked), float(connections)
