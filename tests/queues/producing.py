"""The contract of producers: push, cancel, reprioritize, run_now, clear, and looking."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from django_jobqueue.exceptions import InvalidPayload
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.queues.base import Move, Room
from tests.queues.hooks import (
    FAR_AHEAD,
    HOUR,
    LONG_AGO,
    NO_CALL,
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

# The ways a job id can be known. Each brings a job there, and says how many live jobs there are then.
FATES = {
    "ready": 1,
    "delayed": 1,
    "leased": 1,
    "retrying": 1,
    "completed": 0,
    "cancelled": 0,
    "dead": 0,
}


def bring(queue, payload, fate):
    """Push a job and bring it to its fate."""
    queue.push(payload)
    if fate == "cancelled":
        assert queue.cancel(payload.id)
    if fate in ("ready", "delayed", "cancelled"):
        return
    reservation = claim_one(queue)
    assert reservation.job_id == payload.id
    moves = {"completed": Move.COMPLETED, "dead": Move.DEAD, "retrying": Move.RETRY}
    if fate in moves:
        assert settle(queue, reservation, moves[fate], delay=HOUR, reason="exhausted")


def destined(fate, **values):
    return job(**values, **({"delay": HOUR} if fate == "delayed" else {}))


def all_of(queue, *which):
    page = queue.ready_of(*which)
    found = list(page.ids)
    while page.cursor:
        page = queue.ready_of(*which, page.cursor)
        found += page.ids
    return found


ARGS = '{"args":["ü€😀",[],{},9007199254740993]}'
"""What a script that decodes and encodes it would change."""


SHAPES = [
    {},
    {"queue": "mail.out-1_x", "priority": -50, "max_attempts": 7, "timeout": 1.5, "crash_budget": 2},
    {"times_retried": 3, "concurrency_key": "ü"},
    {"delay": HOUR},
    {"run_after": datetime(2099, 1, 1, tzinfo=UTC)},
    {"lease_no": 9},
]


class Pushing(Hooks):
    def test_p1_push_gives_the_ids_in_order(self, queue):
        payloads = [job(), job(queue="other"), job(delay=HOUR), job(priority=100)]
        assert queue.push(*payloads) == [one.id for one in payloads]
        assert all(queue.find(one.id) for one in payloads)

    def test_p1_push_of_nothing_is_nothing(self, queue):
        assert queue.push() == []
        assert queue.size() == 0

    def test_p1_a_pushed_job_is_kept_as_it_is(self, queue):
        before = datetime.now(UTC)
        payload = job(queue="mail.out-1_x", task="shop.send", args=ARGS, priority=-50, max_attempts=7)
        queue.push(payload)
        found = queue.find(payload.id)
        assert found.room is Room.READY
        assert found.status is JobStatus.PENDING
        assert (found.job_id, found.queue, found.task, found.args, found.priority, found.max_attempts) == (
            payload.id,
            "mail.out-1_x",
            "shop.send",
            ARGS,
            -50,
            7,
        )
        assert (found.attempt, found.lease_no, found.worker_id, found.due_at) == (0, 0, None, None)
        assert found.created_at.tzinfo is not None
        assert abs(found.created_at - before) < timedelta(seconds=60)

    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize("options", SHAPES, ids=str)
    def test_p1_a_fresh_job_is_kept_like_any_other(self, queue, options, count):
        """Stores have a shorter way for ids that nobody can know, and one for a single job that only has to run."""
        fresh = [job(task="shop.send", args=ARGS, **options) for _ in range(count)]
        others = [one.using() for one in fresh]
        assert queue.push(*fresh, fresh=True) == [one.id for one in fresh]
        assert queue.push(*others) == [one.id for one in others]
        for one, other in zip(fresh, others, strict=True):
            mine, theirs = queue.find(one.id), queue.find(other.id)
            assert mine == theirs._replace(job_id=one.id, created_at=mine.created_at, due_at=mine.due_at)
            assert abs(mine.created_at - theirs.created_at) < timedelta(seconds=60)
            assert (mine.due_at is None) == (theirs.due_at is None)
        waits = [] if "delay" in options or "run_after" in options else [one.id for one in (*fresh, *others)]
        assert ids(claim(queue, 10, queues=[fresh[0].queue])) == waits

    @pytest.mark.parametrize("count", [0, 1, 3])
    @pytest.mark.parametrize("options", SHAPES, ids=str)
    def test_p1_jobs_that_differ_by_their_arguments_are_kept_like_any_other(self, queue, options, count):
        template = job(task="shop.send", **options)
        calls = [ARGS.replace("[]", f"[{number}]") for number in range(count)]
        alike, other = queue.push_alike(template, calls), template.using(args=ARGS)
        queue.push(other)
        theirs = queue.find(other.id)
        assert len({*alike, template.id}) == count + 1
        for job_id, args in zip(alike, calls, strict=True):
            mine = queue.find(job_id)
            assert mine == theirs._replace(job_id=job_id, args=args, created_at=mine.created_at, due_at=mine.due_at)
            assert abs(mine.created_at - theirs.created_at) < timedelta(seconds=60)
            assert (mine.due_at is None) == (theirs.due_at is None)
        waits = [] if template.is_delayed else [*alike, other.id]
        assert ids(claim(queue, 10, queues=[template.queue])) == waits

    def test_p1_thousands_alike_keep_their_order(self, queue):
        before = queue.push(job())
        alike = queue.push_alike(job(), [f'{{"args":[{number}],"kwargs":{{}}}}' for number in range(2_500)])
        after = queue.push(job())
        claimed = claim(queue, 3_000)
        assert ids(claimed) == [*before, *alike, *after]
        assert [one.args for one in claimed[1:-1]] == [
            f'{{"args":[{number}],"kwargs":{{}}}}' for number in range(2_500)
        ]

    def test_of_jobs_alike_with_one_unique_key_there_is_one(self, queue):
        first, *others = queue.push_alike(job(unique_key="k"), [NO_CALL] * 3)
        assert others == [first, first]
        assert queue.size() == 1

    @pytest.mark.parametrize("fate", FATES)
    def test_p1_an_id_pushed_again_changes_nothing(self, queue, fate):
        payload = destined(fate)
        bring(queue, payload, fate)
        seen = queue.find(payload.id)
        executions = self.outcomes(queue, payload.id)
        again = job(id=payload.id, task="another", queue="elsewhere", priority=5)
        assert queue.push(again, job(queue="elsewhere")) == [payload.id, queue.peek("elsewhere").job_id]
        assert queue.find(payload.id) == seen
        assert queue.size() == FATES[fate] + 1
        assert self.outcomes(queue, payload.id) == executions

    def test_many_are_asked_for_at_once_and_told_as_find_tells_them(self, queue):
        fates = [*FATES][::-1]  # what is to stay ready comes last: the others are claimed
        payloads = [destined(fate) for fate in fates]
        for payload, fate in zip(payloads, fates, strict=True):
            bring(queue, payload, fate)
        living = {one.id: found.status for one in payloads if (found := queue.find(one.id)) is not None}
        assert set(living.values()) == {JobStatus.PENDING, JobStatus.PROCESSING, JobStatus.RETRYING}
        asked = [*(one.id for one in payloads), uuid4()]
        assert queue.statuses(*asked) == living
        assert queue.alive(*asked) == set(living)
        assert queue.statuses() == {}

    def test_p1_an_id_given_twice_in_one_push_is_one_job_the_first(self, queue):
        first, other = job(task="first"), job()
        second = job(id=first.id, task="second", delay=HOUR)
        assert queue.push(first, other, second) == [first.id, other.id, first.id]
        assert queue.size() == 2
        assert queue.find(first.id).task == "first"
        assert ids(claim(queue, 10)) == [first.id, other.id]

    def test_p1_thousands_in_one_push_keep_their_order(self, queue):
        payloads = jobs(2_300)
        assert queue.push(*payloads) == [one.id for one in payloads]
        assert queue.size() == 2_300
        worker = joined(queue)
        seen = [one for _ in range(5) for one in ids(claim(queue, 500, worker))]
        assert seen == [one.id for one in payloads]

    def test_p1_ids_need_not_be_made_by_us(self, queue):
        payloads = [job(id=uuid4()) for _ in range(50)]
        queue.push(*payloads)
        assert ids(claim(queue, 50)) == [one.id for one in payloads]


class Unique(Hooks):
    @pytest.mark.parametrize("fate", FATES)
    def test_p1_a_unique_key_is_held_while_its_job_lives(self, queue, fate):
        holder = destined(fate, unique_key="only-one")
        bring(queue, holder, fate)
        second = job(unique_key="only-one")
        expected = holder.id if FATES[fate] else second.id
        assert queue.push(second) == [expected]
        assert queue.size() == 1
        assert (queue.find(second.id) is None) == bool(FATES[fate])

    def test_a_unique_key_is_free_after_clear(self, queue):
        queue.push(job(unique_key="k"))
        queue.clear()
        second = job(unique_key="k")
        assert queue.push(second) == [second.id]

    def test_a_unique_key_given_twice_in_one_push_is_one_job(self, queue):
        first, plain, second = job(unique_key="k"), job(), job(unique_key="k", delay=HOUR)
        assert queue.push(first, plain, second) == [first.id, plain.id, first.id]
        assert queue.size() == 2

    @pytest.mark.parametrize("fresh", [False, True])
    def test_a_unique_conflict_does_not_stop_the_others(self, queue, fresh):
        holder = job(unique_key="held")
        queue.push(holder)
        payloads = [job(unique_key="held" if n % 3 == 0 else f"free-{n}") for n in range(30)]
        expected = [holder.id if n % 3 == 0 else one.id for n, one in enumerate(payloads)]
        assert queue.push(*payloads, fresh=fresh) == expected
        assert queue.push(job(unique_key="held"), fresh=fresh) == [holder.id]
        assert queue.size() == 21

    @pytest.mark.parametrize("fate", FATES)
    def test_a_known_id_is_answered_with_itself_even_if_another_holds_its_key(self, queue, fate):
        known = destined(fate)
        bring(queue, known, fate)
        queue.push(job(unique_key="k", queue="other"))
        assert queue.push(job(id=known.id, unique_key="k")) == [known.id]

    def test_keys_are_compared_exactly(self, queue):
        payloads = [job(unique_key=key) for key in ("a", "A", "á", "a-", "x" * 200)]
        assert queue.push(*payloads) == [one.id for one in payloads]


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
