"""Whether and when a failed job runs again, and how often it ran in all."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from django_jobqueue import FixedDelays, JobPayload, NoRetry, Retry, RetryStrategy, Snooze, get_queue, task
from django_jobqueue.compat import TaskResultStatus
from django_jobqueue.lifecycle.outcomes import MAX_DELAY_SECONDS
from django_jobqueue.models import DeadLetterJob, DelayedJob, Job, JobHistory
from django_jobqueue.testing import run_all
from tests.api import tasks

pytestmark = pytest.mark.django_db


def delay_of(result):
    """Seconds until a waiting job is due, from the end of its last run."""
    due = DelayedJob.objects.get(job_id=result.id)
    last = JobHistory.objects.filter(job_id=result.id).latest("lease_no")
    return (due.due_at - last.finished_at).total_seconds()


def make_due():
    queue = get_queue()
    for job_id in list(DelayedJob.objects.values_list("job_id", flat=True)):
        queue.run_now(job_id)


def run_to_the_end():
    ran = run_all()
    while DelayedJob.objects.exists():
        make_due()
        ran += run_all()
    return ran


class TestHowOften:
    @pytest.mark.parametrize(
        ("strategy", "runs"),
        [(NoRetry(), 1), (FixedDelays([0]), 2), (FixedDelays([0, 0, 0]), 4), (None, 3)],
        ids=["none", "one more", "three more", "the default"],
    )
    def test_exactly_max_attempts(self, strategy, runs):
        made = task(retry=strategy, name="counted")(tasks.fail.func)
        result = made.enqueue()
        ran = run_to_the_end()
        result.refresh()
        assert len(ran) == runs == result.attempts == len(result.errors)
        letter = DeadLetterJob.objects.get()
        assert (letter.reason, letter.attempt, letter.max_attempts) == ("exhausted", runs, runs)
        assert list(JobHistory.objects.order_by("lease_no").values_list("attempt", "outcome")) == [
            *((n, "retrying") for n in range(1, runs)),
            (runs, "failed"),
        ]

    def test_the_projects_own_default(self, settings):
        settings.JOBQUEUE = {"RETRY": FixedDelays([0])}
        task(name="counted")(tasks.fail.func).enqueue()
        assert len(run_to_the_end()) == 2

    def test_it_counts_for_jobs_of_a_task_that_was_enqueued_before_it_changed(self, settings):
        changing = task(name="changing")(tasks.fail.func)
        changing.enqueue()
        settings.JOBQUEUE = {"RETRY": FixedDelays([0, 0, 0, 0])}
        changing.enqueue()
        assert sorted(Job.objects.values_list("max_attempts", flat=True)) == [3, 5]

    def test_a_payloads_own_number_is_never_exceeded(self):
        get_queue().push(JobPayload.create(tasks.succeed_at, [9], max_attempts=2))
        assert len(run_to_the_end()) == 2
        assert DeadLetterJob.objects.get().attempt == 2

    def test_success_ends_it(self):
        tasks.succeed_at.enqueue(2)
        assert [one.status for one in run_to_the_end()] == [TaskResultStatus.READY, TaskResultStatus.SUCCESSFUL]
        assert not DeadLetterJob.objects.exists()


class TestOnlyAndNever:
    @pytest.mark.parametrize(
        ("failing", "kind", "runs"),
        [
            (tasks.only_connection_errors, "connection", 5),
            (tasks.only_connection_errors, "reset", 5),  # a subclass
            (tasks.only_connection_errors, "value", 1),
            (tasks.never_lookup_errors, "value", 5),
            (tasks.never_lookup_errors, "key", 1),
        ],
    )
    def test_the_exception_decides(self, failing, kind, runs):
        failing.enqueue(kind)
        run_to_the_end()
        assert [kind] * runs == tasks.CALLS
        assert DeadLetterJob.objects.get().reason == "exhausted"


class TestRetryRaised:
    @pytest.mark.parametrize(
        ("in_", "seconds"), [(5, 5), (0.5, 0.5), (timedelta(minutes=2), 120), (None, 600), (-3, 0)]
    )
    def test_after_so_long_else_as_the_strategy_says(self, in_, seconds):
        made = task(retry=FixedDelays([600]), name="asks")(ask_now)
        result = made.enqueue(in_.total_seconds() if isinstance(in_, timedelta) else in_, isinstance(in_, timedelta))
        run_job_once()
        assert delay_of(result) == pytest.approx(seconds, abs=0.5)
        result.refresh()
        assert (result.status, result.errors[0].exception_class) == (TaskResultStatus.READY, Retry)
        assert "busy" in result.errors[0].traceback

    def test_it_spends_an_attempt_and_the_last_one_is_dead(self):
        tasks.ask_for_retry.enqueue(0)
        run_to_the_end()
        assert tasks.CALLS == [1, 2, 3]
        letter = DeadLetterJob.objects.get()
        assert (letter.reason, letter.error_message) == ("exhausted", "the other side is busy")

    @pytest.mark.parametrize("in_", [float("inf"), 1e300, float("nan")])
    def test_no_delay_is_beyond_the_databases_dates(self, in_):
        made = task(retry=FixedDelays([600]), name="asks")(ask_far_away)
        result = made.enqueue(repr(in_))
        run_job_once()
        assert delay_of(result) == pytest.approx(0 if in_ != in_ else MAX_DELAY_SECONDS, abs=1)

    def test_a_subclass_that_forgot_to_call_its_base(self):
        made = task(retry=FixedDelays([600]), name="forgetful")(raise_forgetful)
        retries, snoozes = made.enqueue("retry"), made.enqueue("snooze")
        run_job_once()
        run_job_once()
        assert delay_of(retries) == pytest.approx(600, abs=1)
        assert delay_of(snoozes) == pytest.approx(0, abs=1)


class TestDiscard:
    def test_is_dead_whatever_attempts_are_left(self):
        result = tasks.discard.enqueue()
        run_to_the_end()
        assert tasks.CALLS == ["discard"]
        letter = DeadLetterJob.objects.get()
        assert (letter.reason, letter.error_message, letter.attempt) == ("discarded", "the customer is gone", 1)
        result.refresh()
        assert result.status == TaskResultStatus.FAILED


class TestSnooze:
    def test_gives_its_attempt_back(self):
        result = tasks.snooze.enqueue(3600, times=3)
        run_all()
        assert delay_of(result) == pytest.approx(3600, abs=0.5)
        result.refresh()
        assert (result.status, result.attempts, result.errors) == (TaskResultStatus.READY, 0, [])
        run_to_the_end()
        assert tasks.CALLS == [1, 1, 1, 1]
        result.refresh()
        assert (result.return_value, result.attempts) == (1, 1)
        outcomes = JobHistory.objects.order_by("lease_no").values_list("attempt", "lease_no", "outcome")
        assert list(outcomes) == [(1, n, "snoozed") for n in (1, 2, 3)] + [(1, 4, "completed")]

    def test_may_be_said_more_often_than_there_are_attempts(self):
        tasks.snooze.enqueue(0, times=20)
        run_to_the_end()
        assert tasks.CALLS == [1] * 21
        assert not DeadLetterJob.objects.exists()

    def test_between_two_failures_the_count_goes_on(self):
        made = task(retry=FixedDelays([0, 0]), takes_context=True, name="mixed")(fail_snooze_fail)
        made.enqueue()
        run_to_the_end()
        assert tasks.CALLS == [1, 2, 2, 3]

    def test_a_job_whose_worker_was_lost_keeps_its_attempt_too(self):
        from django_jobqueue.queues.base import WorkerIdentity

        queue, worker = get_queue(), WorkerIdentity(name="w")
        result = tasks.attempt.enqueue()
        queue.join(worker)
        queue.pop((), worker.id)
        silence(worker)
        assert queue.reclaim() == 1
        run_all()
        assert tasks.CALLS == [(1, TaskResultStatus.RUNNING, 1)]
        result.refresh()
        assert (result.attempts, len(result.errors)) == (1, 1)
        assert result.started_at < result.last_attempted_at


class Broken(RetryStrategy):
    max_attempts = 3

    def __init__(self, should_retry, delay):
        self._should_retry, self._delay = should_retry, delay

    def should_retry(self, attempt, exception):
        return self._should_retry()

    def delay(self, attempt, random):
        return self._delay()


def boom():
    raise RuntimeError("strategy")


def leave():
    raise SystemExit("strategy")


class TestStrategyOfTheProject:
    @pytest.mark.parametrize("broken", [boom, leave], ids=["error", "exit"])
    @pytest.mark.parametrize("failing", [tasks.fail.func, tasks.ask_for_retry.func])
    def test_one_that_raises_does_not_decide_that_a_job_is_lost(self, broken, failing, caplog):
        made = task(retry=Broken(broken, broken), name="broken", takes_context=failing is tasks.ask_for_retry.func)(
            failing
        )
        result = made.enqueue(None)
        run_job_once()
        assert 13 <= delay_of(result) <= 15.5  # the default's first
        assert "The retry strategy of broken failed" in caplog.text
        assert len(run_to_the_end()) == 2
        assert DeadLetterJob.objects.get().attempt == 3

    @pytest.mark.parametrize(
        ("given", "least", "most"),
        [
            (timedelta(days=-1), 0, 0.5),
            (timedelta.max, MAX_DELAY_SECONDS - 1, MAX_DELAY_SECONDS + 1),
            (None, 13, 15.5),
            (5, 13, 15.5),
        ],
    )
    def test_one_whose_delay_is_none_or_none_there_is(self, given, least, most):
        made = task(retry=Broken(lambda: True, lambda: given), name="odd")(tasks.fail.func)
        result = made.enqueue()
        run_job_once()
        assert least <= delay_of(result) <= most


def ask_now(in_, as_span):
    raise Retry(timedelta(seconds=in_) if as_span else in_, reason="busy")


def ask_far_away(in_):
    raise Retry(in_=float(in_))


class ForgetfulRetry(Retry):
    def __init__(self):
        pass


class ForgetfulSnooze(Snooze):
    def __init__(self):
        pass


def raise_forgetful(kind):
    raise {"retry": ForgetfulRetry, "snooze": ForgetfulSnooze}[kind]()


def fail_snooze_fail(context):
    tasks.CALLS.append(context.attempt)
    if len(tasks.CALLS) == 2:
        raise Snooze(0)
    raise ValueError(len(tasks.CALLS))


def run_job_once():
    """One execution, whatever is due after it."""
    import time

    from django_jobqueue.queues.base import WorkerIdentity
    from django_jobqueue.workers.executor import Executor

    queue, worker = get_queue(), WorkerIdentity(name="once")
    queue.join(worker)
    job = queue.pop((), worker.id)
    assert job is not None
    assert queue.settle([Executor(queue, worker.id).run(job, time.monotonic())]) == [True]
    queue.leave(worker.id)


def silence(worker):
    from django_jobqueue.models import WorkerProcess

    assert isinstance(worker.id, UUID)
    WorkerProcess.objects.filter(pk=worker.id).update(expires_at=timezone.now() - timedelta(minutes=1))
