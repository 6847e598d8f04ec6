"""Measure and print.

python -m tests.benchmarks                          all of it, a quarter of an hour on two cores
python -m tests.benchmarks --stores redis           one store, under ten minutes
python -m tests.benchmarks --quick                  one small round, two minutes: a look, not a result
python -m tests.benchmarks --json results.json --write-docs
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import django

from tests import servers
from tests.benchmarks import pages, report
from tests.benchmarks.measures import DatabaseBench, Scale
from tests.benchmarks.measures_redis import RedisBench
from tests.benchmarks.processes import Failed
from tests.benchmarks.redis_store import RedisServer
from tests.benchmarks.stores import Postgres, SQLite, Store
from tests.benchmarks.systems import PEERS, SYSTEMS

STORES = ("sqlite", "postgres", "redis")
INSTALLABLE = {**SYSTEMS, **PEERS}
NAMES = (*INSTALLABLE, "raw")
QUICK = Scale(jobs=2_000, single=200, spaced=40, idle=12, past=50_000, sized=20_000)

Bench = DatabaseBench | RedisBench


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=Scale().jobs, help="Jobs of one drain (default: %(default)s).")
    parser.add_argument("--stores", type=among(STORES), default=",".join(STORES))
    parser.add_argument("--systems", type=among(NAMES), default=",".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write every figure of every round.")
    parser.add_argument("--write-docs", action="store_true", help=f"Renew the figures in {pages.PAGE}.")
    parser.add_argument("--quick", action="store_true", help="One small round.")
    parser.add_argument("--seconds", type=float, default=900, help="Begin no round that would end later than this.")
    return parser.parse_args()


def among(known: tuple[str, ...]) -> Any:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        return names

    return parse


def main() -> None:
    given = options()
    scale = QUICK if given.quick else Scale(jobs=given.jobs)
    scale = replace(scale, jobs=min(scale.jobs, given.jobs))
    names = [name for name in given.systems if name not in INSTALLABLE or INSTALLABLE[name].is_installed]
    for name in set(given.systems) - set(names):
        say(f"{name} is not installed: left out")
    with opened(given.stores, names, scale) as (benches, directory):
        results = measure(benches, scale, 1 if given.quick else given.rounds, given.seconds)
        results["machine"]["sync_us"] = synced_write(directory)
    print(report.report(results))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    if given.write_docs:
        pages.write(results)


@contextmanager
def opened(wanted: list[str], names: list[str], scale: Scale) -> Iterator[tuple[list[Bench], Path]]:
    """What is to be measured, and the directory it is in. With Redis the databases take our record."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobqueue-bench-")))
        started = {"postgres", "redis"} if "redis" in wanted else set(wanted) & {"postgres"}
        services = stack.enter_context(servers.running(started, durable=True)).services if started else {}
        for name in set(wanted) & {name for name, service in services.items() if "missing" in service}:
            raise SystemExit(f"{name} can't be measured: {services[name]['missing']}")
        stores: list[Store] = [SQLite(directory)]
        if "url" in services.get("postgres", {}):
            stores.append(Postgres(services["postgres"]))
        benches: list[Bench] = [DatabaseBench(store, names, scale) for store in stores if store.name in wanted]
        if "redis" in wanted:
            benches.append(RedisBench(RedisServer(services["redis"]), stores, names, scale))
        yield benches, directory


def measure(benches: list[Bench], scale: Scale, rounds: int, seconds: float) -> dict[str, Any]:
    begun = time.monotonic()
    found = {bench.name: about(bench) for bench in benches}
    for bench in benches:
        say(f"{bench.version}: filling the queues")
        bench.prepare()
    todo = [(found[bench.name]["rounds"], bench, one) for bench in benches for one in bench.measures()]
    done, longest = 0, 0.0
    while done < rounds and time.monotonic() + longest < begun + seconds:
        round_begun = time.monotonic()
        say(f"round {done + 1} of {rounds}")
        # Backwards every other time, so that no system always follows the same one.
        for figures, bench, one in todo if done % 2 == 0 else reversed(todo):
            kept = figures.setdefault(one.system, {}).setdefault(one.what, {})
            values = one.run()
            say(f"  {bench.name:9}{one.system:16}{one.what:44}" + short(values))
            for name, value in values.items():
                kept.setdefault(name, []).append(value)
        done, longest = done + 1, max(longest, time.monotonic() - round_begun)
    if done < rounds:
        say(f"stopped after {done} rounds: another one would have ended after {seconds:.0f} s")
    for bench in benches:
        found[bench.name]["counted"] = bench.counted()
    return {"machine": machine(done, time.monotonic() - begun, scale), "stores": found}


def about(bench: Bench) -> dict[str, Any]:
    return {"version": bench.version, "durability": bench.durability, "rounds": {}, "counted": {}}


def short(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.1f}" for name, value in values.items())


def machine(rounds: int, seconds: float, scale: Scale) -> dict[str, Any]:
    return {
        "rounds": rounds,
        "seconds": seconds,
        "cores": os.cpu_count(),
        "python": f"Python {platform.python_version()}",
        "django": f"Django {django.__version__}",
        "peers": ", ".join(package(name) for name in ("django-tasks-db", *PEERS, "redis")),
        **{f"scale_{name}": getattr(scale, name) for name in scale.__slots__},
    }


def package(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {name}"


def synced_write(directory: Path, times: int = 200) -> float:
    """The disk's part of a commit, in microseconds: median of writing 8 kB and waiting for it."""
    spent = []
    with open(directory / "sync", "wb", buffering=0) as file:
        for _ in range(times):
            begun = time.perf_counter()
            file.write(bytes(8192))
            os.fdatasync(file.fileno())
            spent.append((time.perf_counter() - begun) * 1e6)
    return median(spent)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failed as problem:
        raise SystemExit(f"benchmark: {problem}") from None
