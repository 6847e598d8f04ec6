"""A push waits for its transaction, and brings everything it says along."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from django_jobqueue import models
from django_jobqueue.exceptions import EnqueueError
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.redis.outbox import Outbox
from tests.queues.hooks import FAR_AHEAD, HOUR, job, jobs
from tests.queues.outbox.hooks import OutboxHooks


class Committing(OutboxHooks):
    # -- commit and rollback -------------------------------------------------------------------------------------------

    def test_p1_a_push_waits_for_the_commit(self, store, outbox):
        given = jobs(3)
        with self.atomic():
            assert outbox.takes_over()
            assert outbox.put(given) == [one.id for one in given]
            assert not store.calls
        assert list(store.live.values()) == given
        assert not self.rows().exists()
        assert not self.rows(models.Job).exists()

    def test_p1_rolled_back_is_never_delivered(self, store, outbox):
        with self.atomic():
            outbox.put([job()])
            transaction.set_rollback(True, using=self.database)
        with contextlib.suppress(ZeroDivisionError), self.atomic():
            outbox.put([job()])
            raise ZeroDivisionError
        assert outbox.relay(10) == 0
        assert not store.calls
        assert not self.rows(models.Job).exists()

    def test_p1_a_savepoint_that_is_rolled_back_counts_as_rolled_back(self, store, outbox):
        before, inside, after, late = jobs(4)
        with self.atomic():
            outbox.put([before])
            with contextlib.suppress(ZeroDivisionError), self.atomic():
                outbox.put([inside])
                raise ZeroDivisionError
            outbox.put([after])
            with self.atomic():
                outbox.put([late])
        assert list(store.live) == [before.id, after.id, late.id]

    def test_p1_a_push_only_in_a_savepoint_that_is_rolled_back_leaves_later_ones_alone(self, store, outbox):
        kept = job()
        with self.atomic():
            with contextlib.suppress(ZeroDivisionError), self.atomic():
                outbox.put([job()])
                raise ZeroDivisionError
            with self.atomic():
                outbox.put([kept])
            with contextlib.suppress(ZeroDivisionError), self.atomic():
                outbox.put([job()])
                raise ZeroDivisionError
        assert list(store.live) == [kept.id]

    def test_p6_one_delivery_per_transaction_in_the_order_of_the_pushes(self, store, outbox):
        given = [uuid7() for _ in range(20)]
        given.sort(key=lambda one: one.int % 1_000)  # not the order of their ids
        with self.atomic():
            for job_id in given:
                with self.atomic():
                    outbox.put([job(id=job_id)])
        assert store.calls == [given]

    def test_what_was_rolled_back_is_not_asked_for_again(self, store, outbox, monkeypatch):
        asked, take = [], outbox._table.take
        monkeypatch.setattr(outbox._table, "take", lambda ids: (asked.append(list(ids)), take(ids))[1])
        for _ in range(3):
            with self.atomic():
                outbox.put(jobs(2))
                transaction.set_rollback(True, using=self.database)
        kept = job()
        with self.atomic():
            outbox.put([kept])
        assert asked == [[kept.id]]

    def test_the_next_transaction_has_a_delivery_of_its_own(self, store, outbox):
        for _ in range(3):
            with self.atomic():
                outbox.put(jobs(2))
        assert [len(call) for call in store.calls] == [2, 2, 2]

    def test_a_test_that_runs_the_commit_hooks_itself_sees_each_delivery(
        self, store, outbox, django_capture_on_commit_callbacks
    ):
        with self.atomic():
            for _ in range(2):
                with django_capture_on_commit_callbacks(using=self.database, execute=True):
                    outbox.put([job()])
            assert [len(call) for call in store.calls] == [1, 1]

    def test_outside_a_transaction_it_has_nothing_to_do(self, outbox):
        assert not outbox.takes_over()

    def test_p1_without_autocommit_the_relay_delivers(self, store, outbox):
        connection = connections[self.database]
        connection.ensure_connection()
        connection.set_autocommit(False)
        try:
            assert outbox.takes_over()
            outbox.put([job()])
            connection.rollback()
            kept = job()
            outbox.put([kept])
            connection.commit()
        finally:
            connection.set_autocommit(True)
        assert not store.calls
        assert outbox.relay(10) == 1
        assert list(store.live) == [kept.id]

    # -- what is asked for is kept -------------------------------------------------------------------------------------

    def test_everything_a_payload_says_arrives(self, store, outbox):
        given = job(
            queue="mail",
            priority=-7,
            max_attempts=9,
            timeout=2.5,
            unique_key="a",
            concurrency_key="c",
            run_after=FAR_AHEAD,
        )
        with self.atomic():
            outbox.put([given])
        assert list(store.live.values()) == [given]

    def test_a_delay_counts_from_the_push_on_the_clock_of_the_database(self, store, outbox):
        given = job(delay=HOUR)
        now = timezone.now()
        with self.atomic():
            outbox.put([given])
        (got,) = store.live.values()
        assert got.delay is None
        assert abs(got.run_after - now - timedelta(hours=1)) < timedelta(seconds=10)

    def test_a_thousand_jobs_are_a_few_statements(self, outbox):
        seen = []
        wrap = connections[self.database].execute_wrapper
        with self.atomic():
            with wrap(lambda execute, sql, *rest: (seen.append(sql), execute(sql, *rest))[1]):
                outbox.put(jobs(1_000))
            transaction.set_rollback(True, using=self.database)
        assert len(seen) <= 20

    # -- the option ----------------------------------------------------------------------------------------------------

    def test_immediate_waits_for_nobody(self, store):
        with self.atomic():
            assert not Outbox(store, "immediate").takes_over()

    def test_on_commit_writes_nothing_down_and_delivers_after_the_commit(self, store):
        outbox, given = Outbox(store, "on_commit"), jobs(2)
        with self.atomic():
            assert outbox.takes_over()
            assert outbox.put(given) == [one.id for one in given]
            assert not self.rows().exists()
            assert not store.calls
            with contextlib.suppress(ZeroDivisionError), self.atomic():
                outbox.put([job()])
                raise ZeroDivisionError
        assert list(store.live.values()) == given

    def test_on_commit_tells_when_the_job_was_lost(self, store):
        store.go_away()
        with pytest.raises(EnqueueError), self.atomic():
            Outbox(store, "on_commit").put([job()])

    @pytest.mark.parametrize("option", ["on_commit", "immediate"])
    def test_a_dead_letter_that_is_brought_back_always_goes_through_the_tables(self, store, option):
        outbox = Outbox(store, option)
        with outbox.always(), self.atomic():
            assert outbox.takes_over()
            outbox.put([job(lease_no=1)])
            assert self.rows().count() == 1
        assert len(store.live) == 1
        with self.atomic():
            assert outbox.takes_over() == (option == "on_commit")
