"""The simulation's clock against what queueing theory knows, and its fleets against what must be so of any fleet."""

from __future__ import annotations

import random
from statistics import mean
from typing import Any

import pytest

from tests.benchmarks.simulation import record
from tests.benchmarks.simulation.costs import Costs, between
from tests.benchmarks.simulation.events import Disk, Loop, Places
from tests.benchmarks.simulation.fleet import Fleet, Outcome, Site


def sizes(server: float, client: float, log: float = 0.0) -> dict[str, Any]:
    """The same for each job, whatever the size."""
    return {
        str(size): {"server_us": server * size, "client_us": client * size, "log_bytes": log * size}
        for size in (1, 10, 100, 500)
    }


def costs(name: str = "postgres", *, server: float = 40.0, passing: float = 0.0, work: float = 60.0) -> Costs:
    recorded = {
        "exchange": sizes(server, 20.0, 1_000.0),
        "settle": sizes(server / 2, 10.0, 500.0),
        "passing_us": passing,
        "trips": {"exchange": 5, "settle": 3},
        "work_us": work,
        "sync_us": 200.0,
    }
    return Costs(name, recorded)


def outcome(of: Costs, hosts: int, processes: int, job: float = 0.0, **site: Any) -> Outcome:
    return Fleet(of, Site(**site), hosts, processes, job).run(20)


# the clock


def test_a_queue_with_equal_service_times_is_as_long_as_theory_says() -> None:
    """M/D/1: the mean wait is rho * service / (2 * (1 - rho))."""
    loop, chance, waits, service, load = Loop(), random.Random(7), [], 1.0, 0.7
    server = Places(loop, 1)

    def customer() -> Any:
        came = loop.now
        yield server.take()
        waits.append(loop.now - came)
        yield loop.pause(service)
        server.give()

    def door() -> Any:
        while True:
            yield loop.pause(chance.expovariate(load / service))
            loop.start(customer())

    loop.start(door())
    loop.run(60_000)

    assert mean(waits) == pytest.approx(load * service / (2 * (1 - load)), rel=0.05)
    assert server.share() == pytest.approx(load, rel=0.02)


def test_cores_are_shared_in_slices() -> None:
    loop, ends = Loop(), {}
    core = Places(loop, 1)

    def one(name: str, seconds: float) -> None:
        loop.start(core.use(seconds), lambda: ends.setdefault(name, loop.now))

    one("long", 0.1)
    one("short", 0.005)
    loop.run(1.0)

    assert ends == pytest.approx({"short": 0.01, "long": 0.105})


def test_those_who_wait_for_the_disk_share_a_flush() -> None:
    loop, ends = Loop(), []
    disk = Disk(loop, sync_seconds=0.01, bytes_per_second=1e6)

    def one() -> Any:
        yield disk.flush(1_000)
        ends.append(loop.now)

    for _ in range(4):
        loop.start(one())
    loop.run(1.0)

    assert ends == pytest.approx([0.011, 0.024, 0.024, 0.024])  # the first was alone
    assert disk.flushes == 2


# the costs


def test_a_cost_lies_between_those_recorded() -> None:
    assert between(sizes(40.0, 20.0), 55) == pytest.approx((40e-6 * 55, 20e-6 * 55, 0.0))
    assert between(sizes(40.0, 20.0), 1) == pytest.approx((40e-6, 20e-6, 0.0))


def test_an_exchange_is_a_settling_and_a_claim() -> None:
    assert costs().exchange(10, 10) == pytest.approx((400e-6, 200e-6, 10_000))
    assert costs().exchange(10, 0) == pytest.approx((200e-6, 100e-6, 5_000))
    assert costs().exchange(0, 0) == (0.0, 0.0, 0.0)


# the fleets


def test_what_is_busy_is_what_the_jobs_need_of_it() -> None:
    """The utilisation law: the share of a resource is its demand per job times jobs per second."""
    found = outcome(costs(), 2, 4)

    assert found.shares["server cores"] == pytest.approx(found.per_second * 40e-6 / 16, rel=0.05)
    assert found.shares["host cores"] == pytest.approx(found.per_second * 80e-6 / 32, rel=0.05)


def test_a_few_processes_are_their_own_limit_and_many_are_the_servers() -> None:
    few, many = outcome(costs(server=10.0), 1, 2), outcome(costs(), 8, 16, host_cores=32, log_bytes_per_second=4e9)

    assert few.first == "processes"
    assert few.per_second == pytest.approx(2 / 80e-6, rel=0.05)
    assert many.first == "server cores"
    assert many.per_second == pytest.approx(16 / 40e-6, rel=0.05)


def test_no_fleet_does_more_than_its_slowest_resource_allows() -> None:
    found = outcome(costs(), 4, 16, host_cores=32, log_bytes_per_second=200e6, sync=0.0)

    assert found.first == "the log's disk"
    assert found.per_second == pytest.approx(200e6 / 1_000, rel=0.1)


def test_jobs_that_take_long_keep_the_processes_and_not_the_store() -> None:
    found = outcome(costs(), 4, 8, job=0.5)

    assert found.first == "processes"
    assert found.per_second == pytest.approx(32 / 0.5, rel=0.1)
    assert found.shares["server cores"] < 0.01


def test_rows_that_others_have_locked_cost_each_claim() -> None:
    free, crowded = outcome(costs(), 8, 16), outcome(costs(passing=1.0), 8, 16)

    assert crowded.per_second < 0.8 * free.per_second
    assert (free.passed, crowded.passed > 0.2) == (0.0, True)


def test_one_writer_and_one_thread_stay_one() -> None:
    file, script = outcome(costs("sqlite", work=5.0), 1, 16), outcome(costs("redis"), 4, 16)

    assert file.first == "the write lock"
    assert file.per_second <= 1 / 20e-6
    assert script.first == "the server's thread"
    assert script.per_second == pytest.approx(1 / 40e-6, rel=0.05)


def test_the_same_record_gives_the_same_answer() -> None:
    assert outcome(costs(), 2, 3, job=0.01) == outcome(costs(), 2, 3, job=0.01)


def test_the_record_has_what_a_fleet_asks_for() -> None:
    for name, recorded in record.read()["stores"].items():
        found = Fleet(Costs(name, recorded), Site(), 1, 2, 0.0).run()
        assert found.per_second > 0
