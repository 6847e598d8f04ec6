"""Known ids and unique keys, one job on its way, and the store of the database itself."""

from __future__ import annotations

import threading
import time

import pytest

from django_jobqueue import models
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.queues.base import Room
from django_jobqueue.queues.orm import OrmQueue
from django_jobqueue.queues.redis.outbox import Outbox
from tests.queues.hooks import FAR_AHEAD, HOUR, LONG_AGO, claim, job, jobs, together
from tests.queues.outbox.hooks import ALIAS, Crash, OutboxHooks


class Arriving(OutboxHooks):
    # -- known ids and unique keys -------------------------------------------------------------------------------------

    def test_a_repeat_in_the_transaction_changes_nothing(self, store, outbox):
        given = job()
        with self.atomic():
            assert outbox.put([given, given]) == [given.id, given.id]
            assert outbox.put([given]) == [given.id]
        assert list(store.live) == [given.id]

    def test_a_unique_key_that_waits_in_the_outbox_is_held(self, store, outbox):
        first, second, other = job(unique_key="k"), job(unique_key="k"), job(unique_key="k2")
        with self.atomic():
            assert outbox.put([first, second, other]) == [first.id, first.id, other.id]
            assert outbox.put([job(unique_key="k")]) == [first.id]
        assert list(store.live) == [first.id, other.id]

    def test_a_unique_key_is_no_key_of_the_database_store(self, store, outbox):
        mine = OrmQueue(self.database, database=self.database)
        theirs = job(unique_key="k")
        with self.atomic():
            outbox.put([theirs])
            for key in ("k", "fast:k"):
                given = job(unique_key=key)
                assert mine.push(given) == [given.id]
        assert list(store.live) == [theirs.id]

    def test_a_plain_job_whose_key_is_taken_by_then_is_not_stored(self, store, outbox):
        holder, given = job(unique_key="k"), job(unique_key="k")
        store.deliver([holder])
        with self.atomic():
            assert outbox.put([given]) == [given.id]
        assert list(store.live) == [holder.id]
        assert not self.rows(models.Job).exists()
        assert self.history(given.id) == []
        assert not self.rows(models.DeadLetterJob).exists()

    def test_p9_a_revived_one_whose_key_is_taken_by_then_is_a_dead_letter_again(self, store, outbox):
        holder, given = job(unique_key="k"), job(unique_key="k", lease_no=4, times_retried=2, priority=5)
        store.deliver([holder])
        with self.atomic():
            outbox.put([given, job()])
        letter = self.rows(models.DeadLetterJob).get()
        assert (letter.pk, letter.reason, letter.store, letter.lease_no) == (given.id, "key_held", ALIAS, 4)
        assert (letter.unique_key, letter.times_retried, letter.priority) == ("k", 1, 5)
        assert str(holder.id) in letter.error_message
        assert len(store.live) == 2
        assert not self.rows(models.Job).exists()

    # -- one job -------------------------------------------------------------------------------------------------------

    def test_a_job_on_its_way_can_be_seen(self, store, outbox):
        given = job(queue="mail", priority=3, run_after=FAR_AHEAD, lease_no=2)
        self.leave_behind(store, outbox, given)
        seen = outbox.find(given.id)
        assert (seen.job_id, seen.room, seen.status) == (given.id, Room.DELAYED, JobStatus.PENDING)
        assert (seen.reason, seen.queue, seen.priority, seen.lease_no) == ("outbox", "mail", 3, 2)
        assert (seen.due_at, seen.args, seen.attempt) == (FAR_AHEAD, given.args, 0)
        assert outbox.find(uuid7()) is None
        store.alias = "slow"
        assert Outbox(store).find(given.id) is None

    def test_p8_a_job_that_is_cancelled_on_its_way_never_arrives(self, store, outbox):
        given = job()
        self.leave_behind(store, outbox, given)
        assert outbox.cancel(given.id)
        assert not outbox.cancel(given.id)
        assert outbox.relay(10) == 0
        assert not store.calls
        assert self.history(given.id) == [("cancelled", ALIAS)]
        assert not self.rows(models.Job).exists()
        with self.atomic():
            assert outbox.put([given]) == [given.id]
        assert not store.calls

    def test_p8_a_job_that_has_arrived_is_not_cancelled_because_only_its_row_is_left(self, store, outbox):
        given = job()
        store.crashes_after = True
        with pytest.raises(Crash), self.atomic():
            outbox.put([given])
        store.crashes_after = False
        assert not outbox.cancel(given.id)
        assert self.history(given.id) == []
        assert outbox.relay(10) == 1
        assert list(store.live) == [given.id]

    def test_p8_cancelling_in_the_transaction_of_the_push(self, store, outbox):
        given, other = jobs(2)
        with self.atomic():
            outbox.put([given, other])
            assert outbox.cancel(given.id)
        assert list(store.live) == [other.id]

    def test_p8_a_cancel_waits_for_the_delivery_and_then_says_no(self, store, outbox):
        given = job()
        self.leave_behind(store, outbox, given)
        original, delivering = store.deliver, threading.Event()

        def slowly(payloads):
            delivering.set()
            time.sleep(0.2)
            return original(payloads)

        store.deliver = slowly

        def cancel():
            delivering.wait(10)
            return Outbox(store).cancel(given.id)

        assert together(lambda: outbox.relay(10), cancel) == [1, False]
        assert list(store.live) == [given.id]
        assert self.history(given.id) == []

    # -- the store of the database itself ------------------------------------------------------------------------------

    def test_no_verb_of_the_database_store_touches_the_rows(self, store, outbox):
        mine = OrmQueue(self.database, database=self.database)
        given, own = job(priority=2, queue="default"), job()
        self.leave_behind(store, outbox, given, job(run_after=LONG_AGO))
        before = list(self.rows().order_by("pk").values())
        mine.push(own)
        assert mine.find(given.id) is None
        assert mine.peek().job_id == own.id
        assert mine.size() == mine.size("default") == 1
        assert [(row.ready, row.delayed) for row in mine.stats()] == [(1, 0)]
        assert not mine.cancel(given.id)
        assert not mine.reprioritize(given.id, 50)
        assert not mine.run_now(given.id)
        assert [one.job_id for one in claim(mine, 10)] == [own.id]
        mine.reclaim()
        assert mine.clear() == mine.clear("default") == 0
        assert mine.queue_names() == []
        assert list(self.rows().order_by("pk").values()) == before
        assert self.rows(models.Job).get(pk=given.id).priority == 2
        assert outbox.relay(10) == 2

    def test_a_delayed_job_of_the_database_store_is_cleared_beside_them(self, store, outbox):
        mine = OrmQueue(self.database, database=self.database)
        self.leave_behind(store, outbox, job())
        mine.push(job(delay=HOUR), job())
        assert mine.size() == 2
        assert mine.clear("default") == 2
        assert self.rows().count() == 1
