"""What once went wrong between a job's end and its next beginning."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_jobqueue.backends import DatabaseBackend
from django_jobqueue.compat import TaskResultStatus
from django_jobqueue.lifecycle.dead_letters import let_go, retry, revive
from django_jobqueue.models import DeadLetterJob, Job
from django_jobqueue.queues import get_queue
from tests.lifecycle.letters import die, write_history
from tests.testapp.tasks import noop

on_all = pytest.mark.parametrize(
    "alias",
    [
        pytest.param(one, marks=pytest.mark.django_db(transaction=True, databases=[one]))
        for one in ("default", "postgres", "mariadb")
    ],
)


@on_all
def test_a_letter_whose_id_is_over_for_good_stays_where_it_is(alias):
    """The push answered with its id, as for any that is known, and the letter was gone without a new run."""
    queue = get_queue(alias)
    letter, other = die(queue), die(queue)
    write_history(alias, job_id=letter.id, lease_no=9, outcome="completed")
    done = revive(queue, [letter.id, other.id])
    assert done.revived == [other.id]
    assert "has ended since" in done.refused[letter.id]
    assert [one.id for one in DeadLetterJob.objects.using(alias).all()] == [letter.id]
    assert queue.find(letter.id) is None


@on_all
@pytest.mark.parametrize("act", [retry, let_go])
def test_only_deaths_of_that_moment_or_before_are_meant(alias, act):
    queue = get_queue(alias)
    letter = die(queue)
    assert act(queue, [letter.id], died_before=letter.failed_at - timedelta(microseconds=1)) == []
    assert DeadLetterJob.objects.using(alias).count() == 1
    assert act(queue, [letter.id], died_before=letter.failed_at) == [letter.id]


@pytest.mark.django_db
def test_a_holder_that_is_gone_before_it_is_asked_for_is_a_result_all_the_same(monkeypatch):
    """The push had answered with its id; asking for its result raised in the caller's request."""
    found = DatabaseBackend.get_result

    def remove_first(self, result_id):
        get_queue().clear()
        return found(self, result_id)

    monkeypatch.setattr(DatabaseBackend, "get_result", remove_first)
    once = noop.using(unique_key="k")
    holder = once.enqueue("first")
    second = once.enqueue("second")
    assert (second.id, second.status) == (holder.id, TaskResultStatus.READY)
    assert not Job.objects.exists()
