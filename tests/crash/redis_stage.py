"""A Redis store with its processes. What has ended is in the database `default`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from django_jobqueue.models import DelayedJob
from django_jobqueue.queues.base import Queue
from django_jobqueue.queues.redis import RedisQueue
from django_jobqueue.queues.redis.connection import Connection
from tests.crash.processes import Stage


class RedisStage(Stage):
    """`server`: the address of a server of the test's own, instead of the one that all tests use."""

    def __init__(self, alias: str, directory: Path, env: dict[str, str], lease: float, server: str = "") -> None:
        self.server = server
        if server:
            env = env | {f"JOBQUEUE_TEST_{alias.upper()}_URL": server}
        super().__init__(alias, directory, env, lease)
        self.client.flushdb()

    database = "default"

    def open_queue(self) -> Queue:
        prefix, address = settings.REDIS_PREFIX, f"{self.server}?db={settings.REDIS_DATABASE}"
        where = {"url": address} if self.server else {"connection": self.alias}
        return RedisQueue(self.alias, Connection({**where, "prefix": prefix}), lease=self.lease, prefix=prefix)

    @property
    def client(self) -> Any:
        return self.queue.connection.client

    def key(self, name: str) -> str:
        return f"{{{settings.REDIS_PREFIX}}}:{name}"

    def hash(self, name: str) -> set[bytes]:
        return set(self.client.hkeys(self.key(name)))

    def leases(self) -> int:
        return sum(one.running for one in self.queue.stats())

    def live(self) -> int:
        return self.queue.size() + self.outbox()

    def outbox(self) -> int:
        """Jobs on their way from the database to Redis."""
        return DelayedJob.objects.filter(waiting_on=self.alias).count()

    def waiting(self) -> list[tuple[UUID, int]]:
        found = [self.queue.find(UUID(bytes=one)) for one in self.hash("jobs")]
        return [(job.job_id, job.attempt) for job in found if job and job.claimed_at is None]

    def was_settled(self, job_id: UUID) -> bool:
        unwritten = {field[:16] for field in self.hash("unrecorded")}
        return job_id.bytes in unwritten or super().was_settled(job_id)

    def is_settled(self) -> bool:
        return not (self.live() or self.hash("unrecorded"))
