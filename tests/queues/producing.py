"""The contract of producers: push, in every shape, again, and with a unique key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.queues.base import Room
from tests.queues.fates import FATES, bring, destined
from tests.queues.hooks import HOUR, NO_CALL, Hooks, claim, ids, job, jobs, joined

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
