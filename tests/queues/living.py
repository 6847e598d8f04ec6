"""The contract of workers: joining, heartbeats, leaving, dying, and waiting for work."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connections

from django_jobqueue.conf import conf
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import Move, Room, WorkerReport
from tests.queues.hooks import HOUR, Hooks, claim, claim_one, ids, job, jobs, joined, push_and_claim, settle


class Living(Hooks):
    def crash(self, queue, worker):
        """The worker falls silent for too long, and that is noticed."""
        self.expire_worker(queue, worker)
        return queue.reclaim()

    def test_p10_a_heartbeat_keeps_a_worker_and_its_leases(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        self.expire_worker(queue, worker)
        assert queue.heartbeat(worker, WorkerReport(running="x", completed=3, failed=1, rss_kb=5))
        assert queue.reclaim() == 0
        assert settle(queue, mine)

    def test_p2_nothing_is_reclaimed_from_the_living(self, queue):
        mine = push_and_claim(queue)
        assert queue.reclaim() == 0
        assert queue.find(mine.job_id).room is Room.LEASED

    @pytest.mark.parametrize("how", ["stopping", "quiet"])
    def test_p2_a_worker_that_stops_or_is_quiet_is_alive_until_it_left(self, queue, how):
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        assert queue.heartbeat(worker, WorkerReport(**{how: True}))
        assert queue.reclaim() == 0
        assert settle(queue, mine)

    def test_p2_a_heartbeat_of_the_unknown_the_gone_and_the_dead_is_false(self, queue):
        left, dead = joined(queue), joined(queue)
        queue.leave(left)
        self.crash(queue, dead)
        assert [queue.heartbeat(one) for one in (uuid7(), left, dead)] == [False] * 3

    def test_p5_a_lost_execution_gives_its_attempt_and_place_back_and_counts_a_crash(self, queue):
        worker = joined(queue)
        payloads = jobs(3)
        queue.push(*payloads)
        lost = claim_one(queue, worker)
        assert self.crash(queue, worker) == 1
        assert queue.reclaim() == 0
        found = queue.find(lost.job_id)
        assert (found.room, found.attempt, found.lease_no) == (Room.READY, 0, 1)
        (record,) = self.history(queue, lost.job_id)
        assert (record.outcome, record.attempt, record.lease_no, record.worker_id) == ("lost", 1, 1, worker)
        assert record.error_class
        line = claim(queue, 3)
        assert ids(line) == [one.id for one in payloads]
        assert (line[0].attempt, line[0].lease_no, line[0].crashes) == (1, 2, 1)

    def test_p3_a_worker_taken_for_dead_can_settle_nothing_any_more(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        self.crash(queue, worker)
        assert not settle(queue, mine)
        current = claim_one(queue)
        assert not settle(queue, mine, Move.DEAD)
        assert settle(queue, current)
        assert self.outcomes(queue, mine.job_id) == ["lost", "completed"]

    def test_p5_a_job_that_brings_its_workers_down_dies_as_worker_lost(self, queue):
        payload = job(max_attempts=1, args='{"args":[1]}')
        queue.push(payload)
        budget = conf().CRASH_BUDGET
        for crashes in range(budget):
            assert self.dead_letter(queue, payload.id) is None
            worker = joined(queue)
            mine = claim_one(queue, worker)
            assert (mine.attempt, mine.crashes) == (1, crashes)
            assert self.crash(queue, worker) == 1
        dead = self.dead_letter(queue, payload.id)
        assert (dead.reason, dead.crashes, dead.lease_no, dead.args) == ("worker_lost", budget, budget, payload.args)
        assert queue.find(payload.id) is None
        assert self.outcomes(queue, payload.id) == ["lost"] * budget

    def test_p5_crashes_add_up_over_retries_snoozes_and_releases(self, queue):
        worker = joined(queue)
        push_and_claim(queue, worker, max_attempts=20)
        self.crash(queue, worker)
        worker = joined(queue)
        for move in (Move.RETRY, Move.SNOOZE, Move.RELEASED):
            mine = claim_one(queue, worker)
            assert mine.crashes == 1
            settle(queue, mine, move, delay=0)
        claim_one(queue, worker)
        self.crash(queue, worker)
        assert claim_one(queue).crashes == 2

    def test_p10_all_leases_of_a_dead_worker_are_reclaimed_the_others_stay(self, queue):
        alive, dead = joined(queue), joined(queue)
        queue.push(*jobs(700))
        kept, lost = claim(queue, 20, alive), claim(queue, 680, dead)
        self.expire_worker(queue, dead)
        assert queue.reclaim() + queue.reclaim() == len(lost) == 680
        (row,) = queue.stats()
        assert (row.ready, row.running) == (680, 20)
        assert all(queue.find(one.job_id).worker_id == alive for one in kept)

    def test_p5_leave_gives_unfinished_jobs_back_without_a_crash(self, queue):
        worker, other = joined(queue), joined(queue)
        payloads = jobs(4)
        queue.push(*payloads)
        mine, theirs = claim(queue, 2, worker), claim_one(queue, other)
        queue.leave(worker)
        queue.leave(worker)
        assert not settle(queue, mine[0])
        line = claim(queue, 9)
        assert ids(line) == [payloads[0].id, payloads[1].id, payloads[3].id]
        assert [(one.attempt, one.lease_no, one.crashes) for one in line] == [(1, 2, 0), (1, 2, 0), (1, 1, 0)]
        assert self.history(queue, payloads[0].id) == []
        assert settle(queue, theirs)

    def test_leave_of_an_unknown_worker_is_nothing(self, queue):
        queue.leave(uuid7())
        assert queue.size() == 0

    def test_p2_leases_of_a_worker_that_left_are_never_reclaimed_twice(self, queue):
        worker = joined(queue)
        push_and_claim(queue, worker)
        queue.leave(worker)
        assert queue.reclaim() == 0

    def test_wait_ends_at_its_timeout(self, queue):
        queue.push(job(delay=HOUR))
        queue.wait(["default"], 0.01)
        started = time.monotonic()
        queue.wait(["default"], 0.05)
        assert time.monotonic() - started < 5
        queue.close()

    @pytest.mark.parametrize("queues", [["default"], []], ids=["named", "all"])
    def test_p10_wait_is_ended_by_a_push(self, queue, queues):
        queue.wait(queues, 0.01)  # waiting has begun: a store may set up its channel
        pusher = threading.Thread(target=self.push_soon, args=(queue,))
        started = time.monotonic()
        pusher.start()
        while time.monotonic() - started < 20 and not queue.peek():
            queue.wait(queues, 20)
        waited = time.monotonic() - started
        pusher.join()
        queue.close()
        assert waited < 10

    def push_soon(self, queue):
        try:
            time.sleep(0.05)
            queue.push(job())
        finally:
            connections.close_all()

    def test_wait_sees_a_job_become_due(self, queue):
        queue.wait(["default"], 0.01)
        queue.push(job(delay=0.1))
        worker, started = joined(queue), time.monotonic()
        while not claim(queue, 1, worker):
            assert time.monotonic() - started < 10
            assert queue.wait(["default"], 20)
        queue.close()

    def test_wake_ends_a_wait_from_another_thread(self, queue):
        queue.wait(["default"], 0.01)
        called = threading.Event()
        timer = threading.Timer(0.05, lambda: called.set() or queue.wake())
        started = time.monotonic()
        timer.start()
        while not called.is_set():  # a wait may end for nothing
            queue.wait(["default"], 20)
        timer.join()
        queue.close()
        assert time.monotonic() - started < 10
