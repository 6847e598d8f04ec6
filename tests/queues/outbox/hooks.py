"""What is asked of the outbox, on every database. The other store is played by a list that can be taken away."""

from __future__ import annotations

import contextlib
import threading
from uuid import UUID

import pytest
from django.db import transaction

from django_jobqueue import models
from django_jobqueue.exceptions import EnqueueError, StoreUnavailable
from django_jobqueue.queues.redis import outbox as module
from django_jobqueue.queues.redis.outbox import Outbox

ALIAS = "fast"


class Crash(BaseException):
    """The process ends here."""


class FakeStore:
    """Takes jobs as Redis does: by id once, by unique key once, all or none."""

    def __init__(self, database: str) -> None:
        self.alias, self.database = ALIAS, database
        self.connection = self.client = self
        self.live: dict[UUID, object] = {}
        self.calls: list[list[UUID]] = []
        self.over: set[UUID] = set()
        self.raises: BaseException | None = None
        self.refuses: dict[UUID, BaseException] = {}
        self.crashes_after = False
        self.pings = 0
        self._lock = threading.Lock()

    def deliver(self, payloads):
        with self._lock:
            self.calls.append([one.id for one in payloads])
            if self.raises:
                raise self.raises
            for one in payloads:
                if one.id in self.refuses:
                    raise self.refuses[one.id]
            answers = [self._take(one) for one in payloads]
        if self.crashes_after:
            raise Crash
        return answers

    def _take(self, payload):
        if payload.id not in self.live and payload.id not in self.over:
            for holder in self.live.values():
                if payload.unique_key and holder.unique_key == payload.unique_key:
                    return holder.id
            self.live[payload.id] = payload
        return payload.id

    def knows(self, job_id, lease_no=0):
        if self.raises:
            raise StoreUnavailable("connection refused")
        return job_id in self.live or job_id in self.over

    def finish(self, job_id):
        self.live.pop(job_id)
        self.over.add(job_id)

    def forget(self):
        self.over.clear()

    def go_away(self):
        self.raises = EnqueueError("not stored")
        self.raises.__cause__ = StoreUnavailable("connection refused")

    def come_back(self):
        self.raises = None

    @contextlib.contextmanager
    def errors(self):
        yield

    def ping(self):
        self.pings += 1
        if self.raises:
            raise StoreUnavailable("connection refused")


class OutboxHooks:
    database: str

    @pytest.fixture(autouse=True)
    def no_patience(self, monkeypatch):
        monkeypatch.setattr(module, "RELAY_AFTER_SECONDS", 0)

    @pytest.fixture
    def store(self):
        return FakeStore(self.database)

    @pytest.fixture
    def outbox(self, store):
        return Outbox(store)

    def atomic(self, **options):
        return transaction.atomic(using=self.database, **options)

    def rows(self, model=models.DelayedJob):
        return model._default_manager.using(self.database)

    def history(self, job_id):
        found = self.rows(models.JobHistory).filter(job_id=job_id)
        return [(one.outcome, one.store) for one in found.order_by("lease_no")]

    def leave_behind(self, store, outbox, *payloads):
        """Committed, and Redis was away."""
        store.go_away()
        with self.atomic():
            outbox.put(payloads)
        assert self.rows().count() == len(payloads)
        store.come_back()
        outbox._is_down = False
        store.calls.clear()
