"""Each fault, made by hand in a real store, is found by `check`, alone; a repair leaves nothing behind."""

from __future__ import annotations

from typing import Any

from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.monitoring.fsck import Report, check
from django_jobqueue.queues.base import Move, Queue, WorkerReport
from tests.queues.hooks import HOUR, LONG_AGO, claim, job, joined, push_and_claim, settle


def look(queue: Queue, **options: Any) -> Report:
    return check(queue, **{"patience": 0, "late": 60, **options})


def codes(report: Report) -> list[str]:
    return [one.code for one in report.findings]


def found(queue: Queue, code: str, *job_ids: Any, also: tuple[str, ...] = ()) -> None:
    """This is what is found, of these jobs, and `also` these kinds."""
    report = look(queue)
    assert set(codes(report)) == {code, *also}
    assert report.finding(code).examples == sorted(map(str, job_ids))


def repaired(queue: Queue, code: str) -> None:
    """A repair says that it mended all of this, and it has."""
    finding = look(queue, repair=True).finding(code)
    assert (finding.can_repair, finding.repaired) == (True, finding.count)
    assert codes(look(queue)) == []


def left_alone(queue: Queue, code: str) -> None:
    """A repair changes nothing, and says so."""
    finding = look(queue, repair=True).finding(code)
    assert (finding.can_repair, finding.repaired) == (False, 0)
    assert code in codes(look(queue))


def one_of_each(queue: Queue) -> None:
    """Jobs in every room and in every state a store can have them in by itself."""
    worker = joined(queue)
    queue.push(job(), job(unique_key="mine"), job(delay=HOUR), job(delay=HOUR, unique_key="later"))
    for move in (*Move, None):
        mine = push_and_claim(queue, worker, unique_key=f"key {move}", priority=100)
        if move:
            assert settle(queue, mine, move, delay=HOUR, reason="exhausted")
    queue.push(again := job(priority=100))
    for _ in range(2):
        settle(queue, claim(queue, 1, worker)[0], Move.RETRY, delay=HOUR)
        queue.run_now(again.id)
    cancelled = job()
    queue.push(cancelled)
    queue.cancel(cancelled.id)
    queue.leave(joined(queue))


class FsckContract:
    """What is checked in every store. Subclasses have the fixture `queue` and know how to break it."""

    def test_a_store_in_use_is_clean(self, queue):
        one_of_each(queue)
        report = look(queue, late=0)
        assert codes(report) == []
        assert report.is_clean
        assert report.account["jobs"] == report.looked_at["jobs"] == queue.size() > 5
        assert "Nothing is wrong" in str(report)

    def test_an_empty_store_is_clean(self, queue):
        assert codes(look(queue, late=0)) == []

    def test_p5_more_attempts_than_allowed(self, queue):
        running = push_and_claim(queue, max_attempts=1)
        waiting = push_and_claim(queue, max_attempts=1)
        settle(queue, waiting, Move.RETRY, delay=HOUR)  # which nobody decides: lifecycle/outcomes.py counts
        assert codes(look(queue)) == ["too_many_attempts"]
        assert look(queue).finding("too_many_attempts").examples == [str(waiting.job_id)]
        left_alone(queue, "too_many_attempts")
        assert queue.find(running.job_id)
        assert queue.find(waiting.job_id)

    def test_p5_more_crashes_than_the_budget_of_today(self, queue, settings):
        mine = push_and_claim(queue)
        self.expire(queue, mine)
        queue.reclaim()
        assert codes(look(queue)) == []
        settings.JOBQUEUE = {"CRASH_BUDGET": 1}
        own = push_and_claim(queue, crash_budget=2, priority=100)
        self.expire(queue, own)
        queue.reclaim()
        found(queue, "too_many_crashes", mine.job_id)

    def test_p10_the_lease_of_a_silent_worker(self, queue):
        mine = push_and_claim(queue)
        self.expire(queue, mine)
        found(queue, "dead_holder", mine.job_id)
        repaired(queue, "dead_holder")
        assert claim(queue)[0].job_id == mine.job_id

    def test_p7_a_job_that_is_due_while_a_worker_idles(self, queue):
        queue.push(due := job(delay=HOUR))
        self.make_due(queue, due.id)
        assert codes(look(queue)) == []  # nobody works, so nobody is late
        queue.report(joined(queue), WorkerReport())
        found(queue, "overdue", due.id)
        repaired(queue, "overdue")
        assert claim(queue)[0].job_id == due.id

    def test_p7_a_job_that_is_due_while_all_are_busy_is_not_late(self, queue):
        busy = joined(queue)
        queue.push(due := job(delay=HOUR))
        push_and_claim(queue, busy)
        self.keep_busy(queue, busy)
        self.make_due(queue, due.id)
        assert codes(look(queue)) == []

    def test_p3_a_lease_number_behind_the_history(self, queue):
        queue.push(ready := job(), delayed := job(delay=HOUR))
        for one in (ready, delayed):
            self.record(queue, one.id, 7, "retrying")
        found(queue, "lease_behind", ready.id, delayed.id)
        repaired(queue, "lease_behind")
        assert queue.find(delayed.id).lease_no == 7
        assert claim(queue)[0].lease_no == 8

    def test_p3_a_running_jobs_lease_that_is_recorded_already(self, queue):
        mine, other = push_and_claim(queue), push_and_claim(queue)
        self.record(queue, mine.job_id, mine.lease_no, "retrying")
        self.record(queue, other.job_id, other.lease_no + 3, "retrying")
        found(queue, "lease_behind", mine.job_id, other.job_id)
        look(queue, repair=True)
        found(queue, "lease_behind", mine.job_id, other.job_id)
        assert settle(queue, mine)
        assert settle(queue, other)

    def test_p2_a_job_that_is_over_and_live(self, queue):
        queue.push(one := job(lease_no=1))
        self.record(queue, one.id, 1, "completed")
        found(queue, "ended_but_live", one.id)
        left_alone(queue, "ended_but_live")

    def test_p9_a_dead_letter_whose_job_lives(self, queue):
        mine = push_and_claim(queue)
        settle(queue, mine, Move.DEAD, reason="exhausted")
        letter = self.letter(queue, mine.job_id)
        self.rows_of(DeadLetterJob, queue).delete()
        queue.push(job(id=mine.job_id, lease_no=1))
        letter.save(force_insert=True)
        found(queue, "dead_but_live", mine.job_id)
        left_alone(queue, "dead_but_live")

    def test_what_is_right_at_the_second_look_is_not_told(self, queue, monkeypatch):
        mine = push_and_claim(queue)
        self.expire(queue, mine)
        slept = []
        monkeypatch.setattr("time.sleep", lambda seconds: (slept.append(seconds), queue.reclaim()))
        assert codes(look(queue, patience=2.5)) == []
        assert slept == [2.5]

    def test_of_very_many_the_first_are_kept(self, queue, monkeypatch):
        monkeypatch.setattr("django_jobqueue.monitoring.fsck.MOST", 7)
        mine = claim(queue, 20) if queue.push(*[job() for _ in range(20)]) else []
        self.expire(queue, mine[0])
        [finding] = look(queue).findings
        assert (finding.count, finding.is_capped, len(finding.examples)) == (7, True, 5)
        assert "7 or more (" in str(finding)
        assert ", …)" in str(finding)

    def test_p8_a_running_job_that_was_asked_to_stop_is_in_order(self, queue):
        mine = push_and_claim(queue)
        assert queue.request_cancel(mine.job_id, kill=True)
        assert codes(look(queue, late=0)) == []

    # -- how a store is broken ---------------------------------------------------------------------------------------

    def record(self, queue, job_id, lease_no, outcome):
        self.rows_of(JobHistory, queue).create(
            job_id=job_id,
            lease_no=lease_no,
            attempt=1,
            queue="default",
            task="t",
            outcome=outcome,
            enqueued_at=LONG_AGO,
            finished_at=LONG_AGO,
            store=queue.store,
        )

    def letter(self, queue, job_id):
        return self.rows_of(DeadLetterJob, queue).get(pk=job_id)

    def rows_of(self, model, queue):
        return model._default_manager.using(queue.database)
