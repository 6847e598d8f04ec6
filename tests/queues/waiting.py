"""The contract of jobs that wait: until they are due, or until somebody cancels, moves or clears them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_jobqueue.exceptions import InvalidPayload
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.queues.base import Move, Room
from tests.queues.fates import bring
from tests.queues.hooks import (
    FAR_AHEAD,
    HOUR,
    LONG_AGO,
    Hooks,
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


class Delaying(Hooks):
    def test_p6_a_delayed_job_is_not_due(self, queue):
        payload = job(delay=HOUR)
        queue.push(payload, job(run_after=FAR_AHEAD))
        found = queue.find(payload.id)
        assert (found.room, found.reason, found.status) == (Room.DELAYED, "scheduled", JobStatus.PENDING)
        assert abs((found.due_at - found.created_at).total_seconds() - HOUR) < 60
        assert claim(queue) == []
        assert queue.peek() is None

    def test_run_after_is_kept_to_the_microsecond_in_any_zone(self, queue):
        zone = datetime.now(UTC).astimezone().tzinfo
        payload, same = job(run_after=FAR_AHEAD), job(run_after=FAR_AHEAD.astimezone(zone))
        queue.push(payload, same)
        assert queue.find(payload.id).due_at == queue.find(same.id).due_at == FAR_AHEAD

    def test_p6_a_job_becomes_ready_when_it_is_due(self, queue):
        payload = job(delay=0.05)
        queue.push(payload)
        worker = joined(queue)
        assert ids(wait_for(lambda: claim(queue, 1, worker))) == [payload.id]

    @pytest.mark.parametrize("when", [{"run_after": LONG_AGO}, {"delay": 0}])
    def test_a_job_of_the_past_is_due_at_once(self, queue, when):
        payload = job(**when)
        queue.push(payload)
        assert ids(claim(queue)) == [payload.id]

    def test_p6_due_jobs_are_promoted_oldest_first_behind_those_who_wait_already(self, queue):
        late, early, urgent = (job(delay=HOUR), job(delay=HOUR), job(delay=HOUR, priority=1))
        queue.push(late, early, urgent)
        waiting = job()
        queue.push(waiting)
        self.make_due(queue, late.id, LONG_AGO + timedelta(seconds=2))
        self.make_due(queue, urgent.id, LONG_AGO + timedelta(seconds=3))
        self.make_due(queue, early.id, LONG_AGO + timedelta(seconds=1))
        assert ids(claim(queue, 10)) == [urgent.id, waiting.id, early.id, late.id]

    def test_p6_due_jobs_of_every_queue_are_promoted(self, queue):
        other = job(queue="other", delay=HOUR)
        queue.push(other)
        self.make_due(queue, other.id)
        claim(queue)
        assert queue.find(other.id).room is Room.READY

    def test_more_due_jobs_than_one_promotion_takes(self, queue):
        payloads = jobs(1_500, run_after=LONG_AGO)
        queue.push(*payloads)
        worker = joined(queue)
        seen = [one for _ in range(4) for one in ids(claim(queue, 800, worker))]
        assert sorted(seen) == sorted(one.id for one in payloads)

    def test_promote_makes_ready_what_is_due_without_a_worker(self, queue):
        later, early, late = (job(delay=HOUR), job(delay=HOUR), job(queue="other", delay=HOUR))
        queue.push(later, early, late)
        assert queue.promote() == 0
        self.make_due(queue, late.id, LONG_AGO + timedelta(seconds=1))
        self.make_due(queue, early.id, LONG_AGO)
        assert queue.promote() == 2
        assert queue.promote() == 0
        assert [queue.find(one.id).room for one in (early, late, later)] == [Room.READY, Room.READY, Room.DELAYED]
        assert ids(claim(queue)) == [early.id]

    def test_promote_again_and_again_reaches_all_that_is_due(self, queue):
        payloads = jobs(1_500, run_after=LONG_AGO)
        queue.push(*payloads)
        promoted = 0
        while count := queue.promote():
            promoted += count
        ready = {row.queue: row.ready for row in queue.stats()}
        assert (ready, promoted) == ({"default": 1_500}, 1_500)

    def test_run_now_makes_a_delayed_job_ready(self, queue):
        payload = job(delay=HOUR)
        queue.push(payload)
        assert queue.run_now(payload.id)
        found = queue.find(payload.id)
        assert (found.room, found.reason, found.due_at) == (Room.READY, "", None)
        assert not queue.run_now(payload.id)
        assert ids(claim(queue)) == [payload.id]
        assert not queue.run_now(payload.id)

    def test_run_now_keeps_what_was_counted(self, queue):
        first = push_and_claim(queue)
        settle(queue, first, Move.RETRY, delay=HOUR)
        assert queue.run_now(first.job_id)
        second = claim_one(queue)
        assert (second.attempt, second.lease_no) == (2, 2)

    def test_run_now_of_an_unknown_job_is_false(self, queue):
        assert not queue.run_now(uuid7())


class Cancelling(Hooks):
    @pytest.mark.parametrize("values", [{}, {"delay": HOUR}], ids=["ready", "delayed"])
    def test_p8_a_cancelled_job_never_runs(self, queue, values):
        payload = job(args='{"args":[7]}', **values)
        queue.push(payload)
        assert queue.cancel(payload.id)
        assert queue.find(payload.id) is None
        assert not queue.run_now(payload.id)
        assert claim(queue, 10) == []
        (record,) = self.history(queue, payload.id)
        assert (record.outcome, record.lease_no, record.attempt, record.args) == ("cancelled", 1, 0, '{"args":[7]}')
        assert record.worker_id is None

    def test_p8_a_job_that_waits_for_its_retry_can_be_cancelled(self, queue):
        reservation = push_and_claim(queue)
        settle(queue, reservation, Move.RETRY, delay=HOUR)
        assert queue.cancel(reservation.job_id)
        assert self.outcomes(queue, reservation.job_id) == ["retrying", "cancelled"]
        assert self.history(queue, reservation.job_id)[1].lease_no == 2

    @pytest.mark.parametrize("fate", ["leased", "completed", "cancelled", "dead"])
    def test_p8_cancel_is_false_for_what_does_not_wait(self, queue, fate):
        payload = job()
        bring(queue, payload, fate)
        seen = self.outcomes(queue, payload.id)
        assert not queue.cancel(payload.id)
        assert self.outcomes(queue, payload.id) == seen

    def test_cancel_of_an_unknown_job_is_false(self, queue):
        assert not queue.cancel(uuid7())

    def test_p6_reprioritize_goes_behind_its_new_equals(self, queue):
        low, high, moved = job(priority=0), job(priority=50), job(priority=-50)
        queue.push(moved, low, high)
        assert queue.reprioritize(moved.id, 50)
        assert queue.find(moved.id).priority == 50
        line = claim(queue, 10)
        assert ids(line) == [high.id, moved.id, low.id]
        assert [one.priority for one in line] == [50, 50, 0]

    def test_p6_reprioritize_of_the_same_priority_goes_to_the_end(self, queue):
        first, second = jobs(2)
        queue.push(first, second)
        assert queue.reprioritize(first.id, 0)
        assert ids(claim(queue, 10)) == [second.id, first.id]

    def test_reprioritize_of_a_delayed_job_counts_when_it_is_due(self, queue):
        delayed, other = job(delay=HOUR), job(priority=10)
        queue.push(delayed, other)
        assert queue.reprioritize(delayed.id, 20)
        assert queue.find(delayed.id).priority == 20
        self.make_due(queue, delayed.id)
        assert ids(claim(queue, 10)) == [delayed.id, other.id]

    @pytest.mark.parametrize("fate", ["leased", "completed", "dead"])
    def test_reprioritize_is_false_for_what_does_not_wait(self, queue, fate):
        payload = job()
        bring(queue, payload, fate)
        assert not queue.reprioritize(payload.id, 9)
        assert not queue.reprioritize(uuid7(), 9)

    @pytest.mark.parametrize("priority", [-101, 101, 1000])
    def test_reprioritize_refuses_what_is_out_of_range(self, queue, priority):
        with pytest.raises(InvalidPayload):
            queue.reprioritize(uuid7(), priority)

    def test_clear_removes_what_waits_and_lets_running_jobs_finish(self, queue):
        running = push_and_claim(queue)
        dead = push_and_claim(queue)
        settle(queue, dead, Move.DEAD, reason="exhausted")
        queue.push(job(), job(delay=HOUR), job(queue="other"), job(queue="other", delay=HOUR))
        assert queue.clear("default") == 2
        assert queue.size("default") == 1
        assert queue.size("other") == 2
        assert queue.clear() == 2
        assert queue.clear() == 0
        assert queue.size() == 1
        assert settle(queue, running)
        assert self.dead_letter(queue, dead.job_id)
        assert claim(queue, 10, queues=()) == []

    def test_clear_takes_thousands(self, queue):
        queue.push(*jobs(1_100), *jobs(1_100, delay=HOUR))
        assert queue.clear() == 2_200
        assert queue.size() == 0
