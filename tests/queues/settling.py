"""The contract of settlements: each move, the fence, and the dead letters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import ErrorRecord, Move, Room, Settlement
from tests.queues.hooks import HOUR, Hooks, claim, claim_one, ids, job, jobs, joined, push_and_claim, settle, wait_for

ERROR = ErrorRecord("shop.Broken", "it broke: ü€😀 %s \\ '", "Traceback …\n  line", "f" * 40)
SPENDS = {Move.RETRY: ("retrying", "retry", 1), Move.SNOOZE: ("snoozed", "snooze", 0)}


class Settling(Hooks):
    def test_p11_completed_is_kept_in_the_history_and_gone_from_the_queue(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker, args='{"args":["ü"]}', priority=5)
        assert settle(queue, mine, result='{"sum":3}', start_ms=40, run_ms=1_500, memory_kb=9)
        (record,) = self.history(queue, mine.job_id)
        assert (record.outcome, record.attempt, record.lease_no, record.worker_id) == ("completed", 1, 1, worker)
        assert (record.args, record.result, record.queue, record.task) == (mine.args, '{"sum":3}', "default", mine.task)
        assert (record.priority, record.run_ms, record.memory_kb, record.error_class) == (5, 1_500, 9, "")
        assert abs(record.wait_ms - mine.wait_ms - 40) <= 1
        assert record.enqueued_at == mine.created_at
        assert record.started_at == mine.claimed_at + timedelta(milliseconds=40)
        assert record.finished_at == mine.claimed_at + timedelta(milliseconds=1_540)
        assert queue.find(mine.job_id) is None
        assert queue.size() == 0

    @pytest.mark.parametrize("move", SPENDS)
    def test_p5_retry_spends_the_attempt_and_snooze_gives_it_back(self, queue, move):
        outcome, reason, spent = SPENDS[move]
        mine = push_and_claim(queue)
        assert settle(queue, mine, move, delay=HOUR, error=ERROR)
        found = queue.find(mine.job_id)
        assert (found.room, found.reason, found.attempt, found.lease_no) == (Room.DELAYED, reason, spent, 1)
        assert abs((found.due_at - datetime.now(UTC)).total_seconds() - HOUR) < 60
        (record,) = self.history(queue, mine.job_id)
        assert (record.outcome, record.attempt, record.args, record.error_class) == (outcome, 1, "", "shop.Broken")
        assert (record.error_message, record.traceback) == (ERROR.message, ERROR.traceback)
        assert claim(queue, 10) == []
        self.make_due(queue, mine.job_id)
        again = claim_one(queue)
        assert (again.attempt, again.lease_no, again.args) == (spent + 1, 2, mine.args)

    def test_p2_a_retry_runs_after_its_delay(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        assert settle(queue, mine, Move.RETRY, delay=0.05)
        assert ids(wait_for(lambda: claim(queue, 1, worker))) == [mine.job_id]

    def test_p5_released_goes_back_to_its_very_place_and_leaves_no_trace(self, queue):
        worker = joined(queue)
        payloads = jobs(4)
        queue.push(*payloads)
        first, second = claim(queue, 2, worker)
        queue.push(job())
        assert queue.settle([Settlement(second, Move.RELEASED), Settlement(first, Move.RELEASED)]) == [True, True]
        found = queue.find(first.job_id)
        assert (found.room, found.attempt, found.lease_no) == (Room.READY, 0, 1)
        line = claim(queue, 4, worker)
        assert ids(line) == [one.id for one in payloads]
        assert [(one.attempt, one.lease_no) for one in line] == [(1, 2), (1, 2), (1, 1), (1, 1)]
        assert self.history(queue, first.job_id) == []

    def test_p8_a_running_job_can_end_cancelled(self, queue):
        mine = push_and_claim(queue, args='{"args":[4]}')
        assert settle(queue, mine, Move.CANCELLED, error=ERROR)
        (record,) = self.history(queue, mine.job_id)
        assert (record.outcome, record.args, record.error_class) == ("cancelled", '{"args":[4]}', "shop.Broken")
        assert queue.find(mine.job_id) is None

    def test_p11_a_job_keeps_its_unique_key_until_it_is_over(self, queue):
        mine = push_and_claim(queue, unique_key="k")
        settle(queue, mine, Move.RETRY, delay=HOUR)
        assert queue.push(job(unique_key="k")) == [mine.job_id]

    def test_a_batch_of_every_move_at_once(self, queue):
        queue.push(*jobs(12))
        line = claim(queue, 12)
        moves = list(Move) * 2
        batch = [Settlement(one, move, delay=HOUR, reason="x") for one, move in zip(line, moves, strict=True)]
        stale = [Settlement(one._replace(lease_no=9), Move.COMPLETED) for one in line[:3]]
        answers = queue.settle([stale[0], *batch[:6], stale[1], *batch[6:], stale[2]])
        assert answers == [False, *[True] * 6, False, *[True] * 6, False]
        assert queue.stats()[0][1:5] == (2, 4, 0, 2)
        for one, move in zip(line, moves, strict=True):
            assert (queue.find(one.job_id) is None) == (move in (Move.COMPLETED, Move.CANCELLED, Move.DEAD))

    @pytest.mark.parametrize("move", [Move.COMPLETED, Move.RETRY, Move.RELEASED])
    def test_a_batch_of_more_than_a_thousand(self, queue, move):
        queue.push(*jobs(1_200))
        line = claim(queue, 1_200)
        assert len(line) == 1_200
        assert all(queue.settle([Settlement(one, move, delay=HOUR) for one in reversed(line)]))
        assert queue.size() == (0 if move is Move.COMPLETED else 1_200)

    def test_p11_pushed_is_what_waits_runs_or_is_over(self, queue):
        pushed = queue.push(*jobs(9), *jobs(3, delay=HOUR))
        line = claim(queue, 8)
        moves = [Move.COMPLETED, Move.DEAD, Move.CANCELLED, Move.RETRY, Move.SNOOZE, Move.RELEASED]
        queue.settle([Settlement(one, move, delay=HOUR) for one, move in zip(line[:6], moves, strict=True)])
        queue.cancel(pushed[8])
        (row,) = queue.stats()
        over = [self.outcomes(queue, one)[-1:] for one in pushed if queue.find(one) is None]
        assert sorted(over) == [["cancelled"], ["cancelled"], ["completed"], ["failed"]]
        assert row.ready + row.delayed + row.running + len(over) == len(pushed)
        assert row[1:5] == (1, 5, 2, 1)


class Fencing(Hooks):
    @pytest.mark.parametrize("move", Move)
    def test_p3_a_stale_lease_changes_nothing(self, queue, move):
        worker = joined(queue)
        old = push_and_claim(queue, worker)
        settle(queue, old, Move.RELEASED)
        current = claim_one(queue, worker)
        seen = queue.find(old.job_id)
        assert not settle(queue, old, move, delay=0)
        assert not settle(queue, current._replace(lease_no=3), move, delay=0)
        assert queue.find(old.job_id) == seen
        assert self.history(queue, old.job_id) == []
        assert settle(queue, current)

    @pytest.mark.parametrize("move", Move)
    def test_p3_a_lease_is_settled_once(self, queue, move):
        mine = push_and_claim(queue)
        assert settle(queue, mine, move, delay=HOUR)
        seen, records = queue.find(mine.job_id), self.outcomes(queue, mine.job_id)
        for again in Move:
            assert not settle(queue, mine, again, delay=0)
        assert queue.find(mine.job_id) == seen
        assert self.outcomes(queue, mine.job_id) == records

    @pytest.mark.parametrize("first", [Move.COMPLETED, Move.RETRY, Move.DEAD])
    @pytest.mark.parametrize("second", [Move.COMPLETED, Move.RETRY, Move.RELEASED])
    def test_p3_of_two_settlements_in_one_batch_the_first_counts(self, queue, first, second):
        mine, other = push_and_claim(queue), push_and_claim(queue)
        batch = [
            Settlement(mine, first, delay=HOUR, result="1"),
            Settlement(other, Move.COMPLETED),
            Settlement(mine, second, delay=HOUR, result="2"),
        ]
        assert queue.settle(batch) == [True, True, False]
        expected = {Move.COMPLETED: "completed", Move.RETRY: "retrying", Move.DEAD: "failed"}[first]
        assert [(one.outcome, one.result) for one in self.history(queue, mine.job_id)] == [(expected, "1")]
        assert (self.dead_letter(queue, mine.job_id) is not None) == (first is Move.DEAD)

    def test_p3_the_very_same_settlement_twice_in_one_batch_counts_once(self, queue):
        one = Settlement(push_and_claim(queue), Move.COMPLETED)
        assert queue.settle([one, one]) == [True, False]

    def test_p3_two_leases_of_one_job_in_one_batch(self, queue):
        old = push_and_claim(queue)
        settle(queue, old, Move.RELEASED)
        new = claim_one(queue)
        batch = [Settlement(old, Move.DEAD), Settlement(new, Move.COMPLETED), Settlement(old, Move.COMPLETED)]
        assert queue.settle(batch) == [False, True, False]
        assert self.outcomes(queue, old.job_id) == ["completed"]
        assert self.dead_letter(queue, old.job_id) is None

    @pytest.mark.parametrize("lost", [0, 1])
    def test_p3_of_a_large_batch_each_is_fenced_for_itself_and_recorded_for_its_worker(self, queue, lost):
        queue.push(*jobs(30))
        workers = [joined(queue), joined(queue)]
        leases = {one.job_id: (one, worker) for worker in workers for one in claim(queue, 15, worker)}
        batch = [Settlement(one, Move.COMPLETED) for one, _ in leases.values()]
        gone = [settlement.reservation for settlement in batch[:lost]]
        for one in gone:
            settle(queue, one, Move.RELEASED)
        assert queue.settle(batch) == [one.reservation not in gone for one in batch]
        for one, worker in leases.values():
            records = [(record.outcome, record.worker_id) for record in self.history(queue, one.job_id)]
            assert records == ([] if one in gone else [("completed", worker)])

    @pytest.mark.parametrize("move", Move)
    def test_p3_an_unknown_job_is_not_settled(self, queue, move):
        mine = push_and_claim(queue)
        assert not settle(queue, mine._replace(job_id=uuid7()), move)
        assert queue.size() == 1

    def test_p3_a_lease_of_a_waiting_job_is_not_settled(self, queue):
        mine = push_and_claim(queue)
        settle(queue, mine, Move.RETRY, delay=HOUR)
        assert not settle(queue, mine)
        assert not settle(queue, mine._replace(lease_no=2))
        assert queue.find(mine.job_id).room is Room.DELAYED


class Burying(Hooks):
    def test_p9_a_dead_job_is_kept_whole_with_its_reason(self, queue):
        values = {
            "queue": "default",
            "task": "shop.mail",
            "args": '{"args":["ü"]}',
            "priority": 40,
            "max_attempts": 5,
            "timeout": 1.5,
            "unique_key": "key",
            "concurrency_key": "group",
        }
        queue.push(job(**values))
        mine = claim_one(queue)
        assert settle(queue, mine, Move.DEAD, reason="exhausted", error=ERROR)
        dead = self.dead_letter(queue, mine.job_id)
        assert {name: getattr(dead, name) for name in values} == values
        assert (dead.attempt, dead.lease_no, dead.crashes, dead.times_retried) == (1, 1, 0, 0)
        assert (dead.reason, dead.error_class, dead.error_message) == ("exhausted", ERROR.class_path, ERROR.message)
        assert (dead.traceback, dead.fingerprint) == (ERROR.traceback, ERROR.fingerprint)
        assert dead.enqueued_at == mine.created_at
        assert abs(dead.failed_at - datetime.now(UTC)) < timedelta(seconds=60)
        (record,) = self.history(queue, mine.job_id)
        assert (record.outcome, record.args, record.error_class) == ("failed", "", "shop.Broken")

    def test_p9_a_dead_job_carries_the_priority_it_was_given_last(self, queue):
        payload = job()
        queue.push(payload)
        queue.reprioritize(payload.id, 33)
        settle(queue, claim_one(queue), Move.DEAD)
        assert self.dead_letter(queue, payload.id).priority == 33

    def test_p3_a_job_brought_back_starts_again_but_its_lease_numbers_go_on(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        settle(queue, mine, Move.RETRY, delay=0)
        second = claim_one(queue, worker)
        settle(queue, second, Move.DEAD, reason="exhausted")
        assert self.revive(queue, mine.job_id) == [mine.job_id]
        assert self.dead_letter(queue, mine.job_id) is None
        third = claim_one(queue, worker)
        assert (third.attempt, third.lease_no, third.crashes, third.times_retried) == (1, 3, 0, 1)
        assert not settle(queue, second)
        assert settle(queue, third)
        assert self.outcomes(queue, mine.job_id) == ["retrying", "failed", "completed"]

    def test_p1_a_dead_job_is_not_pushed_while_its_letter_lies_there(self, queue):
        mine = push_and_claim(queue)
        settle(queue, mine, Move.DEAD)
        assert queue.push(job(id=mine.job_id)) == [mine.job_id]
        assert queue.size() == 0

    def test_a_job_can_die_many_times(self, queue):
        payload = job()
        queue.push(payload)
        for round_ in range(1, 5):
            mine = claim_one(queue)
            assert mine.lease_no == round_
            settle(queue, mine, Move.DEAD, reason="exhausted")
            assert self.dead_letter(queue, payload.id).times_retried == round_ - 1
            self.revive(queue, payload.id)
        assert self.outcomes(queue, payload.id) == ["failed"] * 4
