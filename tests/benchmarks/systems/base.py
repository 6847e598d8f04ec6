"""What the benchmark has to know of a system that has a `django.tasks` backend."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True, kw_only=True)
class System:
    name: str
    module: str
    """The package that must be installed."""
    apps: tuple[str, ...]
    backend: str
    drain: tuple[str, ...]
    """`manage.py` arguments of a worker that ends when nothing is left."""
    serve: tuple[str, ...]
    """Of one that waits for jobs until it is told to stop."""
    drain_workers: tuple[int, ...] = (1,)
    """How many workers to try; the best counts."""
    share: float = 1.0
    """Of the jobs to drain: a slow system gets fewer, so that a round ends."""

    @property
    def is_installed(self) -> bool:
        return find_spec(self.module) is not None
