"""The contract of cancelling what runs: it is told, its worker hears of it, and it never runs again."""

from __future__ import annotations

import pytest

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import WORKER_LOST, Move, Settlement
from tests.queues.hooks import HOUR, Hooks, claim, claim_one, job, jobs, joined, push_and_claim, settle, together
from tests.queues.settling import ERROR

NOT_COMPLETED = sorted(set(Move) - {Move.COMPLETED})


class Stopping(Hooks):
    def test_p8_a_running_job_is_asked_to_stop_and_its_worker_hears_of_it(self, queue):
        worker, other = joined(queue), joined(queue)
        queue.push(*jobs(3))
        first, second, _ = claim(queue, 3, worker)
        theirs = push_and_claim(queue, other)
        assert queue.cancellations(worker) == {}
        assert not queue.find(first.job_id).is_asked_to_stop
        assert queue.request_cancel(first.job_id)
        assert queue.request_cancel(second.job_id, kill=True)
        assert queue.request_cancel(theirs.job_id)
        assert queue.cancellations(worker) == {first.job_id: False, second.job_id: True}
        assert queue.cancellations(worker, other) == queue.cancellations(worker) | {theirs.job_id: False}
        assert queue.cancellations(uuid7()) == queue.cancellations() == {}
        assert queue.find(first.job_id).is_asked_to_stop
        assert queue.leases(worker)[0] == first._replace(wait_ms=queue.leases(worker)[0].wait_ms)

    def test_p8_a_kill_is_not_taken_back_by_asking_again(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        for kill, expected in ((False, False), (True, True), (False, True)):
            assert queue.request_cancel(mine.job_id, kill=kill)
            assert queue.cancellations(worker) == {mine.job_id: expected}

    def test_p8_only_what_runs_is_asked_to_stop(self, queue):
        """What waits is cancelled by `cancel`; what is over, dead or unknown can't be."""
        waits, later = job(), job(delay=HOUR)
        over, dead = push_and_claim(queue), push_and_claim(queue)
        settle(queue, over)
        settle(queue, dead, Move.DEAD)
        queue.push(waits, later)
        ids = [waits.id, later.id, over.job_id, dead.job_id, uuid7()]
        assert [queue.request_cancel(one) for one in ids] == [False] * 5
        worker = joined(queue)
        claim(queue, 5, worker)
        assert queue.cancellations(worker) == {}

    @pytest.mark.parametrize("kill", [False, True], ids=["asked", "kill"])
    @pytest.mark.parametrize("move", NOT_COMPLETED)
    def test_p8_whatever_is_decided_but_completed_is_cancelled(self, queue, move, kill):
        """A retry, a release, a failure for good that meets the request: the settlement finds the mark."""
        worker = joined(queue)
        mine, other = push_and_claim(queue, worker, args='{"args":[4]}', unique_key="k"), push_and_claim(queue, worker)
        queue.request_cancel(mine.job_id, kill=kill)
        batch = [Settlement(one, move, delay=HOUR, error=ERROR) for one in (mine, other)]
        assert queue.settle(batch) == [True, True]
        assert queue.find(mine.job_id) is None
        assert self.dead_letter(queue, mine.job_id) is None
        assert (self.outcomes(queue, other.job_id) == ["cancelled"]) == (move is Move.CANCELLED)
        (record,) = self.history(queue, mine.job_id)
        assert (record.outcome, record.args, record.worker_id) == ("cancelled", mine.args, worker)
        assert record.error_class == "shop.Broken"
        assert queue.cancellations(worker) == {}
        assert queue.push(job(id=mine.job_id)) == [mine.job_id]
        assert queue.find(mine.job_id) is None, "its id is over"
        fresh = job(unique_key="k")
        assert queue.push(fresh) == [fresh.id], "its key is free"

    def test_p8_what_completed_before_it_heard_of_it_has_completed(self, queue):
        """The request is gone with its lease."""
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        queue.request_cancel(mine.job_id, kill=True)
        assert settle(queue, mine, result="1")
        assert [(one.outcome, one.result) for one in self.history(queue, mine.job_id)] == [("completed", "1")]
        assert queue.cancellations(worker) == {}

    @pytest.mark.parametrize("kill", [False, True], ids=["asked", "kill"])
    @pytest.mark.parametrize("way", ["leave", "reclaim", "declare_dead"])
    def test_p8_a_worker_that_goes_takes_what_was_to_stop_with_it(self, queue, way, kill):
        """Killed for the cancellation, dead for another reason, or gone in good order: the job never runs again."""
        worker = joined(queue)
        queue.push(*jobs(3))
        line = claim(queue, 3, worker)
        queue.request_cancel(line[1].job_id, kill=kill)
        if way == "reclaim":
            self.expire_worker(queue, worker)
            assert queue.reclaim() == 3
        else:
            getattr(queue, way)(worker)
        assert queue.find(line[1].job_id) is None
        (record,) = self.history(queue, line[1].job_id)
        assert (record.outcome, record.args, record.worker_id) == ("cancelled", line[1].args, worker)
        assert record.error_class == ("" if way == "leave" else WORKER_LOST.class_path)
        assert self.dead_letter(queue, line[1].job_id) is None
        assert queue.stats()[0][1:5] == (2, 0, 0, 0)
        assert [one.job_id for one in claim(queue, 5)] == [line[0].job_id, line[2].job_id]

    def test_p8_the_last_crash_of_a_job_that_was_to_stop_makes_no_dead_letter(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker, crash_budget=1)
        queue.request_cancel(mine.job_id, kill=True)
        assert queue.declare_dead(worker) == 1
        assert self.outcomes(queue, mine.job_id) == ["cancelled"]
        assert self.dead_letter(queue, mine.job_id) is None

    def test_p8_asked_or_settled_never_run_again(self, queue):
        """Requests among retries: who was told True never runs again, unless it had completed."""
        worker = joined(queue)
        queue.push(*jobs(60))
        line = claim(queue, 60, worker)
        moves = [Move.RETRY, Move.RELEASED, Move.COMPLETED]
        batches = [[Settlement(one, moves[n % 3], delay=HOUR)] for n, one in enumerate(line)]
        told, _ = together(
            lambda: [queue.request_cancel(one.job_id) for one in line],
            lambda: [queue.settle(batch) for batch in reversed(batches)],
        )
        for n, (one, is_told) in enumerate(zip(line, told, strict=True)):
            outcomes = self.outcomes(queue, one.job_id)
            if moves[n % 3] is Move.COMPLETED:
                assert outcomes == ["completed"]
            elif is_told:
                assert (outcomes, queue.find(one.job_id)) == (["cancelled"], None)
            else:
                assert "cancelled" not in outcomes
                assert queue.find(one.job_id) is not None

    @pytest.mark.parametrize("way", ["leave", "declare_dead", "reclaim"])
    def test_p8_asked_or_given_back_never_run_again(self, queue, way):
        """Requests while a worker goes: each job was asked to stop and is over, or it was not and is in the line."""
        worker = joined(queue)
        queue.push(*jobs(40))
        line = claim(queue, 40, worker)
        go = {"leave": lambda: queue.leave(worker), "declare_dead": lambda: queue.declare_dead(worker)}
        if way == "reclaim":
            self.expire_worker(queue, worker)
        told, _ = together(lambda: [queue.request_cancel(one.job_id) for one in line], go.get(way, queue.reclaim))
        queue.reclaim()  # what was locked at that moment
        for one, is_told in zip(line, told, strict=True):
            assert ("cancelled" in self.outcomes(queue, one.job_id)) == is_told
            assert (queue.find(one.job_id) is None) == is_told
        assert queue.size() == 40 - sum(told)


class Budgets(Hooks):
    """`on_crash`: a job may have a crash budget of its own."""

    @pytest.mark.parametrize("budget", [1, 2, 4])
    def test_p5_a_job_with_a_budget_of_its_own_dies_when_that_is_spent(self, queue, budget):
        payload, other = job(crash_budget=budget, priority=9), job()
        queue.push(payload, other)
        for crashes in range(budget):
            assert self.dead_letter(queue, payload.id) is None
            worker = joined(queue)
            mine = claim_one(queue, worker)
            assert (mine.job_id, mine.crashes, mine.attempt) == (payload.id, crashes, 1)
            assert queue.declare_dead(worker) == 1
        dead = self.dead_letter(queue, payload.id)
        assert (dead.reason, dead.crashes, dead.crash_budget) == ("worker_lost", budget, budget)
        worker = joined(queue)
        claim_one(queue, worker)
        queue.declare_dead(worker)
        assert queue.find(other.id) is not None, "the others have the project's budget"

    def test_p5_reclaim_knows_it_too(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker, crash_budget=1)
        self.expire_worker(queue, worker)
        assert queue.reclaim() == 1
        assert self.dead_letter(queue, mine.job_id).reason == "worker_lost"

    def test_p9_a_dead_letter_keeps_it(self, queue):
        mine = push_and_claim(queue, crash_budget=7)
        settle(queue, mine, Move.DEAD, reason="exhausted")
        assert self.dead_letter(queue, mine.job_id).crash_budget == 7

    def test_a_job_given_back_pays_nothing(self, queue):
        worker = joined(queue)
        push_and_claim(queue, worker, crash_budget=1)
        queue.leave(worker)
        assert claim_one(queue).crashes == 0
