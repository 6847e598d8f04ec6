from __future__ import annotations

import pytest
from django.db import connections

from django_jobqueue import models
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.orm import OrmQueue, inspecting
from tests.monitoring.faults import FsckContract, codes, found, left_alone, look, repaired
from tests.queues.hooks import HOUR, LONG_AGO, claim, job, jobs, joined, push_and_claim, settle


class TablesContract(FsckContract):
    database: str

    @pytest.fixture
    def queue(self):
        queue = OrmQueue(self.database, database=self.database)
        yield queue
        queue.close()

    def rows(self, model):
        return model._default_manager.using(self.database)

    def expire(self, queue, reservation):
        holder = self.rows(models.JobLock).get(pk=reservation.job_id).worker_id
        self.rows(models.WorkerProcess).filter(pk=holder).update(expires_at=LONG_AGO, heartbeat_at=LONG_AGO)

    def make_due(self, queue, job_id):
        assert self.rows(models.DelayedJob).filter(pk=job_id).update(due_at=LONG_AGO) == 1

    def keep_busy(self, queue, worker):
        self.rows(models.WorkerProcess).exclude(pk=worker).update(state="stopped")
        self.rows(models.WorkerProcess).filter(pk=worker).update(running="a long one")

    # -- rooms -------------------------------------------------------------------------------------------------------

    def test_p2_a_job_in_no_room_goes_to_its_line(self, queue):
        queue.push(lost := job(priority=50, queue="mails", max_attempts=3), other := job(max_attempts=1))
        self.rows(models.JobPriority).all().delete()
        self.record(queue, lost.id, 4, "retrying")
        self.record(queue, other.id, 2, "snoozed")
        found(queue, "no_room", lost.id, other.id, also=("not_balanced",))
        repaired(queue, "no_room")
        snapshot = queue.find(lost.id)
        assert (snapshot.queue, snapshot.priority, snapshot.attempt, snapshot.lease_no) == ("mails", 50, 1, 4)
        mine = claim(queue)[0]
        assert (mine.job_id, mine.lease_no, mine.attempt) == (other.id, 3, 1)

    def test_a_job_that_has_found_its_room_is_not_lined_up_twice(self, queue):
        running = push_and_claim(queue).job_id
        queue.push(ready := job(), delayed := job(delay=HOUR))
        before = list(self.rows(models.JobPriority).values())
        suspects = [inspecting.Suspect(inspecting.Fault.NO_ROOM, str(i)) for i in (ready.id, delayed.id, running)]
        queue.inspector(60).repair(inspecting.Fault.NO_ROOM, suspects)
        assert list(self.rows(models.JobPriority).values()) == before

    def test_p2_a_job_in_two_rooms_stays_where_it_runs(self, queue):
        mine = push_and_claim(queue)
        self.plant_place(mine.job_id, lease_no=1)
        self.plant_delay(mine.job_id, lease_no=1)
        found(queue, "two_rooms", mine.job_id, also=("not_balanced",))
        repaired(queue, "two_rooms")
        assert settle(queue, mine)

    def test_p2_a_job_that_waits_twice_stays_in_its_line(self, queue):
        queue.push(one := job())
        self.plant_delay(one.id)
        found(queue, "two_rooms", one.id, also=("not_balanced",))
        repaired(queue, "two_rooms")
        assert claim(queue)[0].job_id == one.id

    def test_entries_without_a_job_are_deleted(self, queue):
        ids = [self.plant_place().pk, self.plant_delay().pk, self.plant_lease().pk]
        lock = self.plant_lease(name="shop:import")
        found(queue, "no_job", *ids, also=("not_balanced",))
        repaired(queue, "no_job")
        assert list(self.rows(models.JobLock)) == [lock]

    def test_p6_a_job_in_another_queues_line(self, queue):
        queue.push(ready := job(queue="mine"), later := job(delay=HOUR))
        self.rows(models.JobPriority).update(queue="other")
        self.rows(models.DelayedJob).update(queue="other")
        running = push_and_claim(queue)
        self.rows(models.JobLock).update(queue="other")
        found(queue, "wrong_queue", ready.id, later.id, running.job_id)
        repaired(queue, "wrong_queue")
        assert claim(queue, queues=["mine"])[0].job_id == ready.id

    def test_p10_a_lease_of_an_unknown_worker(self, queue):
        queue.push(one := job())
        self.rows(models.JobPriority).all().delete()
        self.plant_lease(one.id, worker_id=uuid7())
        found(queue, "dead_holder", one.id)
        repaired(queue, "dead_holder")
        assert claim(queue)[0].job_id == one.id

    def test_p10_a_fresh_lease_of_a_worker_whose_row_is_gone_is_given_time(self, queue):
        mine = push_and_claim(queue)
        self.rows(models.WorkerProcess).all().delete()
        assert codes(look(queue)) == []
        self.rows(models.JobLock).update(claimed_at=LONG_AGO)
        found(queue, "dead_holder", mine.job_id)

    def test_p10_a_worker_that_is_declared_dead_has_a_moment_too(self, queue):
        mine = push_and_claim(queue)
        self.rows(models.WorkerProcess).update(state="dead")
        assert codes(look(queue)) == []
        self.rows(models.WorkerProcess).update(heartbeat_at=LONG_AGO)
        found(queue, "dead_holder", mine.job_id)

    def test_p7_a_quiet_worker_is_not_idle(self, queue):
        queue.push(due := job(delay=HOUR))
        joined(queue)
        self.make_due(queue, due.id)
        self.rows(models.WorkerProcess).update(desired_state="quiet")
        assert codes(look(queue)) == []

    # -- the outbox --------------------------------------------------------------------------------------------------

    def test_p1_a_job_on_its_way_to_a_store_that_is_gone(self, queue):
        queue.push(one := job(delay=HOUR))
        outgoing = self.rows(models.DelayedJob).filter(pk=one.id)
        outgoing.update(reason="outbox", due_at=None, waiting_on="default")
        assert codes(look(queue)) == []
        outgoing.update(waiting_on="long gone")
        found(queue, "outbox_lost", one.id)
        left_alone(queue, "outbox_lost")

    def test_p1_a_repair_leaves_a_job_on_its_way_where_it_is(self, queue):
        queue.push(one := job(delay=HOUR))
        self.rows(models.DelayedJob).update(reason="outbox", due_at=None, waiting_on="default")
        self.plant_place(one.id)
        assert look(queue, repair=True).finding("two_rooms").repaired == 0
        assert self.rows(models.DelayedJob).filter(pk=one.id, reason="outbox").exists()

    def test_the_past_of_a_job_on_its_way_is_the_other_stores_business(self, queue):
        queue.push(one := job(delay=HOUR))
        self.rows(models.DelayedJob).update(reason="outbox", due_at=None, waiting_on="default")
        self.record(queue, one.id, 1, "completed")
        assert codes(look(queue)) == []

    # -- the whole ---------------------------------------------------------------------------------------------------

    def test_p3_a_missing_unique_index(self, queue, monkeypatch):
        introspection = type(connections[self.database].introspection)
        real = introspection.get_constraints

        def without(self, cursor, table):
            return {n: c for n, c in real(self, cursor, table).items() if c["columns"] != ["job_id", "lease_no"]}

        monkeypatch.setattr(introspection, "get_constraints", without)
        found(queue, "no_constraint", "jobqueue_job_history (job_id, lease_no)")
        left_alone(queue, "no_constraint")

    def test_more_jobs_than_a_slice_holds(self, queue, monkeypatch):
        monkeypatch.setattr(inspecting, "PIECE", 7)
        line = jobs(50)
        queue.push(*line)
        self.rows(models.JobPriority).filter(pk__in=[line[0].id, line[7].id, line[49].id]).delete()
        self.plant_place()
        report = look(queue)
        assert codes(report) == ["no_room", "no_job", "not_balanced"]
        assert report.looked_at == {"constraints": 2, "jobs": 50, "job_priorities": 48}
        assert report.finding("no_room").count == 3
        assert report.finding("not_balanced").examples == ["50 jobs, 48 ready, 0 delayed, 0 running"]

    def test_a_slice_of_jobs_is_one_statement(self, queue):
        """Or a job that moves between two statements would seem to be nowhere."""
        queue.push(*jobs(20))
        seen = []
        wrap = connections[self.database].execute_wrapper
        with wrap(lambda execute, sql, *rest: (seen.append(sql), execute(sql, *rest))[1]):
            look(queue)
        rooms = ("job_priorities", "delayed_jobs", "job_locks", "LEFT JOIN")
        assert len([sql for sql in seen if all(room in sql for room in rooms)]) == 1

    # -- garbage -----------------------------------------------------------------------------------------------------

    def plant(self, model, **values):
        return self.rows(model).create(**values)

    def plant_place(self, job_id=None, **values):
        defaults = {"job_id": job_id or uuid7(), "queue": "default", "priority": 0, "seq": 5}
        return self.plant(models.JobPriority, **{**defaults, **values})

    def plant_delay(self, job_id=None, **values):
        defaults = {"job_id": job_id or uuid7(), "queue": "default", "priority": 0, "due_at": None, "reason": "retry"}
        return self.plant(models.DelayedJob, **{**defaults, **values})

    def plant_lease(self, job_id=None, **values):
        defaults = {"id": job_id or uuid7(), "queue": "default", "lease_no": 1, "attempt": 1, "claimed_at": LONG_AGO}
        return self.plant(models.JobLock, **{**defaults, **values})


@pytest.mark.django_db(transaction=True, databases=["default"])
class TestSQLite(TablesContract):
    database = "default"


@pytest.mark.django_db(transaction=True, databases=["postgres"])
class TestPostgreSQL(TablesContract):
    database = "postgres"


@pytest.mark.django_db(transaction=True, databases=["mariadb"])
class TestMariaDB(TablesContract):
    database = "mariadb"
