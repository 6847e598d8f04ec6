"""A process of one system: `... tests.benchmarks.program ACTION`. The environment says which system, and where.

prepare                                      make its tables
work OPTIONS                                 run jobs
baseline                                     print what the process needs in memory
single|many|spaced|half JOBS [...]                 enqueue, and print how many jobs there were and how long it took
paced JOBS                                   enqueue so many each second, some at a time, until --seconds have passed
delayed|sized JOBS                           enqueue what no worker takes: for tomorrow, or for their size
pauses|async|burns JOBS --pause SECONDS      enqueue what takes its time; burns: CPU time
layers                                       drain without a worker, and print what that costs
claims PID                                   claim some jobs, and print what a claim costs; PID as below
exchanges PID                                print what an exchange costs us, and the server with this pid (0: none)
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from tests.benchmarks import recording
from tests.benchmarks.systems import of_this_process
from tests.benchmarks.systems.base import System

PACED_SECONDS = 0.025


def main(action: str, *arguments: str) -> None:
    system = of_this_process()
    recording.install()
    if action == "prepare":
        system.prepare()
    elif action == "work":
        system.open()
        system.work(*arguments)
    elif action == "layers":
        system.open()
        from tests.benchmarks.layers import measure  # needs Django's settings

        print(json.dumps(measure(system.queue())))
    elif action == "exchanges":
        system.open()
        from tests.benchmarks.exchanges import Exchanges

        print(json.dumps(Exchanges(system.queue(), int(arguments[0])).measure()))
    elif action == "claims":
        system.open()
        from tests.benchmarks import claims

        print(json.dumps(claims.measure(system.queue(), int(arguments[0]))))
    elif action == "baseline":
        print(json.dumps({"kib": system.baseline()}))
    else:
        system.open_to_enqueue()
        given = parsed(action, arguments)
        print(json.dumps({"jobs": given.jobs, "seconds": produce(system, given)}))
        system.close()


def parsed(action: str, arguments: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "how", choices=["single", "many", "spaced", "half", "paced", "delayed", "sized", "pauses", "async", "burns"]
    )
    parser.add_argument("jobs", type=int)
    parser.add_argument("--warm-up", type=int, default=0, help="Jobs enqueued before the clock starts.")
    parser.add_argument("--gap", type=float, default=0.05, help="Seconds between two jobs (spaced).")
    parser.add_argument("--seconds", type=float, help="For how long (paced).")
    parser.add_argument("--pause", type=float, help="Seconds that a job takes.")
    return parser.parse_args([action, *arguments])


def produce(system: System, given: argparse.Namespace) -> float:
    """Seconds that enqueueing took."""
    for _ in range(given.warm_up):
        system.enqueue(0)
    begun = time.perf_counter()
    if given.how == "many":
        system.enqueue_many(given.jobs)
    elif given.how in ("pauses", "async"):
        system.enqueue_pauses(given.jobs, given.pause, given.how == "async")
    elif given.how == "burns":
        system.enqueue_burns(given.jobs, given.pause)
    elif given.how == "delayed":
        system.enqueue_delayed(given.jobs)
    elif given.how == "sized":
        system.enqueue_sized(given.jobs)
    elif given.how == "paced":
        paced(system, given.jobs, given.seconds)
    elif given.how == "single":
        one_by_one(system, given.jobs)
    elif given.how == "half":
        spaced(system, given.jobs, 2 * one_by_one(system, given.jobs) / given.jobs)
    else:
        spaced(system, given.jobs, given.gap)
    return time.perf_counter() - begun


def one_by_one(system: System, jobs: int) -> float:
    """As fast as it goes; how many seconds it took."""
    begun = time.perf_counter()
    for _ in range(jobs):
        system.enqueue(0)
    return time.perf_counter() - begun


def spaced(system: System, jobs: int, gap: float) -> None:
    """One each `gap` seconds, which is told when that was."""
    begun = time.perf_counter()
    for number in range(jobs):
        time.sleep(max(0.0, begun + number * gap - time.perf_counter()))
        system.enqueue(time.time_ns())


def paced(system: System, per_second: int, seconds: float) -> None:
    """Late ones are made up for. Some at a time: a commit for each would be the limit of a slow disk."""
    begun, sent = time.perf_counter(), 0
    while sent < per_second * seconds:
        time.sleep(PACED_SECONDS)
        due = min(int((time.perf_counter() - begun) * per_second), int(per_second * seconds)) - sent
        if due > 0:
            system.enqueue_stamped(due)
            sent += due


if __name__ == "__main__":
    main(*sys.argv[1:])
