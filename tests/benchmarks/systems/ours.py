"""django_jobqueue: the ORM store, one `queue_work` process, settings as they come."""

from __future__ import annotations

from tests.benchmarks.systems.base import System

OURS = System(
    name="ours",
    module="django_jobqueue",
    apps=("django_jobqueue",),
    backend="django_jobqueue.backends.DatabaseBackend",
    drain=("queue_work", "--drain", "-v", "0"),
    serve=("queue_work", "-v", "0"),
)
