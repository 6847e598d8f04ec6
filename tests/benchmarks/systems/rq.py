"""rq on Redis: two SimpleWorkers, which don't fork for each job as its default worker does (63 jobs/s), and four.

The four keep no finished job, which by itself made no difference.
"""

from __future__ import annotations

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

AT_ONCE = 1_000


class RQ(System):
    name, stores, packages = "rq", ("redis",), ("rq", "redis")
    promise = "at most once, or again when the job has retries"
    setups = (Setup("2 SimpleWorkers", 2), Setup("4 SimpleWorkers, no results", 4, ("0",)))
    tried = (Setup("2 SimpleWorkers, no results", 2, ("0",)), Setup("3 SimpleWorkers, no results", 3, ("0",)))
    left = "rq:queue:default rq:wip:default"
    share = 0.1
    has_many = True

    def open(self) -> None:
        from redis import Redis
        from rq import Queue

        self.queue = Queue(connection=Redis.from_url(self.address))

    def enqueue(self, sent_ns: int) -> None:
        self.queue.enqueue(recording.run, sent_ns)

    def enqueue_many(self, jobs: int) -> None:
        from rq import Queue

        for begin in range(0, jobs, AT_ONCE):
            count = min(AT_ONCE, jobs - begin)
            self.queue.enqueue_many([Queue.prepare_data(recording.run, (0,)) for _ in range(count)])

    def work(self, keep: str = "500") -> None:
        """`keep`: seconds that it keeps a finished job."""
        from rq import SimpleWorker

        worker = SimpleWorker([self.queue], connection=self.queue.connection, default_result_ttl=int(keep))
        worker.work(logging_level="WARNING")
