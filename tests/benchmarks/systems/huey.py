"""huey: `python -m huey.bin.huey_consumer tests.benchmarks.systems.huey.queue`."""

from __future__ import annotations

import os

from huey import RedisHuey

from tests.benchmarks import recording

queue = RedisHuey("bench", url=os.environ["BENCH_REDIS"])


@queue.task()
def noop(sent_ns: int) -> None:
    recording.run(sent_ns)


def enqueue(sent_ns: int) -> None:
    noop(sent_ns)


recording.install()
