"""P8: a pending job never runs once cancelled; a running one is told, wherever it is just then."""

from __future__ import annotations

from uuid import UUID

import pytest

from django_jobqueue import Cancellation, cancel, get_queue
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.lifecycle.cancelling import cancel_in
from django_jobqueue.models import JobHistory
from django_jobqueue.queues.base import Move
from django_jobqueue.queues.memory import MemoryQueue
from tests.api.tasks import echo
from tests.queues.hooks import HOUR, claim, job, joined, push_and_claim, settle

pytestmark = pytest.mark.django_db


def test_by_its_result_its_id_or_the_text_of_it():
    results = [echo.enqueue(n) for n in range(3)]
    ways = [results[0], results[1].id, UUID(results[2].id)]
    assert [cancel(way) for way in ways] == [Cancellation.CANCELLED] * 3
    assert not cancel(results[0])
    assert claim(get_queue(), 5) == []
    assert set(JobHistory.objects.values_list("outcome", flat=True)) == {"cancelled"}


def test_what_waits_is_over_what_runs_is_told_the_rest_is_nothing():
    queue = get_queue()
    worker = joined(queue)
    runs, over, dead = (push_and_claim(queue, worker) for _ in range(3))
    settle(queue, over)
    settle(queue, dead, Move.DEAD, reason="exhausted")
    later = job(delay=HOUR)
    queue.push(later)
    ids = [later.id, runs.job_id, over.job_id, dead.job_id, uuid7()]
    assert [cancel_in(queue, one) for one in ids] == ["cancelled", "asked", "", "", ""]
    assert queue.cancellations(worker) == {runs.job_id: False}
    assert cancel(runs.job_id, kill=True)
    assert queue.cancellations(worker) == {runs.job_id: True}


def test_what_is_no_id_is_refused():
    with pytest.raises(ValueError, match="badly formed"):
        cancel("seven")


class Moving(MemoryQueue):
    """A store whose job moves between two questions."""

    def __init__(self, moves):
        super().__init__()
        self.moves = moves

    def cancel(self, job_id):
        answer = super().cancel(job_id)
        if self.moves:
            self.moves.pop(0)()
        return answer


def test_a_job_that_fails_between_the_two_questions_is_found_in_the_line_again():
    """It ran when `cancel` looked, and waits for its retry when it is asked to stop: the second look finds it."""
    queue = Moving([])
    mine = push_and_claim(queue)
    queue.moves = [lambda: settle(queue, mine, Move.RETRY, delay=HOUR)]
    assert cancel_in(queue, mine.job_id) is Cancellation.CANCELLED
    assert queue.size() == 0


def test_a_job_that_starts_between_the_two_questions_is_told():
    queue = Moving([])
    payload = job()
    worker = joined(queue)
    queue.push(payload)
    queue.cancel = lambda job_id: not claim(queue, 1, worker)  # it waited, and has just been claimed
    assert cancel_in(queue, payload.id) is Cancellation.ASKED
    assert queue.cancellations(worker) == {payload.id: False}


def test_a_job_that_moves_for_ever_is_given_up():
    queue = Moving([])
    mine = push_and_claim(queue)
    worker = joined(queue)
    asked = []

    def dodge(job_id, kill=False):
        asked.append(job_id)
        return False

    queue.request_cancel = dodge
    assert cancel_in(queue, mine.job_id) is Cancellation.NOTHING
    assert len(asked) == 3
    assert queue.leases(worker) == []


@pytest.mark.parametrize("kill", [False, True])
def test_told_and_then_retried_never_runs_again(kill):
    queue = get_queue()
    mine = push_and_claim(queue, max_attempts=5)
    assert cancel(mine.job_id, kill=kill) is Cancellation.ASKED
    assert settle(queue, mine, Move.RETRY, delay=0)
    assert claim(queue, 5) == []
    assert JobHistory.objects.get().outcome == "cancelled"
