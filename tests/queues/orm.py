"""The contract on a database: its hooks, and what only a store made of tables can be asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import DatabaseError, connections, transaction

from django_jobqueue import models
from django_jobqueue.exceptions import EnqueueError
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.orm import OrmQueue
from django_jobqueue.queues.orm import queue as orm_queue
from django_jobqueue.queues.orm.dialect import Dialect
from tests.queues.contract import QueueContract
from tests.queues.hooks import (
    HOUR,
    LONG_AGO,
    NO_CALL,
    claim,
    claim_one,
    ids,
    job,
    jobs,
    joined,
    push_and_claim,
    settle,
    wait_for,
)

TABLES = [
    models.Job,
    models.JobPriority,
    models.DelayedJob,
    models.JobLock,
    models.WorkerProcess,
    models.JobHistory,
    models.DeadLetterJob,
]


def clean(alias: str) -> None:
    for model in TABLES:
        model._default_manager.using(alias).all().delete()


class OrmContract(QueueContract):
    database: str

    @pytest.fixture
    def queue(self):
        queue = OrmQueue(self.database, database=self.database)
        yield queue
        queue.close()

    def make_due(self, queue, job_id, due_at=LONG_AGO):
        assert models.DelayedJob.objects.using(queue.database).filter(pk=job_id).update(due_at=due_at) == 1

    def expire_worker(self, queue, worker):
        found = models.WorkerProcess.objects.using(queue.database).filter(pk=worker)
        assert found.update(expires_at=LONG_AGO) == 1

    # -- the caller's transaction ------------------------------------------------------------------------------------

    def test_p3_who_joins_and_claims_while_reclaim_reads_is_not_taken_for_nobody(self, queue, monkeypatch):
        """MariaDB locks the lease it finds, and asks an older snapshot who is alive."""
        worker = joined(queue)
        queue.push(job())
        held = claim_one(queue, worker)
        read = Dialect.leases
        monkeypatch.setattr(Dialect, "leases", lambda self, *_: read(self, "name = ''", ()))
        assert queue.reclaim() == 0
        monkeypatch.undo()
        assert settle(queue, held)

    @pytest.mark.parametrize("way", ["reclaim", "declare_dead"])
    def test_p5_a_claim_that_is_committed_after_its_worker_was_buried_is_charged_with_nothing(self, queue, way):
        """Its server did not know that the client was dead. But who must not run twice may have been started."""
        dead, usual, careful = joined(queue), job(), job(crash_budget=1)
        queue.declare_dead(dead)
        queue.push(usual, careful)
        models.JobPriority.objects.using(self.database).all().delete()
        for one in (usual, careful):
            self.plant_lease(one.id, worker_id=dead, lease_no=4)
        assert (queue.reclaim() if way == "reclaim" else queue.declare_dead(dead)) == 2
        assert [(one.job_id, one.lease_no, one.crashes) for one in claim(queue, 5)] == [(usual.id, 5, 0)]
        assert [self.outcomes(queue, one.id) for one in (usual, careful)] == [[], ["lost"]]

    def test_p1_commit_means_it_will_run_rollback_means_it_never_does(self, queue):
        kept, lost = job(), job()
        with transaction.atomic(using=self.database):
            queue.push(kept)
        with transaction.atomic(using=self.database):
            queue.push(lost)
            transaction.set_rollback(True, using=self.database)
        assert ids(claim(queue, 9)) == [kept.id]

    @pytest.mark.parametrize("verb", ["insert_jobs", "insert_alike"])
    def test_p1_a_push_is_all_or_none(self, queue, monkeypatch, verb):
        monkeypatch.setattr(orm_queue, "PUSH_CHUNK", 10)
        dialect = type(queue._dialect())
        insert, calls = getattr(dialect, verb), []

        def fail_at_the_third(self, *given):
            calls.append(len(given[-2]))  # payloads and whether they are fresh; a template, ids and their calls
            if len(calls) == 3:
                raise DatabaseError("the server is gone")
            return insert(self, *given)

        monkeypatch.setattr(dialect, verb, fail_at_the_third)
        with pytest.raises(EnqueueError, match="the server is gone"):
            queue.push(*jobs(30)) if verb == "insert_jobs" else queue.push_alike(job(), [NO_CALL] * 30)
        assert calls == [10, 10, 10]
        assert queue.size() == 0

    def test_p4_settling_in_the_callers_transaction_is_undone_with_it(self, queue):
        mine = push_and_claim(queue)
        with transaction.atomic(using=self.database):
            assert settle(queue, mine)
            transaction.set_rollback(True, using=self.database)
        assert settle(queue, mine)

    # -- garbage: rows that none of our statements wrote ---------------------------------------------------------------

    def plant(self, model, **values):
        return model._default_manager.using(self.database).create(**values)

    def plant_place(self, job_id=None, **values):
        defaults = {"job_id": job_id or uuid7(), "queue": "default", "priority": 100, "seq": -5}
        return self.plant(models.JobPriority, **{**defaults, **values})

    def plant_delay(self, job_id=None, **values):
        defaults = {"job_id": job_id or uuid7(), "queue": "default", "priority": 0, "due_at": LONG_AGO, "reason": "?"}
        return self.plant(models.DelayedJob, **{**defaults, **values})

    def plant_lease(self, job_id=None, **values):
        defaults = {"id": job_id or uuid7(), "queue": "default", "lease_no": 1, "attempt": 1, "claimed_at": LONG_AGO}
        return self.plant(models.JobLock, **{**defaults, **values})

    def claim_past_garbage(self, queue, worker):
        return wait_for(lambda: claim(queue, 1, worker))

    def test_p9_a_place_in_the_line_without_a_job_stops_nobody(self, queue):
        for _ in range(3):
            self.plant_place()
        payload = job()
        queue.push(payload)
        queue.peek()
        assert ids(self.claim_past_garbage(queue, joined(queue))) == [payload.id]
        assert queue.size() == 1

    def test_p9_a_delay_without_a_job_stops_nobody(self, queue):
        self.plant_delay()
        self.plant_delay(due_at=None)
        payload = job()
        queue.push(payload)
        assert ids(self.claim_past_garbage(queue, joined(queue))) == [payload.id]
        assert claim(queue, 10) == []
        assert queue.clear() == 1

    def test_p9_a_lease_without_a_job_or_a_worker_is_swept_away(self, queue):
        self.plant_lease()
        self.plant_lease(worker_id=uuid7())
        orphan = job()
        queue.push(orphan)
        models.JobPriority.objects.using(self.database).all().delete()
        self.plant_lease(orphan.id, worker_id=uuid7(), lease_no=4)
        queue.reclaim()
        assert queue.stats()[0].running == 0
        assert claim_one(queue).lease_no == 5

    def test_p9_a_job_in_two_rooms_is_run_and_wedges_nothing(self, queue):
        twice, leased = job(), job()
        queue.push(twice, leased, job())
        self.plant_delay(twice.id)
        self.plant_lease(leased.id, lease_no=7, worker_id=uuid7())
        worker = joined(queue)
        seen = set()
        for _ in range(6):
            queue.reclaim()
            line = claim(queue, 5, worker)
            seen |= set(ids(line))
            assert all(queue.settle([Settlement(one, Move.COMPLETED) for one in line]))
        assert len(seen) == 3
        assert queue.size() == 0

    @pytest.mark.parametrize("move", Move)
    def test_p9_a_running_job_that_is_also_elsewhere_can_be_settled(self, queue, move):
        mine = push_and_claim(queue)
        self.plant_place(mine.job_id)
        self.plant_delay(mine.job_id, due_at=None)
        self.plant(
            models.DeadLetterJob,
            **{"id": mine.job_id, "queue": "default", "task": "x", "args": "", "priority": 0, "max_attempts": 1},
            **{"attempt": 1, "lease_no": 1, "reason": "", "enqueued_at": LONG_AGO, "failed_at": LONG_AGO},
        )
        self.plant(
            models.JobHistory,
            **{"job_id": mine.job_id, "lease_no": 1, "attempt": 1, "queue": "", "task": "", "outcome": "?"},
            **{"enqueued_at": LONG_AGO, "finished_at": LONG_AGO},
        )
        assert settle(queue, mine, move, delay=0)
        payload = job(priority=100)
        queue.push(payload)
        worker = joined(queue)
        assert wait_for(lambda: payload.id in ids(claim(queue, 5, worker)))

    def test_p9_a_job_whose_row_is_gone_can_be_settled(self, queue):
        queue.push(*jobs(8))
        line = claim(queue, 8)
        models.Job.objects.using(self.database).all().delete()
        moves = [*Move, Move.COMPLETED, Move.COMPLETED]
        answers = queue.settle([Settlement(one, move, delay=HOUR) for one, move in zip(line, moves, strict=True)])
        assert len(answers) == 8
        assert claim(queue, 10) == []
        assert not queue.settle([Settlement(line[0], Move.COMPLETED)])[0]

    def test_p9_a_worker_row_of_nonsense_stops_nobody(self, queue):
        common = {"name": "", "host": "", "pid": -1, "started_at": LONG_AGO, "heartbeat_at": LONG_AGO}
        strange = self.plant(models.WorkerProcess, **common, id=uuid7(), state="zombie", expires_at=LONG_AGO)
        mine = push_and_claim(queue)
        queue.reclaim()
        assert claim(queue, 1, strange.id) == []
        assert settle(queue, mine)

    def test_p9_cancel_reprioritize_and_run_now_meet_garbage(self, queue):
        place, delay = self.plant_place(), self.plant_delay()
        taken = job()
        queue.push(taken)
        self.plant(
            models.JobHistory,
            **{"job_id": taken.id, "lease_no": 1, "attempt": 1, "queue": "", "task": "", "outcome": "?"},
            **{"enqueued_at": LONG_AGO, "finished_at": LONG_AGO},
        )
        assert queue.cancel(taken.id)
        queue.reprioritize(place.pk, 3)
        queue.run_now(delay.pk)
        queue.cancel(place.pk)
        queue.cancel(delay.pk)
        assert queue.find(place.pk) is None
        assert claim(queue, 10) == []
        assert queue.size() == 0

    def test_reclaim_leaves_the_workers_of_other_stores_alone(self, queue):
        """Redis says who is alive there; the rows are only for people."""
        common = {"name": "", "host": "", "pid": 1, "started_at": LONG_AGO, "heartbeat_at": LONG_AGO}
        other = self.plant(models.WorkerProcess, **common, id=uuid7(), expires_at=LONG_AGO, store="redis")
        queue.reclaim()
        other.refresh_from_db()
        assert other.state == models.WorkerProcess.State.RUNNING

    def test_a_lock_of_another_kind_is_no_lease(self, queue):
        """Named locks and slots live in the same table."""
        lock = self.plant_lease(name="shop:import", queue="", worker_id=uuid7())
        mine = push_and_claim(queue)
        assert queue.reclaim() == 0
        assert not settle(queue, mine._replace(job_id=UUID(str(lock.pk))))
        queue.leave(lock.worker_id)
        assert models.JobLock.objects.using(self.database).filter(name="shop:import").exists()
        assert [row.running for row in queue.stats()] == [1]

    # -- scars of databases --------------------------------------------------------------------------------------------

    def test_a_text_with_every_awkward_character_comes_back_as_it_went(self, queue):
        text = "%s %% \\ ' \" \t\r\n ü€😀 \u2028 \x7f"
        queue.push(job(args=text, task="t'%s", concurrency_key='"%'))
        mine = claim_one(queue)
        assert (mine.args, mine.task) == (text, "t'%s")
        assert settle(queue, mine, result=text)
        assert [(one.args, one.result) for one in self.history(queue, mine.job_id)] == [(text, text)]

    def test_a_unique_key_that_only_the_collation_takes_for_another_is_answered(self, queue):
        """MariaDB pads: to it "a" and "a " are one key, and with its default collation so are "a" and "A"."""
        first, second = job(unique_key="a"), job(unique_key="a ")
        queue.push(first)
        (answer,) = queue.push(second)
        assert answer in (first.id, second.id)
        assert queue.find(answer)

    def test_a_delay_of_a_hundred_years_is_kept(self, queue):
        payload = job(delay=100 * 365 * 86_400.0)
        queue.push(payload)
        assert queue.find(payload.id).due_at > datetime.now(UTC) + timedelta(days=36_000)

    def test_a_move_that_meets_a_deadlock_is_tried_again(self, queue, monkeypatch):
        dialect = type(queue._dialect())
        monkeypatch.setattr(dialect, "is_deadlock", lambda self, error: "chosen" in str(error))
        mine, failures = push_and_claim(queue), []
        original = dialect.take_leases

        def fail_twice(self, settlements):
            if len(failures) < 2:
                failures.append(1)
                raise orm_queue.OperationalError("you were chosen as the victim")
            return original(self, settlements)

        monkeypatch.setattr(dialect, "take_leases", fail_twice)
        assert settle(queue, mine, Move.RETRY, delay=HOUR)
        assert len(failures) == 2
        assert self.outcomes(queue, mine.job_id) == ["retrying"]

    def test_an_idle_reserve_writes_nothing(self, queue):
        worker = joined(queue)
        queue.push(job(delay=HOUR), job(queue="other"))
        seen = []
        wrap = connections[self.database].execute_wrapper
        with wrap(lambda execute, sql, *rest: (seen.append(sql), execute(sql, *rest))[1]):
            claim(queue, 10, worker)
        verbs = {sql.split()[0] for sql in seen}
        assert not verbs & {"INSERT", "UPDATE", "DELETE"}
