"""rq: one SimpleWorker, no fork per job. It ends when the queue is empty, or waits: `... rq burst|wait`."""

from __future__ import annotations

import os
import sys

from redis import Redis
from rq import Queue, SimpleWorker

from tests.benchmarks import recording

queue = Queue(connection=Redis.from_url(os.environ["BENCH_REDIS"]))


def enqueue(sent_ns: int) -> None:
    queue.enqueue(recording.run, sent_ns)


recording.install()

if __name__ == "__main__":
    SimpleWorker([queue], connection=queue.connection).work(burst=sys.argv[1] == "burst", logging_level="WARNING")
