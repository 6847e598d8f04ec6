"""Crashes, outages, many relays, garbage."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connections

from django_jobqueue import models
from django_jobqueue.exceptions import EnqueueError, QueueFull, StoreError
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.orm import outgoing
from django_jobqueue.queues.redis import outbox as module
from django_jobqueue.queues.redis.outbox import Outbox
from tests.queues.hooks import FAR_AHEAD, LONG_AGO, job, jobs, together, wait_for
from tests.queues.outbox.hooks import ALIAS, Crash, OutboxHooks


class Mishaps(OutboxHooks):
    # -- crashes and outages -------------------------------------------------------------------------------------------

    def test_p1_a_crash_between_commit_and_delivery_is_made_up_for(self, store, outbox, monkeypatch):
        given = jobs(2)
        monkeypatch.setattr(outbox, "deliver_committed", lambda ids: None)
        with self.atomic():
            outbox.put(given)
        assert Outbox(store).relay(10) == 2
        assert list(store.live.values()) == given
        assert not self.rows(models.Job).exists()

    def test_p1_a_crash_between_delivery_and_deletion_delivers_twice_and_runs_once(self, store, outbox):
        given = job()
        store.crashes_after = True
        with pytest.raises(Crash), self.atomic():
            outbox.put([given])
        store.crashes_after = False
        assert self.rows().count() == 1
        assert Outbox(store).relay(10) == 1
        assert store.calls == [[given.id], [given.id]]
        assert list(store.live) == [given.id]
        assert not self.rows(models.Job).exists()

    @pytest.mark.parametrize("ending", ["remembered", "history", "dead letter"])
    def test_p1_delivered_again_after_it_has_ended_it_does_not_run_again(self, store, outbox, ending):
        given = job()
        store.crashes_after = True
        with pytest.raises(Crash), self.atomic():
            outbox.put([given])
        store.crashes_after = False
        store.finish(given.id)
        if ending != "remembered":
            store.forget()
        common = {
            "queue": "default",
            "task": "t",
            "args": "",
            "priority": 0,
            "attempt": 1,
            "lease_no": 1,
            "store": ALIAS,
        }
        if ending == "history":
            self.rows(models.JobHistory).create(
                job_id=given.id, outcome="completed", enqueued_at=LONG_AGO, finished_at=LONG_AGO, **common
            )
        elif ending == "dead letter":
            self.rows(models.DeadLetterJob).create(
                id=given.id, max_attempts=1, enqueued_at=LONG_AGO, failed_at=LONG_AGO, reason="exhausted", **common
            )
        outbox.relay(10)
        assert not store.live
        assert not self.rows(models.Job).exists()

    @pytest.mark.parametrize("away", ["unavailable", "full"])
    def test_p1_a_store_that_is_away_at_the_commit_costs_nobody_an_error(
        self, store, outbox, away, monkeypatch, caplog
    ):
        monkeypatch.setattr(module, "OUTAGE_SECONDS", 0.05)
        given = jobs(3)
        store.go_away()
        if away == "full":
            store.raises = QueueFull("no memory")
        with self.atomic():
            assert outbox.put(given) == [one.id for one in given]
        assert [record.name for record in caplog.records] == ["django_jobqueue.queues"]
        assert "3 jobs for 'fast' wait for the relay" in caplog.text
        assert outbox.relay(10) == 0
        store.come_back()
        assert wait_for(lambda: outbox.relay(10), 10) == 3
        assert list(store.live.values()) == given

    def test_p1_a_store_that_is_away_is_not_asked_at_each_commit(self, store, outbox):
        store.go_away()
        for _ in range(5):
            with self.atomic():
                outbox.put([job()])
        assert len(store.calls) == 1
        outbox._retry_at = 0
        with self.atomic():
            outbox.put([job()])
        assert (len(store.calls), store.pings) == (1, 1)

    def test_p1_a_database_that_fails_after_the_commit_costs_nobody_an_error(self, store, outbox, monkeypatch):
        given = job()
        with monkeypatch.context() as patch:
            patch.setattr(outbox._table, "remove", lambda ids: connections[self.database].cursor().execute("nonsense"))
            with self.atomic():
                outbox.put([given])
        assert self.rows().count() == 1
        assert outbox.relay(10) == 1
        assert list(store.live) == [given.id]

    def test_what_the_database_refuses_is_an_enqueue_error_and_the_transaction_goes_on(
        self, store, outbox, monkeypatch
    ):
        kept = job()
        with self.atomic():
            outbox.put([kept])
            with monkeypatch.context() as patch:
                patch.setattr(outgoing, "_INSERT_DELAYED", "INSERT nonsense %s" + " %s" * 9)
                with pytest.raises(EnqueueError, match="did not store the job"):
                    outbox.put([job()])
            assert self.rows(models.Job).count() == 1
        assert list(store.live) == [kept.id]

    def test_a_young_row_is_left_to_its_own_transaction(self, store, outbox, monkeypatch):
        self.leave_behind(store, outbox, job())
        monkeypatch.setattr(module, "RELAY_AFTER_SECONDS", 60.0)
        assert outbox.relay(10) == 0
        assert self.rows().count() == 1

    # -- many relays ---------------------------------------------------------------------------------------------------

    def test_two_relays_at_once_deliver_each_job_once(self, store, outbox):
        given = jobs(200)
        self.leave_behind(store, outbox, *given)
        original = store.deliver

        def slowly(payloads):
            time.sleep(0.05)
            return original(payloads)

        store.deliver = slowly
        together(*(lambda: Outbox(store).relay(200) for _ in range(4)))
        assert [one for call in store.calls for one in call] == [one.id for one in given]
        assert not self.rows(models.Job).exists()

    def test_p6_a_relay_takes_no_more_than_it_is_told_and_the_oldest_first(self, store, outbox):
        given = [job(id=UUID(int=9 - number)) for number in range(9)]
        self.leave_behind(store, outbox, *given)
        assert outbox.relay(4) == 4
        assert list(store.live.values()) == given[:4]
        assert outbox.relay(9) == 5

    def test_an_idle_relay_does_not_read_the_delayed_jobs_of_the_database(self, store, outbox):
        common = {"queue": "x", "priority": 0, "reason": "scheduled"}
        scheduled = [
            models.DelayedJob(job_id=UUID(int=number), due_at=FAR_AHEAD + timedelta(seconds=number), **common)
            for number in range(5_000)
        ]
        self.rows().bulk_create(scheduled)
        connection, seen = connections[self.database], []
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE TABLE jobqueue_delayed_jobs" if self.database == "mariadb" else "ANALYZE")
        with connection.execute_wrapper(
            lambda go, sql, params, *rest: (seen.append((sql, params)), go(sql, params, *rest))[1]
        ):
            assert outbox.relay(10) == 0
        [(sql, params)] = [one for one in seen if "waiting_on" in one[0]]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {'QUERY PLAN ' if self.database == 'default' else ''}{sql}", params)
            assert "jobqueue_delayed_due" in str(cursor.fetchall())

    def test_the_jobs_of_another_alias_are_left_alone(self, store, outbox):
        self.leave_behind(store, outbox, job())
        store.alias = "slow"
        assert Outbox(store).relay(10) == 0
        assert self.rows().count() == 1

    # -- garbage -------------------------------------------------------------------------------------------------------

    def test_p9_a_job_that_is_refused_does_not_hold_up_the_others(self, store, outbox):
        given = jobs(5)
        store.refuses[given[1].id] = EnqueueError("not this one")
        store.refuses[given[1].id].__cause__ = StoreError("too large")
        with self.atomic():
            outbox.put(given)
        assert [*store.live] == [one.id for one in given if one is not given[1]]
        assert [row.pk for row in self.rows()] == [given[1].id]

    def test_a_store_that_refuses_everything_keeps_everything_in_the_outbox(self, store, outbox):
        store.raises = EnqueueError("WRONGTYPE")
        store.raises.__cause__ = StoreError("WRONGTYPE")
        with self.atomic():
            outbox.put(jobs(100))
        assert self.rows().count() == 100
        assert len(store.calls) < 10

    def test_p9_what_cannot_be_written_for_redis_is_a_dead_letter(self, store, outbox):
        given = jobs(3)
        store.refuses[given[0].id] = OverflowError("too big a number")
        with self.atomic():
            outbox.put(given)
        letter = self.rows(models.DeadLetterJob).get()
        assert (letter.pk, letter.reason, letter.store) == (given[0].id, "payload_invalid", ALIAS)
        assert "too big a number" in letter.error_message
        assert len(store.live) == 2
        assert not self.rows().exists()

    def test_p9_a_row_of_nonsense_stops_nobody(self, store, outbox):
        given = jobs(3)
        self.leave_behind(store, outbox, *given)
        self.rows(models.Job).filter(pk=given[0].id).update(queue="no queue")
        self.rows(models.Job).filter(pk=given[1].id).delete()
        self.rows().create(job_id=uuid7(), queue="x", priority=0, reason="outbox", waiting_on=ALIAS)
        assert outbox.relay(10) == 4
        assert list(store.live) == [given[2].id]
        assert self.rows(models.DeadLetterJob).get().reason == "payload_invalid"
        assert not self.rows().exists()
