"""What the benchmark has to know of a system: how to start it, and when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec


@dataclass(frozen=True, kw_only=True)
class System:
    """One with a `django.tasks` backend."""

    name: str
    module: str
    """The package that must be installed."""
    apps: tuple[str, ...]
    backend: str
    options: dict[str, str] = field(default_factory=dict)
    drain: tuple[str, ...]
    """`manage.py` arguments of a worker that ends when nothing is left."""
    serve: tuple[str, ...]
    """Of one that waits for jobs until it is told to stop."""
    drain_workers: tuple[int, ...] = (1,)
    """How many workers to try; the best counts."""
    processes: str = ""
    """The option by which one command starts several of them; without it, the command is started several times."""
    share: float = 1.0
    """Of the jobs to drain: a slow system gets fewer, so that a round ends."""

    def drains(self, workers: int) -> list[tuple[str, ...]]:
        """The commands that drain with so many workers."""
        if self.processes and workers > 1:
            return [(*self.drain, self.processes, str(workers))]
        return [self.drain] * workers

    @property
    def is_installed(self) -> bool:
        return find_spec(self.module) is not None


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One on Redis with an API of its own; its adapter is the module of its name beside this one."""

    name: str
    configuration: str
    worker: tuple[str, ...]
    """`python -m` and these start one worker, which works until SIGTERM."""
    workers: int = 2
    """How many of them are the best configuration."""
    holds: tuple[str, ...]
    """The Redis keys of what waits or runs: when all are empty, everything was run."""
    share: float = 1.0

    @property
    def is_installed(self) -> bool:
        return find_spec(self.name) is not None

    @property
    def program(self) -> str:
        return f"tests.benchmarks.systems.{self.name}"
