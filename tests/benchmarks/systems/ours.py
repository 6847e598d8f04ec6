"""django_jobqueue: `queue_work` with one process or two, settings as they come."""

from __future__ import annotations

from dataclasses import replace

from tests.benchmarks.systems.base import System

OURS = System(
    name="ours",
    module="django_jobqueue",
    apps=("django_jobqueue",),
    backend="django_jobqueue.backends.DatabaseBackend",
    drain=("queue_work", "--drain", "-v", "0"),
    drain_workers=(1, 2),
    processes="--processes",
    serve=("queue_work", "--processes", "0", "-v", "0"),
)
OURS_ON_REDIS = {
    record: replace(
        OURS,
        name=f"ours, record {record}",
        backend="django_jobqueue.backends.RedisBackend",
        options={"connection": "default", "record": record},
    )
    for record in ("none", "all")
}
"""By what goes into the tables: nothing but dead letters, or every execution."""
