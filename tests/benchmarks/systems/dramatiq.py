"""dramatiq on Redis: two processes of eight threads, the middleware it comes with. The fastest of five."""

from __future__ import annotations

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

WORKER = ("--processes", "2", "--threads", "8")


class Dramatiq(System):
    name, stores, packages = "dramatiq", ("redis",), ("dramatiq", "redis")
    promise = "at least once: acknowledged after it ran, a dead worker's jobs come back after a minute"
    setups = (Setup("2 processes of 8 threads"),)
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
