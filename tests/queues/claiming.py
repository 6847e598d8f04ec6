"""The contract of claims: who gets what, in which order, and what a reservation says."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import Move, Room, Settlement
from tests.queues.hooks import HOUR, Hooks, claim, claim_one, ids, job, jobs, joined, push_and_claim, settle


class Claiming(Hooks):
    def test_p5_a_claim_tells_the_crash_budget_of_a_job_that_has_its_own(self, queue):
        queue.push(job(), job(crash_budget=1))
        worker = joined(queue)
        assert [one.crash_budget for one in claim(queue, 2, worker)] == [None, 1]
        assert [one.crash_budget for one in queue.leases(worker)] == [None, 1]

    def test_a_reservation_says_all_a_worker_needs(self, queue):
        payload = job(queue="mail", task="shop.mail", args='{"args":[1]}', priority=7, max_attempts=9, timeout=2.5)
        queue.push(payload)
        (one,) = claim(queue, queues=["mail"])
        assert (one.job_id, one.queue, one.task, one.args) == (payload.id, "mail", "shop.mail", '{"args":[1]}')
        assert (one.priority, one.max_attempts, one.timeout, one.times_retried) == (7, 9, 2.5, 0)
        assert (one.attempt, one.lease_no, one.crashes) == (1, 1, 0)
        assert one.created_at.tzinfo is not None
        assert one.created_at <= one.claimed_at
        assert abs(one.claimed_at - datetime.now(UTC)) < timedelta(seconds=60)
        assert 0 <= one.wait_ms < 60_000

    def test_a_claimed_job_is_out_of_the_line(self, queue):
        push_and_claim(queue)
        assert claim(queue, 10) == []
        assert queue.size() == 1

    def test_nothing_ready_nothing_claimed(self, queue):
        assert claim(queue, 10) == []
        assert claim(queue, 10, queues=["a", "b"]) == []
        assert claim(queue, 10, queues=[]) == []

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_limit_below_one_claims_nothing(self, queue, limit):
        queue.push(job())
        assert claim(queue, limit) == []
        assert queue.find(queue.peek().job_id).room is Room.READY

    def test_a_claim_takes_at_most_its_limit(self, queue):
        queue.push(*jobs(10))
        worker = joined(queue)
        assert [len(claim(queue, 4, worker)) for _ in range(4)] == [4, 4, 2, 0]

    def test_pop_claims_one(self, queue):
        worker = joined(queue)
        payloads = jobs(2)
        queue.push(*payloads)
        assert queue.pop(["default"], worker).job_id == payloads[0].id
        assert queue.pop(["default"], worker).job_id == payloads[1].id
        assert queue.pop(["default"], worker) is None

    def test_p2_only_a_worker_that_joined_gets_jobs(self, queue):
        payload = job()
        queue.push(payload)
        assert claim(queue, 1, uuid7()) == []
        assert queue.find(payload.id).attempt == 0
        assert ids(claim(queue, 1)) == [payload.id]

    def test_p2_a_worker_that_left_or_was_declared_dead_gets_no_jobs(self, queue):
        queue.push(job())
        left, dead = joined(queue), joined(queue)
        queue.leave(left)
        self.expire_worker(queue, dead)
        queue.reclaim()
        assert claim(queue, 1, left) == []
        assert claim(queue, 1, dead) == []

    def test_p6_by_priority_then_first_in_first_out(self, queue):
        chosen = random.Random(6)
        payloads = [job(priority=chosen.choice([-100, -50, 0, 0, 1, 50, 100])) for _ in range(60)]
        for start in range(0, 60, 7):
            queue.push(*payloads[start : start + 7])
        expected = [one.id for one in sorted(payloads, key=lambda one: -one.priority)]
        worker = joined(queue)
        assert [one for _ in range(12) for one in ids(claim(queue, 5, worker))] == expected

    def test_p6_queues_in_the_order_given(self, queue):
        a, b, c = jobs(3, queue="a"), jobs(3, queue="b", priority=100), jobs(3, queue="c")
        queue.push(*c, *b, *a)
        worker = joined(queue)
        names = ["b", "empty", "a", "b"]
        assert ids(claim(queue, 4, worker, names)) == [one.id for one in [*b, a[0]]]
        assert ids(claim(queue, 9, worker, names)) == [one.id for one in a[1:]]
        assert claim(queue, 9, worker, names) == []
        assert queue.size("c") == 3

    def test_p6_no_queues_means_all_and_none_starves(self, queue):
        queue.push(*jobs(20, queue="a"), *jobs(20, queue="b", priority=100), *jobs(20, queue="c", priority=-100))
        worker = joined(queue)
        seen = [one.queue for _ in range(9) for one in claim(queue, 1, worker, ())]
        assert sorted(set(seen)) == ["a", "b", "c"]
        assert len(claim(queue, 100, worker, ())) == 51

    def test_p9_a_claim_never_decodes_a_payload(self, queue):
        texts = ["", "{", '{"args": ' + "[" * 5_000, "null", '{"args":[1e999]}']
        queue.push(*(job(args=text) for text in texts))
        line = claim(queue, 10)
        assert [one.args for one in line] == texts
        assert queue.settle([Settlement(one, Move.COMPLETED) for one in line]) == [True] * 5

    def test_p3_lease_numbers_only_grow(self, queue):
        worker = joined(queue)
        queue.push(job(max_attempts=20))
        seen = []
        for move in (Move.RELEASED, Move.RETRY, Move.SNOOZE, Move.RELEASED, Move.RETRY):
            reservation = claim_one(queue, worker)
            seen.append((reservation.lease_no, reservation.attempt))
            assert settle(queue, reservation, move, delay=0)
        last = claim_one(queue, worker)
        assert [*seen, (last.lease_no, last.attempt)] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3)]

    def test_exchange_settles_and_reserves_at_once(self, queue):
        worker = joined(queue)
        first, second = jobs(2)
        queue.push(first, second)
        mine = claim_one(queue, worker)
        done = queue.exchange([Settlement(mine, Move.COMPLETED)], ["default"], 5, worker)
        assert done.settled == [True]
        assert ids(done.reservations) == [second.id]
        again = queue.exchange([Settlement(mine, Move.COMPLETED)], ["default"], 5, worker)
        assert (again.settled, again.reservations) == ([False], [])

    def test_exchange_can_reserve_what_it_has_just_given_back(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        queue.push(job())
        done = queue.exchange([Settlement(mine, Move.RELEASED)], ["default"], 1, worker)
        assert ids(done.reservations) == [mine.job_id]
        assert (done.reservations[0].attempt, done.reservations[0].lease_no) == (1, 2)

    def test_exchange_settles_for_a_worker_that_was_declared_dead_but_still_holds_the_lease(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        self.expire_worker(queue, worker)
        assert queue.exchange([Settlement(mine, Move.COMPLETED)], ["default"], 5, worker).settled == [True]
        assert self.outcomes(queue, mine.job_id) == ["completed"]

    def test_settle_alone_reserves_nothing(self, queue):
        mine = push_and_claim(queue)
        queue.push(job(), job(delay=HOUR))
        assert queue.settle([Settlement(mine, Move.COMPLETED)]) == [True]
        assert queue.settle([]) == []
        assert queue.stats()[0][1:5] == (1, 1, 0, 0)
