"""dramatiq: `python -m dramatiq tests.benchmarks.systems.dramatiq`, the middleware it comes with."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.benchmarks import recording

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS"]))


@dramatiq.actor
def noop(sent_ns: int) -> None:
    recording.run(sent_ns)


def enqueue(sent_ns: int) -> None:
    noop.send(sent_ns)


recording.install()
