"""The contract of looking: find, peek, size, stats, and the line as aging and priorities see it."""

from __future__ import annotations

import pytest

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.queues.base import Move, Room
from tests.queues.hooks import HOUR, Hooks, claim, claim_one, ids, job, jobs, joined, push_and_claim, settle, wait_for


def all_of(queue, *which):
    page = queue.ready_of(*which)
    found = list(page.ids)
    while page.cursor:
        page = queue.ready_of(*which, page.cursor)
        found += page.ids
    return found


class Looking(Hooks):
    def test_find_follows_a_job_through_its_rooms(self, queue):
        worker = joined(queue)
        reservation = push_and_claim(queue, worker)
        running = queue.find(reservation.job_id)
        assert (running.room, running.status, running.worker_id) == (Room.LEASED, JobStatus.PROCESSING, worker)
        assert (running.attempt, running.lease_no) == (1, 1)
        assert running.claimed_at == reservation.claimed_at
        settle(queue, reservation, Move.RETRY, delay=HOUR)
        waiting = queue.find(reservation.job_id)
        assert (waiting.room, waiting.status, waiting.reason) == (Room.DELAYED, JobStatus.RETRYING, "retry")
        assert (waiting.attempt, waiting.lease_no, waiting.worker_id, waiting.claimed_at) == (1, 1, None, None)
        queue.run_now(reservation.job_id)
        assert queue.find(reservation.job_id).status is JobStatus.RETRYING
        settle(queue, claim_one(queue))
        assert queue.find(reservation.job_id) is None

    def test_find_of_an_unknown_job_is_none(self, queue):
        assert queue.find(uuid7()) is None

    def test_peek_leaves_the_next_job_where_it_is(self, queue):
        assert queue.peek() is None
        queue.push(job(), job(queue="other"))
        urgent = job(priority=3)
        queue.push(urgent)
        assert queue.peek().job_id == urgent.id
        assert queue.peek() == queue.find(urgent.id)
        assert ids(claim(queue)) == [urgent.id]
        assert queue.peek("nowhere") is None

    def test_p6_what_has_waited_too_long_gets_the_highest_priority_that_waits_and_keeps_its_place(self, queue):
        low, middle, high = job(priority=-9), job(priority=0), job(priority=5)
        later = job(priority=5)
        queue.push(low, middle, high, job(priority=50, queue="other"))
        assert queue.age("default", HOUR, 10) == 0
        assert queue.age("default", 0, 10) == 2
        assert queue.age("default", 0, 10) == 0
        assert [queue.find(one.id).priority for one in (low, middle, high)] == [5, 5, 5]
        queue.push(later)
        assert ids(claim(queue, 10)) == [low.id, middle.id, high.id, later.id]

    def test_p6_aging_begins_with_the_lowest_and_the_longest_waiting(self, queue):
        lowest, low, high = jobs(3, priority=-9), jobs(2, priority=-1), jobs(1, priority=5)
        queue.push(*lowest, *low, *high)
        assert queue.age("default", 0, 2) == 2
        assert ids(claim(queue, 10)) == [one.id for one in (*lowest[:2], *high, *low, *lowest[2:])]

    @pytest.mark.parametrize("limit", [1, 2, 9])
    def test_p6_an_aged_job_goes_behind_those_that_came_before_it(self, queue, limit):
        """It had gone back in its line before; what it left at its first place must not let it overtake."""
        first, second, third = jobs(3)
        queue.push(first, second)
        queue.reprioritize(first.id, -5)
        queue.push(third)
        assert queue.age("default", 0, 9) == 1
        worker, seen = joined(queue), []
        while found := claim(queue, limit, worker):
            seen += ids(found)
        assert seen == [second.id, first.id, third.id]

    def test_p6_aging_moves_what_was_given_back_and_passes_over_what_is_gone(self, queue):
        worker = joined(queue)
        back, cancelled, stays = job(priority=-9), job(priority=-9), job(priority=-9)
        queue.push(back)
        given = claim_one(queue, worker)
        queue.push(cancelled, stays, job(priority=1))
        assert settle(queue, given, Move.RELEASED)
        assert queue.cancel(cancelled.id)
        assert queue.age("default", 0, 10) == 2
        found = claim(queue, 10)
        assert ids(found)[:2] == [back.id, stays.id]
        assert len(found) == 3
        assert queue.age("default", 0, 10) == queue.age("nowhere", 0, 10) == 0
        assert all(settle(queue, one, Move.RELEASED) for one in found)
        assert ids(claim(queue, 10))[:2] == [back.id, stays.id]

    def test_age_reaches_what_is_behind_the_places_of_jobs_that_went(self, queue):
        """Nobody claims from a line that starves, so nobody else takes out what was left there."""
        moved, waits = jobs(15, priority=-5), job(priority=-5)
        queue.push(*moved, waits)
        assert all(queue.reprioritize(one.id, 5) for one in moved)
        assert sum(queue.age("default", 0, 10) for _ in range(3)) == 1
        assert queue.find(waits.id).priority == 5

    def test_ready_of_gives_the_waiting_jobs_of_one_task_with_another_priority(self, queue):
        wanted = jobs(3, task="shop.news") + jobs(1, task="shop.news", priority=9)
        already = jobs(2, task="shop.news", priority=-5)
        others = [job(), job(task="shop.news", queue="other"), job(task="shop.news", delay=HOUR)]
        queue.push(*wanted, *already, *others)
        assert set(all_of(queue, "default", "shop.news", -5)) == {one.id for one in wanted}
        assert all_of(queue, "default", "shop.none", -5) == all_of(queue, "none", "shop.news", -5) == []
        claim_one(queue)  # the one with priority 9
        assert queue.reprioritize(wanted[0].id, -5)
        assert set(all_of(queue, "default", "shop.news", -5)) == {one.id for one in wanted[1:3]}

    def test_ready_of_knows_a_job_by_its_task_however_long_what_stands_before_it(self, queue):
        long = {"queue": "q" * 100, "unique_key": "\N{SNOWBOARDER}" * 200, "task": "\N{SNOWBOARDER}" * 255}
        [job_id] = queue.push(job(**long))
        assert all_of(queue, long["queue"], long["task"], 1) == [job_id]

    def test_ready_of_goes_through_a_long_line_page_by_page(self, queue):
        payloads = jobs(4_500, task="shop.news")
        for first in range(0, len(payloads), 500):
            queue.push(*payloads[first : first + 500])
        assert sorted(all_of(queue, "default", "shop.news", 1)) == sorted(one.id for one in payloads)

    def test_size_counts_live_jobs(self, queue):
        done, _running = push_and_claim(queue), push_and_claim(queue)
        queue.push(job(), job(delay=HOUR), job(queue="other"))
        assert (queue.size(), queue.size("default"), queue.size("other"), queue.size("none")) == (5, 4, 1, 0)
        settle(queue, done)
        assert queue.size() == 4

    def test_stats_has_a_row_per_queue(self, queue):
        dead = push_and_claim(queue)
        settle(queue, dead, Move.DEAD, reason="exhausted")
        _running = push_and_claim(queue)
        queue.push(job(), job(), job(delay=HOUR), job(queue="a", delay=HOUR), job(queue="z"))
        rows = {row.queue: row for row in queue.stats()}
        assert list(rows) == ["a", "default", "z"]
        assert rows["a"][1:5] == (0, 1, 0, 0)
        assert rows["default"][1:5] == (2, 1, 1, 1)
        assert rows["z"][1:5] == (1, 0, 0, 0)
        assert rows["a"].oldest_ready_s == 0.0
        assert 0 <= rows["z"].oldest_ready_s < 60
        assert [row[:5] for row in queue.stats("z")] == [("z", 1, 0, 0, 0)]
        assert queue.stats("none") == []

    def test_oldest_ready_grows_while_a_job_waits(self, queue):
        queue.push(job())
        assert wait_for(lambda: queue.stats()[0].oldest_ready_s >= 0.02)

    def test_queue_names_are_those_with_ready_jobs(self, queue):
        assert queue.queue_names() == []
        queue.push(job(queue="z"), job(queue="a"), job(queue="a"), job(queue="m", delay=HOUR))
        assert queue.queue_names() == ["a", "z"]
        assert ids(claim(queue, 9, queues=["z"]))
        assert queue.queue_names() == ["a"]
