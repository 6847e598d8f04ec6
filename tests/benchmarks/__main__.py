"""Measure and print.

python -m tests.benchmarks                          all of it, an hour on two cores
python -m tests.benchmarks --stores redis           one store
python -m tests.benchmarks --quick                  one small round, minutes: a look, not a result
python -m tests.benchmarks --json results.json --write-docs
python -m tests.benchmarks --read results.json --write-docs        later, from the file: nothing is measured
python -m tests.benchmarks --json results.json --more              further rounds, added to those of the file
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import django

from tests import servers
from tests.benchmarks import costs, long_line, pages, pinned_snapshot, report, scaling, waits, watch
from tests.benchmarks.counted import counted
from tests.benchmarks.environments import PINS, NotInstallable, pinned, python_of
from tests.benchmarks.measures import Bench, Measure, Scale
from tests.benchmarks.processes import Failed
from tests.benchmarks.stores import MariaDB, Postgres, SQLite, Store
from tests.benchmarks.stores_redis import RedisServer
from tests.benchmarks.systems import KINDS, NAMES, on

SERVERS = {"postgres": Postgres, "mariadb": MariaDB, "redis": RedisServer}
STORES = ("sqlite", *SERVERS)
Todo = tuple[dict[str, Any], Bench, Measure]
"""Where the figures of the store go, the store, and what is measured on it."""
AMOUNTS = ("jobs", "single", "spaced", "idle", "past", "delayed", "blocked", "waiting", "sized", "pinned")
QUICK = Scale(
    rounds=1,
    jobs=10_000,
    single=500,
    spaced=40,
    idle=12,
    past=50_000,
    delayed=20_000,
    blocked=20_000,
    waiting=50_000,
    sized=20_000,
    pinned=5,
)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, help=f"Default: {Scale().rounds}.")
    parser.add_argument("--jobs", type=int, help=f"Jobs of one drain (default: {Scale().jobs:,}).")
    parser.add_argument("--past", type=int, help=f"Old rows of one drain (default: {Scale().past:,}).")
    parser.add_argument("--delayed", type=int, help=f"Delayed jobs beside another (default: {Scale().delayed:,}).")
    parser.add_argument("--blocked", type=int, help=f"Blocked jobs beside another (default: {Scale().blocked:,}).")
    parser.add_argument("--waiting", type=int, help=f"Jobs of a long line (default: {Scale().waiting:,}).")
    parser.add_argument("--pinned", type=int, help=f"Seconds beside an old snapshot (default: {Scale().pinned}).")
    parser.add_argument("--stores", type=among(STORES), default=",".join(STORES))
    parser.add_argument("--systems", type=among(NAMES), default=",".join(NAMES))
    parser.add_argument("--what", nargs="+", metavar="BEGIN", help="Only those whose names begin so.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write every figure, after every round.")
    parser.add_argument("--more", action="store_true", help="Begin with the rounds that the file of --json holds.")
    parser.add_argument("--read", type=Path, metavar="FILE", help="Measure nothing: the results are in this file.")
    parser.add_argument("--write-docs", action="store_true", help=f"Renew the figures in {pages.PAGE}.")
    parser.add_argument("--quick", action="store_true", help="One small round.")
    parser.add_argument("--compare", action="store_true", help=f"With {watch.FILE.name}: warn when a ratio fell.")
    parser.add_argument("--record", action="store_true", help=f"Write {watch.FILE.name}.")
    parser.add_argument("--tried", action="store_true", help="Setups of the peers, too, that were no better.")
    parser.add_argument(
        "--install", action="store_true", help="Make the virtualenvs of the peers, and measure nothing."
    )
    parser.add_argument("--seconds", type=float, default=5_400, help="Begin no round that would end later than this.")
    given = parser.parse_args()
    if given.more and not given.json:
        parser.error("--more adds to the rounds of a file: say which by --json FILE")
    return given


def scale_of(given: argparse.Namespace) -> Scale:
    scale = QUICK if given.quick else Scale()
    asked = ("rounds", "jobs", "past", "delayed", "blocked", "waiting", "pinned")
    amounts = {name: getattr(given, name) or getattr(scale, name) for name in asked}
    return replace(
        scale,
        **amounts,
        what=tuple(given.what or scale.what),
        counts=not given.compare and not given.tried,
        tried=given.tried,
    )


def among(known: tuple[str, ...]) -> Any:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        return names

    return parse


def main() -> None:
    given = options()
    if given.install:
        raise SystemExit(1 if install(given.systems) else 0)
    results = json.loads(given.read.read_text()) if given.read else run(given)
    print(watch.comparison(results) if given.compare else report.report(results))
    if given.record:
        watch.record(results)
    if given.write_docs:
        pages.write(results)
    if broken := results["machine"]["broken"]:  # the figures of the others are good, and an hour is an hour
        raise SystemExit(f"{len(broken)} measurements failed: {', '.join(broken)}")


def run(given: argparse.Namespace) -> dict[str, Any]:
    scale, missing = scale_of(given), install(given.systems)
    names = [name for name in given.systems if name not in missing]
    before = json.loads(given.json.read_text()) if given.more else None

    def keep(results: dict[str, Any]) -> None:
        if given.json:
            new = given.json.with_name(f"{given.json.name}.new")
            new.write_text(json.dumps(results, indent=1) + "\n")
            new.replace(given.json)

    with opened(given.stores, names, scale) as (benches, directory):
        results = before or beginning(benches, scale, missing, synced_write(directory))
        if before:
            refuse_another(results, beginning(benches, replace(scale, counts=False), missing, 0.0))
        measure(results, benches, scale, given.seconds, keep)
        return results


def install(names: list[str]) -> dict[str, str]:
    """Make the virtualenvs of these systems. Those that could not be made: name -> why."""
    missing = {}
    for kind in KINDS:
        if kind.name in names and kind.packages:
            say(f"{kind.name}: {', '.join(pinned(kind.packages))}")
            try:
                python_of(kind.name, kind.packages)
            except NotInstallable as problem:
                missing[kind.name] = str(problem)
                say(missing[kind.name])
    return missing


@contextmanager
def opened(wanted: list[str], names: list[str], scale: Scale) -> Iterator[tuple[list[Bench], Path]]:
    """What is to be measured, and the directory it is in. With Redis, PostgreSQL takes our record."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobqueue-bench-")))
        started = set(wanted) & set(SERVERS) | ({"postgres"} if "redis" in wanted else set())
        services = stack.enter_context(servers.running(started, durable=True)).services if started else {}
        for name, service in services.items():
            if "missing" in service:
                raise SystemExit(f"{name} can't be measured: {service['missing']}")
        stores: dict[str, Store] = {"sqlite": SQLite(directory)}
        stores |= {name: SERVERS[name](service) for name, service in services.items()}
        yield [Bench(stores[name], stores, on(name, names), scale) for name in STORES if name in wanted], directory


def beginning(benches: list[Bench], scale: Scale, missing: dict[str, str], sync_us: float) -> dict[str, Any]:
    """Results without a round: what and where it is measured, and what is counted, which no clock is needed for."""
    about_it = {"missing": missing, "sync_us": sync_us, "broken": {}, "rounds": 0, "seconds": 0.0}
    chosen = {"systems": {bench.name: [str(one) for one in bench.systems] for bench in benches}, "what": [*scale.what]}
    stores = {bench.name: about(bench) for bench in benches}
    return {"machine": machine(scale) | chosen | about_it, "stores": stores}


def refuse_another(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Rounds of other versions, systems or amounts are another measurement."""
    for name in sorted({*now["machine"]} - {"missing", "sync_us", "broken", "rounds", "seconds"}):
        if before["machine"].get(name) != now["machine"][name]:
            raise SystemExit(f"--more: {name} was {before['machine'].get(name)} and is {now['machine'][name]} now")


def measure(
    results: dict[str, Any],
    benches: list[Bench],
    scale: Scale,
    seconds: float,
    keep: Callable[[dict[str, Any]], None] = lambda results: None,
) -> None:
    """Add the figures to the results, and hand them on after every round: a run that is cut has its rounds."""
    begun, found = time.monotonic(), results["stores"]
    for bench in benches:
        say(f"{bench.version}: filling the queues")
        bench.prepare()
        if scale.counts and not found[bench.name]["counted"]:
            found[bench.name]["counted"] = counted(bench)
    todo = [(found[bench.name]["rounds"], bench, one) for bench in benches for one in measures_of(bench)]
    about_it, spent = results["machine"], results["machine"]["seconds"]

    def end_of_round(rounds: int) -> None:
        about_it.update(rounds=rounds, seconds=spent + time.monotonic() - begun)
        keep(results)

    repeat(todo, range(about_it["rounds"], scale.rounds), begun + seconds, about_it["broken"], end_of_round)


def measures_of(bench: Bench) -> list[Measure]:
    others = (one for module in (costs, waits, scaling, pinned_snapshot, long_line) for one in module.measures(bench))
    return [*bench.measures(), *(one for one in others if one.what.startswith(bench.scale.what))]


def repeat(
    todo: list[Todo],
    rounds: range,
    end: float,
    broken: dict[str, str],
    end_of_round: Callable[[int], None] = lambda rounds: None,
) -> None:
    """These rounds, or less when the next one would end too late; what did not work is added to `broken`."""
    longest = 0.0
    for done in rounds:
        begun = time.monotonic()
        if begun + longest >= end:
            say(f"stopped after {done} rounds: another one would have ended too late (--seconds)")
            return
        say(f"round {done + 1} of {rounds.stop}")
        # Backwards every other time, so that no system always follows the same one.
        for figures, bench, one in todo if done % 2 == 0 else reversed(todo):
            if (place := f"{one.system} on {bench.name}, {one.what}") not in broken:
                try:
                    note(figures, bench, one)
                except Failed as problem:
                    broken[place] = str(problem)
                    figures[one.system].pop(one.what)
                    say(f"  {place} failed: {problem}")
        longest = max(longest, time.monotonic() - begun)
        end_of_round(done + 1)


def note(kept: dict[str, Any], bench: Bench, one: Measure) -> None:
    """Measure, and add the figures to those of other rounds."""
    kept = kept.setdefault(one.system, {}).setdefault(one.what, {})
    begun = time.monotonic()
    values = one.run()
    say(f"{time.monotonic() - begun:5.0f} s  {bench.name:9}{one.system:16}{one.what:44}" + short(values))
    for name, value in values.items():
        kept.setdefault(name, []).append(value)


def about(bench: Bench) -> dict[str, Any]:
    promises = {system.name: system.promise for system in bench.systems}
    return {"version": bench.version, "durability": bench.durability, "promises": promises, "rounds": {}, "counted": {}}


def short(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.1f}" for name, value in values.items())


def machine(scale: Scale) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "python": f"Python {platform.python_version()}",
        "django": f"Django {django.__version__}",
        "peers": versions(),
        **{f"scale_{name}": getattr(scale, name) for name in AMOUNTS},
    }


def versions() -> str:
    """Of the peers, which are pinned, and of what is between us and the stores."""
    peers = [line.replace("==", " ") for line in PINS.read_text().splitlines() if line.partition("==")[0] in NAMES]
    drivers = [f"{name} {importlib.metadata.version(name)}" for name in ("psycopg", "pymysql", "redis")]
    return ", ".join(peers + drivers)


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
