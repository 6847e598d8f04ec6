"""django-ox on PostgreSQL: one `ox_worker` and two. For latency it has its own interval of a second: it polls.

Three workers, four, and four jobs at a time in each were no faster.
"""

from __future__ import annotations

from tests.benchmarks.systems.base import Setup
from tests.benchmarks.systems.django import ON_POSTGRES, TasksSystem

DRAIN = ("--batch", "--interval", "0.01")
AT_ONCE = 1_000


class DjangoOx(TasksSystem):
    name, stores, packages = "django-ox", ("postgres",), ("django-ox", *ON_POSTGRES)
    promise = "at least once, under a lease"
    apps = ("django_ox",)
    backend = "django_ox.backend.OxBackend"
    setups = (Setup("1 worker", 1, DRAIN), Setup("2 workers", 2, DRAIN))
    tried = (
        Setup("1 worker, 4 at a time", 1, (*DRAIN, "--concurrency", "4")),
        Setup("2 workers, 4 at a time", 2, (*DRAIN, "--concurrency", "4")),
        Setup("3 workers", 3, DRAIN),
        Setup("4 workers", 4, DRAIN),
    )
    serving = Setup("1 worker")
    share = 0.1
    left = "SELECT 1 FROM django_ox_oxtask WHERE status IN ('READY', 'RUNNING', 'WAITING') LIMIT 1"
    done = "SELECT count(*) FROM django_ox_oxtask WHERE status = 'SUCCESSFUL'"
    ends_by_itself = has_many = True

    def enqueue_many(self, jobs: int) -> None:
        from django_ox.bulk import enqueue_many

        from tests.benchmarks.tasks import noop

        for begin in range(0, jobs, AT_ONCE):
            enqueue_many(noop, [((0,), {})] * min(AT_ONCE, jobs - begin))

    def work(self, *options: str) -> None:
        self.manage("ox_worker", "-v", "0", *options)
