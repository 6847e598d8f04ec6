"""The producing side of a measurement, in a process of its own. Prints one line of JSON."""

from __future__ import annotations

import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_jobqueue.jobs.codec import encode_call
from tests.benchmarks.tasks import keep, noop

ANSWER_SECONDS = 30.0
PAYLOAD = 200
"""Bytes of a job that is there for its size: the name of its task and its encoded arguments."""
PADDING = "x" * (PAYLOAD - len(keep.module_path) - len(encode_call(("",), {})))


class Command(BaseCommand):
    help = "Enqueue no-op jobs and say how long it took."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("how", choices=["single", "many", "spaced", "sized"])
        parser.add_argument("jobs", type=int)
        parser.add_argument("--warm-up", type=int, default=0, help="Jobs enqueued before the clock starts.")
        parser.add_argument("--gap", type=float, default=0.05, help="Seconds between two jobs (spaced).")

    def handle(self, *, how: str, jobs: int, warm_up: int, gap: float, **options: Any) -> None:
        for _ in range(warm_up):
            noop.enqueue(0)
        begun = time.perf_counter()
        if how == "many":
            noop.enqueue_many([(number,) for number in range(jobs)])
        elif how == "sized":
            keep.enqueue_many([(PADDING,)] * jobs)
        elif how == "single":
            for number in range(jobs):
                noop.enqueue(number)
        else:
            spaced(jobs, gap)
        self.stdout.write(json.dumps({"jobs": jobs, "seconds": time.perf_counter() - begun}))


def spaced(jobs: int, gap: float) -> None:
    """One job every `gap` seconds for a worker that is known to be there and idle; waits until the last is done."""
    until_done(noop.enqueue(0))
    time.sleep(2 * gap)
    begun = time.monotonic()
    for number in range(jobs):
        time.sleep(max(0.0, begun + number * gap - time.monotonic()))
        last = noop.enqueue(time.time_ns())
    until_done(last)


def until_done(result: Any) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while not noop.get_result(result.id).is_finished:
        if time.monotonic() > deadline:
            raise CommandError(f"no worker has run a job within {ANSWER_SECONDS:.0f} s")
        time.sleep(0.02)
