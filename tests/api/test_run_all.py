"""`run_all`, in the projects' own tests: in a TestCase, in a TransactionTestCase, whatever the jobs do."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import TestCase, TransactionTestCase

from django_jobqueue import FixedDelays, NoRetry, get_queue, task
from django_jobqueue.compat import InvalidTaskBackend, TaskResultStatus
from django_jobqueue.models import DeadLetterJob, DelayedJob, Job, JobHistory, JobLock, WorkerProcess
from django_jobqueue.testing import run_all
from tests.api import tasks


@task(retry=NoRetry())
def add_group(name: str) -> None:
    Group.objects.create(name=name)


@task(retry=NoRetry())
def break_the_transaction(name: str, *, caught: bool = False) -> str:
    Group.objects.create(name="written before")
    try:
        Group.objects.create(name=name)  # taken already
    except IntegrityError:
        if not caught:
            raise
    return "caught"


@task(retry=NoRetry())
def broken_statement(*, caught: bool = False) -> str:
    Group.objects.create(name="written before")
    try:
        with connection.cursor() as cursor:
            cursor.execute("this is no SQL")
    except DatabaseError:
        if not caught:
            raise
    return "caught"


@task(retry=NoRetry())
def leave_open(how: str) -> None:
    if how == "atomic":
        transaction.atomic().__enter__()
    elif how == "two atomics":
        transaction.atomic().__enter__()
        transaction.atomic(savepoint=False).__enter__()
    elif how == "rollback":
        transaction.atomic().__enter__()
        transaction.set_rollback(True)
    elif how == "autocommit":
        transaction.set_autocommit(False)
    Group.objects.create(name=f"left open by {how}")


@task(retry=NoRetry())
def durable() -> str:
    with transaction.atomic(durable=True):
        return "durable"


@task
def on_commit(message: str, *, fail: bool) -> None:
    transaction.on_commit(partial(tasks.CALLS.append, message))
    if fail:
        Group.objects.create(pk="no number")


def group_names():
    return sorted(Group.objects.values_list("name", flat=True))


class InATestCase(TestCase):
    def test_everything_due_runs_and_the_results_are_in_order(self):
        results = [tasks.give.enqueue(n) for n in range(3)]
        tasks.give.using(run_after=timedelta(hours=1)).enqueue("later")
        urgent = tasks.give.using(priority="critical").enqueue("first")
        ran = run_all()
        assert [one.id for one in ran] == [urgent.id, *(one.id for one in results)]
        assert [one.return_value for one in ran] == ["first", 0, 1, 2]
        assert run_all() == []
        assert DelayedJob.objects.count() == 1

    def test_jobs_of_jobs_run_too(self):
        tasks.enqueue_another.enqueue()
        assert [one.return_value for one in run_all()] == [None, 42]

    def test_a_retry_that_is_due_later_stays(self):
        result = tasks.fail_later.enqueue()
        assert [one.status for one in run_all()] == [TaskResultStatus.READY]
        assert run_all() == []
        assert str(DelayedJob.objects.get().job_id) == result.id

    def test_a_job_that_breaks_the_transaction_loses_its_own_writes_only(self):
        Group.objects.create(name="taken")
        dead, good = break_the_transaction.enqueue("taken"), add_group.enqueue("after")
        run_all()
        assert group_names() == ["after", "taken"]
        dead.refresh()
        good.refresh()
        assert dead.errors[0].exception_class is IntegrityError
        assert good.status == TaskResultStatus.SUCCESSFUL

    def test_even_when_it_catches_what_it_broke(self):
        Group.objects.create(name="taken")
        result = break_the_transaction.enqueue("taken", caught=True)
        run_all()
        result.refresh()
        assert result.return_value == "caught"
        assert "taken" in group_names()

    def test_a_job_that_only_fails_keeps_its_writes_as_in_a_worker(self):
        writes_then_fails.enqueue()
        run_all()
        assert group_names() == ["written"]

    def test_blocks_left_open_are_closed(self):
        for how in ("atomic", "two atomics", "rollback"):
            leave_open.enqueue(how)
            add_group.enqueue(f"after {how}")
        run_all()
        assert group_names() == ["after atomic", "after rollback", "after two atomics"]
        assert connection.in_atomic_block
        assert not connection.needs_rollback

    def test_durable_blocks_work(self):
        result = durable.enqueue()
        run_all()
        result.refresh()
        assert result.return_value == "durable"

    def test_what_was_to_be_done_on_commit_is_forgotten_with_the_writes(self):
        on_commit.enqueue("kept", fail=False)
        on_commit.enqueue("forgotten", fail=True)
        with self.captureOnCommitCallbacks(execute=True):
            run_all()
        assert tasks.CALLS == ["kept"]

    def test_keyboard_interrupt_passes_through_and_the_job_is_given_back(self):
        result = tasks.interrupt.enqueue()
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):
                run_all()
        assert (get_queue().find(Job.objects.get().pk).attempt, Job.objects.count()) == (0, 1)
        assert not JobLock.objects.exists()
        assert not JobHistory.objects.exists()
        result.refresh()
        assert (result.status, result.attempts) == (TaskResultStatus.READY, 0)

    def test_jobs_that_enqueue_each_other_for_ever_are_stopped(self):
        tasks.enqueue_myself.enqueue()
        with pytest.raises(RuntimeError, match="run_all ran 30 jobs and there are more"):
            run_all(max_jobs=30)
        assert JobHistory.objects.count() == 30
        assert Job.objects.count() == 1
        assert not JobLock.objects.exists()

    def test_so_are_jobs_that_put_themselves_off_for_no_time(self):
        tasks.snooze.enqueue(0, times=1_000)
        with pytest.raises(RuntimeError, match="for ever"):
            run_all(max_jobs=30)

    def test_exactly_max_jobs_is_fine(self):
        tasks.give.enqueue_many([[1]] * 3)
        assert len(run_all(max_jobs=3)) == 3

    def test_no_worker_is_left_behind(self):
        tasks.fail.enqueue()
        run_all()
        assert set(WorkerProcess.objects.values_list("name", "state")) == {("run_all", "stopped")}

    def test_an_unknown_backend(self):
        with pytest.raises(InvalidTaskBackend):
            run_all("nowhere")


@task(retry=NoRetry(), name="writes_then_fails")
def writes_then_fails() -> None:
    Group.objects.create(name="written")
    raise ValueError("after the write")


class InATransactionTestCase(TransactionTestCase):
    def test_jobs_run_in_autocommit(self):
        for job in (break_the_transaction, add_group):
            Group.objects.filter(name="written before").delete()
            job.enqueue("taken")
            run_all()
        assert group_names() == ["taken"]

    def test_blocks_left_open_are_closed(self):
        for how in ("atomic", "two atomics", "rollback", "autocommit"):
            leave_open.enqueue(how)
            add_group.enqueue(f"after {how}")
            run_all()
        assert group_names() == ["after atomic", "after autocommit", "after rollback", "after two atomics"]
        assert JobHistory.objects.count() == 8
        assert connection.get_autocommit()

    def test_in_a_block_of_the_test_it_is_as_in_a_testcase(self):
        Group.objects.create(name="taken")
        with transaction.atomic():
            break_the_transaction.enqueue("taken")
            add_group.enqueue("after")
            run_all()
        assert group_names() == ["after", "taken"]
        assert DeadLetterJob.objects.count() == 1

    def test_on_commit_happens_at_once(self):
        on_commit.enqueue("done", fail=False)
        run_all()
        assert tasks.CALLS == ["done"]

    def test_keyboard_interrupt(self):
        tasks.interrupt.enqueue()
        with pytest.raises(KeyboardInterrupt):
            run_all()
        assert get_queue().find(Job.objects.get().pk).attempt == 0


@pytest.mark.django_db(databases=["default", "postgres"])
class TestOnPostgres:
    """PostgreSQL refuses everything after a failed statement, until the savepoint is rolled back."""

    @pytest.mark.parametrize("caught", [False, True])
    def test_a_broken_statement_in_a_testcase(self, caught):
        made = task(retry=FixedDelays([600]), backend="postgres", name="breaks")(break_on_postgres)
        broken, good = made.enqueue(caught=caught), made.using(priority=-1).enqueue(sql="SELECT 1")
        run_all("postgres")
        broken.refresh()
        good.refresh()
        assert good.status == TaskResultStatus.SUCCESSFUL
        assert broken.status == (TaskResultStatus.SUCCESSFUL if caught else TaskResultStatus.READY)


def break_on_postgres(sql: str = "this is no SQL", *, caught: bool = False) -> None:
    from django.db import connections

    try:
        with connections["postgres"].cursor() as cursor:
            cursor.execute(sql)
    except DatabaseError:
        if not caught:
            raise
