"""Records what the simulation needs: a minute or two on each store, with one worker and with two."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from tests import servers
from tests.benchmarks.__main__ import SERVERS, say, synced_write
from tests.benchmarks.measures import Bench, Scale
from tests.benchmarks.simulation import idle
from tests.benchmarks.stores import SQLite, Store
from tests.benchmarks.systems import System, on

FILE = Path(__file__).with_name("recorded.json")
ROUNDS = 3
"""Of the drains that the simulation is compared with."""
JOBS, BATCH = 25_000, 500
"""Of a drain, and of an exchange in it: `PREFETCH_MAX`."""
Recorded = dict[str, Any]


def read(file: Path = FILE) -> Recorded:
    recorded: Recorded = json.loads(file.read_text())
    return recorded


def record(names: list[str], file: Path = FILE) -> Recorded:
    """Measure these stores, and write what was found beside what is known of the others."""
    found = read(file) if file.exists() else {"stores": {}}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobqueue-simulation-")))
        wanted = set(names) & set(SERVERS)
        services = stack.enter_context(servers.running(wanted, durable=True)).services if wanted else {}
        stores: dict[str, Store] = {"sqlite": SQLite(place)}
        stores |= {name: SERVERS[name](service) for name, service in services.items()}
        for name in names:
            [system] = on(name, {"ours"})
            scale = replace(Scale(), jobs=JOBS, past=1, delayed=1, waiting=1)
            found["stores"][name] = of_store(Bench(stores[name], stores, [system], scale), system)
            found["stores"][name]["sync_us"] = synced_write(place)
            file.write_text(json.dumps(found, indent=1) + "\n")
    return found


def of_store(bench: Bench, system: System) -> Recorded:
    say(f"{bench.version}: filling the queue")
    bench.prepare()
    begun = {"version": bench.version, "day": f"{datetime.now(UTC):%-d %B %Y}", "cores": os.cpu_count()}
    say("  exchanges")
    with bench.place(system, bench.filled(system)) as place:
        told = dict(system.serves.environment)
        found = json.loads(place.start("exchanges", str(bench.store.pid), **told).output())
    say("  drains")
    drains = of_drains(bench, system)
    found["work_us"] = drains.pop("cpu_us") - found["exchange"][str(BATCH)]["client_us"] / BATCH
    say("  idle hosts")
    return begun | found | {"measured": drains, "idle": idle.measure(bench, system), "load": os.getloadavg()[0]}


def of_drains(bench: Bench, system: System) -> dict[str, float]:
    """Jobs per second with one process and with two, medians; and the processor time of the one."""
    rounds = [[bench.drain(system, setup, bench.filled(system)) for setup in system.setups[:2]] for _ in range(ROUNDS)]
    one, two = zip(*rounds, strict=True)
    rates = {name: median(figures["per_second"] for figures in of) for name, of in (("1", one), ("2", two))}
    return rates | {"cpu_us": median(figures["cpu_us"] for figures in one)}
