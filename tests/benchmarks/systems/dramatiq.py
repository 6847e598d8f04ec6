"""dramatiq on Redis: two processes of eight threads, its own middleware, prefetching 16 (its default) and 200.

With 200 it was up to twice as fast, with 1000 no faster than that; nor were 4 threads, 32, or four processes.
"""

from __future__ import annotations

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

WORKER = ("--processes", "2", "--threads", "8")


class Dramatiq(System):
    name, stores, packages = "dramatiq", ("redis",), ("dramatiq", "redis")
    promise = "at least once: acknowledged after it ran, a dead worker's jobs come back after a minute"
    setups = (
        Setup("2 processes of 8 threads"),
        Setup("2 processes of 8 threads, prefetch 200", environment=(("dramatiq_queue_prefetch", "200"),)),
    )
    tried = (
        Setup("2 processes of 8 threads, prefetch 1000", environment=(("dramatiq_queue_prefetch", "1000"),)),
        Setup("2 processes of 4 threads", options=("--threads", "4")),
        Setup("2 processes of 32 threads", options=("--threads", "32")),
        Setup("4 processes of 8 threads", options=("--processes", "4")),
    )
    left = "dramatiq:default dramatiq:default.msgs"

    def open(self) -> None:
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker

        dramatiq.set_broker(RedisBroker(url=self.address))
        self.enqueue = dramatiq.actor(recording.run, actor_name="noop").send

    def work(self, *options: str) -> None:
        """Its command line; each of its processes calls `open_here`."""
        from dramatiq.cli import main, make_argument_parser

        main(make_argument_parser().parse_args(["tests.benchmarks.systems:open_here", *WORKER, *options]))
