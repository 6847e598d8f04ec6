from __future__ import annotations

import json

import pytest

from django_jobqueue.jobs.status import TRANSITIONS, JobStatus


def test_the_words_are_the_specifications():
    words = "pending processing completed failed retrying cancelled expired"
    assert [str(status) for status in JobStatus] == words.split()
    assert json.dumps(JobStatus.PENDING) == '"pending"'


def test_every_status_says_what_may_follow():
    assert set(TRANSITIONS) == set(JobStatus)


@pytest.mark.parametrize("status", JobStatus)
def test_nothing_becomes_itself(status):
    assert not status.can_become(status)


@pytest.mark.parametrize("status", [status for status in JobStatus if not status.is_final])
def test_whatever_is_not_final_can_be_run_and_can_end(status):
    """No dead ends: from every live status a job can reach each way of ending."""
    reached, todo = set(), [status]
    while todo:
        here = todo.pop()
        if here not in reached:
            reached.add(here)
            todo += TRANSITIONS[here]
    assert reached == set(JobStatus)


def test_final_statuses_leave_only_by_an_operators_retry():
    """P9: what is in the dead letters can come back; P8: what was cancelled never runs."""
    assert {status for status in JobStatus if status.is_final} == {"completed", "failed", "cancelled", "expired"}
    assert TRANSITIONS[JobStatus.COMPLETED] == TRANSITIONS[JobStatus.CANCELLED] == frozenset()
    assert TRANSITIONS[JobStatus.FAILED] == TRANSITIONS[JobStatus.EXPIRED] == {JobStatus.PENDING}


def test_only_a_running_job_completes():
    assert [status for status in JobStatus if status.can_become(JobStatus.COMPLETED)] == [JobStatus.PROCESSING]


def test_plain_words_are_understood():
    assert JobStatus.PENDING.can_become("processing")
    assert not JobStatus.PENDING.can_become("no such word")
