"""What the simulation says, in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.benchmarks.report import table
from tests.benchmarks.simulation.costs import Costs
from tests.benchmarks.simulation.fleet import FULL, ONE_THREAD, Fleet, Outcome, Site

FLEETS = ((1, 1), (1, 8), (1, 32), (4, 32), (16, 32), (64, 32))
"""Hosts, and processes of each."""
ROUNDS, FEW = 4, 32
"""How often each process comes for jobs while the clock counts; five times as often where there are few processes."""
JOBS = {"0": 0.0, "10 ms": 0.01, "1 s": 1.0}
TITLES = {"postgres": "PostgreSQL", "mariadb": "MariaDB", "redis": "Redis", "sqlite": "SQLite"}
CONNECTIONS_OF_CHILD, CONNECTIONS_OF_HOST = {"sqlite": 2, "mariadb": 3}, 2
"""docs/howto/run-workers.md; PostgreSQL and Redis have one more, to hear of pushes."""
MOST_CONNECTIONS = {"postgres": 100, "mariadb": 151, "redis": 10_000}
"""As the servers come."""
POLLS = 10.0
"""Looks per second of an idle child that hears nothing: behind a pooler. MariaDB's are in what was recorded."""
WORDS = 40
"""Notifications per second of one busy producer at most: one in `QUIET_SECONDS`."""
Recorded = Mapping[str, Any]


def report(recorded: Recorded, names: list[str], site: Site) -> Iterator[str]:
    """Piece by piece: each takes some seconds."""
    for name in names:
        costs = Costs(name, recorded["stores"][name])
        yield f"### {costs.recorded['version']}\n\n{origin(costs.recorded)}"
        yield validation(costs)
        yield working(costs, site)
        if name != "sqlite":
            yield idle(costs, site)


def origin(recorded: Recorded) -> str:
    look, exchange, settle = (recorded[name] for name in ("look", "exchange", "settle"))
    return (
        f"Recorded on {recorded['day']}, {recorded['cores']} cores, load {recorded['load']:.1f}. Microseconds of "
        f"server and client: an exchange of 1 job {cost(exchange['1'])}, of 500 {cost(exchange['500'])}; settling 1 "
        f"{cost(settle['1'])}; a look at an empty line {look['look_us']:,.0f} and {look['look_client_us']:,.0f}, "
        f"a claim there {look['told_us']:,.0f}. "
        f"A job in the worker {recorded['work_us']:.0f}. A row that is passed {recorded['passing_us']:.2f}. "
        f"A synced write {recorded['sync_us']:.0f}."
    )


def cost(of: Mapping[str, float]) -> str:
    return f"{of['server_us']:,.0f} and {of['client_us']:,.0f}"


def validation(costs: Costs) -> str:
    """Against what was measured where the service times are from: one machine for all."""
    rows = []
    site = Site(server_cores=costs.recorded["cores"], host_cores=0, round_trip=0.00005)
    for processes in (1, 2):
        was, found = costs.recorded["measured"][str(processes)], Fleet(costs, site, 1, processes, 0.0).run(20)
        rates = [f"{rate:,.0f} ({rate * costs.cpu:.1f})" for rate in (was, found.per_second)]
        rows.append((str(processes), *rates, f"{found.per_second / was - 1:+.0%}"))
    return table(("processes", "measured jobs/s (cores)", "simulated", "error"), rows)


def working(costs: Costs, site: Site) -> str:
    fleets = FLEETS if costs.name != "sqlite" else tuple((1, one) for one in (1, 2, 4, 8, 32))
    rows = []
    for title, job in JOBS.items():
        for hosts, processes in fleets:
            found = Fleet(costs, site, hosts, processes, job).run(ROUNDS if hosts * processes > FEW else 5 * ROUNDS)
            rows.append((title, f"{hosts} x {processes}", *said(found)))
    return table(("job", "hosts x processes", "jobs/s", "busy", "an exchange", "first bottleneck"), rows)


def said(found: Outcome) -> tuple[str, str, str, str]:
    busy = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items())
    return f"{found.per_second:,.0f}", busy, f"{found.answer * 1_000:,.0f} ms", found.first


def idle(costs: Costs, site: Site) -> str:
    """On paper, without a clock: so much per child and per host, as it was measured."""
    return table(IDLE, [of_idle(costs, site, hosts, processes) for hosts, processes in FLEETS])


IDLE = (
    *("hosts x processes", "asked/s", "cores", "connections", "cores if it polls"),
    *("ms of a core for a push", "cores for 40 pushes/s", "first bottleneck"),
)


def of_idle(costs: Costs, site: Site, hosts: int, processes: int) -> tuple[str, ...]:
    children, kinds = hosts * processes, costs.recorded["idle"]

    def of_all(name: str) -> float:
        return float(kinds["child"][name]) * children + float(kinds["host"][name]) * hosts

    look, told = (costs.recorded["look"][f"{name}_us"] / 1e6 for name in ("look", "told"))
    # A push wakes all. On PostgreSQL each looks again, too, for the pushes that followed without a word.
    woken = {"postgres": told + look, "redis": look}.get(costs.name, 0.0) * children
    polling = POLLS * look * children if costs.name == "postgres" else 0.0
    cores = of_all("server_us") / 1e6
    connections = CONNECTIONS_OF_CHILD.get(costs.name, 4) * children + CONNECTIONS_OF_HOST * hosts
    return (
        f"{hosts} x {processes}",
        f"{of_all('asked'):,.0f}",
        f"{cores:.2f}",
        f"{connections:,}",
        f"{polling:.2f}" if polling else "",
        f"{woken * 1_000:,.1f}" if woken else "",
        f"{woken * WORDS:.2f}" if woken else "",
        first_when_idle(costs, connections, cores, woken * WORDS, site),
    )


def first_when_idle(costs: Costs, connections: int, cores: float, pushes: float, site: Site) -> str:
    """What is used up first, by how many times it is."""
    have = 1 if costs.name in ONE_THREAD else site.server_cores
    title = "the server's thread" if costs.name in ONE_THREAD else "server cores"
    used = {
        f"connections ({MOST_CONNECTIONS[costs.name]:,} as it comes)": connections / MOST_CONNECTIONS[costs.name],
        title: cores / have,
        f"{title}, at 40 pushes/s": pushes / have,
    }
    name, share = max(used.items(), key=lambda one: one[1])
    return name if share >= FULL else "none"
