"""The contract among threads: however they race, each move happens once."""

from __future__ import annotations

from collections import Counter

from django_jobqueue.queues.base import Move, Settlement
from tests.queues.hooks import HOUR, Hooks, claim, claim_one, ids, job, jobs, joined, push_and_claim, settle, together


class Races(Hooks):
    has_deadlocks = False
    """A settlement may be a victim, and tried again. A reclaim passes over what it has locked, and later gives that
    back uncharged, without a record.
    """

    def test_p2_eight_workers_never_get_the_same_job(self, queue):
        payloads = jobs(400)
        queue.push(*payloads)

        def work():
            worker, seen, empty = joined(queue), [], 0
            while empty < 3:
                got = ids(claim(queue, 7, worker))
                assert len(got) <= 7
                seen += got
                empty = 0 if got else empty + 1
            return seen

        seen = [one for part in together(*[work] * 8) for one in part]
        assert Counter(seen) == Counter(one.id for one in payloads)

    def test_p2_workers_that_settle_and_claim_at_once_finish_everything_once(self, queue):
        payloads = jobs(200)
        queue.push(*payloads)

        def work():
            worker, batch, done = joined(queue), [], 0
            while True:
                answer = queue.exchange(batch, ["default"], 5, worker)
                done += sum(answer.settled)
                batch = [Settlement(one, Move.COMPLETED) for one in answer.reservations]
                if not batch and queue.size() == 0:
                    return done

        assert sum(together(*[work] * 6)) == 200
        assert all(self.outcomes(queue, one.id) == ["completed"] for one in payloads)

    def test_p1_fifty_pushes_of_one_unique_key_make_one_job(self, queue):
        payloads = [job(unique_key="only") for _ in range(50)]
        answers = together(*[lambda one=one: queue.push(one) for one in payloads])
        assert queue.size() == 1
        assert {tuple(answer) for answer in answers} == {(queue.peek().job_id,)}

    def test_p1_batches_with_the_same_keys_in_other_orders_make_each_job_once(self, queue):
        keys = [f"key-{n}" for n in range(20)]
        batches = [[job(unique_key=key) for key in (keys if n % 2 else reversed(keys))] for n in range(8)]
        answers = together(*[lambda batch=batch: queue.push(*batch) for batch in batches])
        assert queue.size() == 20
        holders = {}
        for batch, answer in zip(batches, answers, strict=True):
            for payload, job_id in zip(batch, answer, strict=True):
                assert holders.setdefault(payload.unique_key, job_id) == job_id

    def test_p1_a_unique_push_never_answers_with_a_job_that_was_not_stored(self, queue):
        """Scar: the holder may end between the conflict and the question who it was."""

        def produce():
            return [queue.push(job(unique_key="only"))[0] for _ in range(40)]

        def consume():
            worker = joined(queue)
            for _ in range(120):
                for one in claim(queue, 1, worker):
                    settle(queue, one)
            return []

        answers = {one for part in together(produce, produce, produce, consume) for one in part}
        lost = [one for one in answers if queue.find(one) is None and self.outcomes(queue, one) != ["completed"]]
        assert lost == []

    def test_p1_one_id_pushed_by_many_is_one_job(self, queue):
        payload = job()
        assert together(*[lambda: queue.push(payload)] * 20) == [[payload.id]] * 20
        assert ids(claim(queue, 30)) == [payload.id]

    def test_p8_cancelled_or_claimed_never_both(self, queue):
        payloads = jobs(60)
        queue.push(*payloads)

        def work():
            worker = joined(queue)
            return [one for _ in range(40) for one in ids(claim(queue, 2, worker))]

        def stop():
            return [one.id for one in reversed(payloads) if queue.cancel(one.id)]

        claimed, cancelled = together(work, stop)
        assert not set(claimed) & set(cancelled)
        assert len(claimed) + len(cancelled) == 60
        assert all(self.outcomes(queue, one) == ["cancelled"] for one in cancelled)

    def test_p8_cancelled_or_promoted_never_both(self, queue):
        payloads = jobs(60, delay=0)
        queue.push(*payloads)

        def work():
            worker = joined(queue)
            return [one for _ in range(40) for one in ids(claim(queue, 2, worker))]

        claimed, cancelled, moved = together(
            work,
            lambda: [one.id for one in payloads if queue.cancel(one.id)],
            lambda: [one.id for one in reversed(payloads) if queue.run_now(one.id) or queue.reprioritize(one.id, 5)],
        )
        assert not set(claimed) & set(cancelled)
        assert len(claimed) + len(cancelled) == 60
        assert set(moved) <= set(claimed) | set(cancelled)

    def test_p3_of_two_settlers_one_is_told_true(self, queue):
        for moves in ((Move.COMPLETED, Move.COMPLETED), (Move.COMPLETED, Move.RETRY), (Move.DEAD, Move.RELEASED)):
            queue.push(*jobs(20))
            line = claim(queue, 20)
            batches = [[Settlement(one, move, delay=HOUR) for one in line] for move in moves]
            batches[1].reverse()
            first, second = together(*[lambda batch=batch: queue.settle(batch) for batch in batches])
            assert [a + b for a, b in zip(first, reversed(second), strict=True)] == [1] * 20
            assert all(len(self.outcomes(queue, one.job_id)) <= 1 for one in line)
            queue.clear()

    def test_p3_settled_or_reclaimed_never_both(self, queue):
        worker = joined(queue)
        queue.push(*jobs(40))
        line = claim(queue, 40, worker)
        self.expire_worker(queue, worker)
        halves = line[:20], line[20:]
        done = together(
            *[lambda half=half: queue.settle([Settlement(one, Move.COMPLETED) for one in half]) for half in halves],
            queue.reclaim,
            queue.reclaim,
        )
        settled, reclaimed = [*done[0], *done[1]], done[2] + done[3]
        assert sum(settled) + reclaimed == 40
        for one, was_settled in zip(line, settled, strict=True):
            unsettled = [["lost"], *([[]] if self.has_deadlocks else [])]
            assert self.outcomes(queue, one.job_id) in ([["completed"]] if was_settled else unsettled)
            assert (queue.find(one.job_id) is None) == was_settled

    def test_p5_ten_parallel_reclaims_count_one_crash(self, queue):
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        self.expire_worker(queue, worker)
        assert sum(together(*[queue.reclaim] * 10)) == 1
        assert claim_one(queue).crashes == 1
        assert self.outcomes(queue, mine.job_id) == ["lost"]

    def test_p3_left_or_reclaimed_never_both(self, queue):
        worker = joined(queue)
        queue.push(*jobs(30))
        assert len(claim(queue, 30, worker)) == 30
        self.expire_worker(queue, worker)
        together(lambda: queue.leave(worker), queue.reclaim, queue.reclaim)
        (row,) = queue.stats()
        assert (row.ready, row.running) == (30, 0)

    def test_clear_among_workers_loses_no_running_job(self, queue):
        queue.push(*jobs(150), *jobs(50, delay=0))

        def work():
            worker, done = joined(queue), 0
            for _ in range(30):
                done += sum(queue.settle([Settlement(one, Move.COMPLETED) for one in claim(queue, 3, worker)]))
            return done

        done_1, done_2, cleared = together(work, work, queue.clear)
        assert done_1 + done_2 + cleared + queue.size() == 200
