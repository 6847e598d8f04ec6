"""P4: what an atomic job writes and its completion are one fenced transaction: both are stored once, or neither is."""

from __future__ import annotations

import time
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_jobqueue import FixedDelays, Job, JobPayload, NoRetry, get_queue, task
from django_jobqueue.compat import InvalidTask, JobContext, task_finished
from django_jobqueue.exceptions import JobQueueError, LeaseLost
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import Move, WorkerIdentity
from django_jobqueue.testing import run_all
from django_jobqueue.workers.alarm import alarm
from django_jobqueue.workers.atomically import Completion, Stored
from django_jobqueue.workers.executor import Executor
from django_jobqueue.workers.timeouts import Timeouts
from django_jobqueue.workers.worker import Limits, Worker
from tests.queues.hooks import claim_one, settle
from tests.workers import jobs

hooks = {}


def write(alias):
    Group.objects.using(alias).create(name=f"effect {uuid4()}")


@task(atomic=True, retry=FixedDelays([0]))
def transfer(alias):
    write(alias)
    return hooks["body"]() if "body" in hooks else "done"


@task(takes_context=True, retry=FixedDelays([0]))
def in_parts(context, alias):
    with context.complete_in_transaction() as completion:
        write(alias)
        completion.result = hooks["inside"]() if "inside" in hooks else "done"
    return hooks["after"]() if "after" in hooks else "is not stored"


BOTH = [transfer, in_parts]
both = pytest.mark.parametrize("job", BOTH, ids=lambda one: one.func.__name__)


class Bench:
    """A worker's executor on the store in one database."""

    def __init__(self, alias):
        self.alias = alias
        self.queue = get_queue(alias)
        self.worker = self.joined()

    def joined(self):
        worker = WorkerIdentity(name="bench")
        self.queue.join(worker)
        return worker.id

    def push(self, job):
        return self.queue.push(JobPayload.create(job, (self.alias,)))[0]

    def run(self):
        """The settlement of the next job, as the executor leaves it."""
        job = self.queue.pop((), self.worker)
        return Executor(self.queue, self.worker).run(job, time.monotonic())

    def effects(self):
        return Group.objects.using(self.alias).filter(name__startswith="effect").count()

    def outcomes(self, job_id):
        rows = JobHistory.objects.using(self.alias).filter(job_id=job_id).order_by("lease_no")
        return list(rows.values_list("outcome", flat=True))


def on(alias):
    return pytest.param(alias, marks=pytest.mark.django_db(transaction=True, databases={"default", alias}))


STORES = [on("default"), on("postgres"), on("mariadb")]


@pytest.fixture(params=STORES)
def bench(request):
    hooks.clear()
    yield Bench(request.param)
    hooks.clear()


@both
def test_p4_work_and_completion_are_stored_together(bench, job):
    job_id, told = bench.push(job), []
    hooks["body"] = hooks["inside"] = lambda: {"seen": len(told)}
    task_finished.connect(lambda **_: told.append(connections[bench.alias].in_atomic_block), weak=False, dispatch_uid=1)
    try:
        settlement = bench.run()
    finally:
        task_finished.disconnect(dispatch_uid=1)
    assert isinstance(settlement, Stored)
    assert told == [False], "the end is told after the commit"
    assert (bench.effects(), bench.queue.size(), bench.outcomes(job_id)) == (1, 0, ["completed"])
    assert JobHistory.objects.using(bench.alias).get().result == '{"seen":0}'
    assert not settle(bench.queue, settlement.reservation)


@both
def test_p4_a_job_that_fails_leaves_nothing_and_is_tried_again(bench, job):
    def fail():
        raise ValueError("no")

    job_id = bench.push(job)
    hooks["body"] = hooks["inside"] = fail
    settlement = bench.run()
    assert not isinstance(settlement, Stored)
    assert (settlement.move, bench.effects()) == (Move.RETRY, 0)
    assert bench.queue.settle([settlement]) == [True]
    hooks.clear()
    assert isinstance(bench.run(), Stored)
    assert (bench.effects(), bench.outcomes(job_id)) == (1, ["retrying", "completed"])


@both
@pytest.mark.parametrize("way", ["declare_dead", "leave"])
def test_p4_a_worker_that_lost_its_lease_keeps_nothing_of_it(bench, job, way):
    """The lease is gone when the job is done: its settlement finds no row, and everything is rolled back."""
    job_id = bench.push(job)
    job_ = bench.queue.pop((), bench.worker)
    getattr(bench.queue, way)(bench.worker)
    settlement = Executor(bench.queue, bench.worker).run(job_, time.monotonic())
    assert settlement.move is Move.RELEASED
    assert bench.queue.settle([settlement]) == [False]
    assert (bench.effects(), bench.queue.size()) == (0, 1)
    bench.worker = bench.joined()
    assert isinstance(bench.run(), Stored)
    assert bench.effects() == 1
    assert bench.outcomes(job_id)[-1] == "completed"


@both
def test_p4_a_zombie_that_ends_after_its_successor_changes_nothing(bench, job):
    job_id = bench.push(job)
    old = bench.queue.pop((), bench.worker)
    bench.queue.declare_dead(bench.worker)
    zombie, bench.worker = bench.worker, bench.joined()
    assert isinstance(bench.run(), Stored)
    settlement = Executor(bench.queue, zombie).run(old, time.monotonic())
    assert bench.queue.settle([settlement]) == [False]
    assert (bench.effects(), bench.outcomes(job_id)) == (1, ["lost", "completed"])


@both
def test_p4_a_result_that_cannot_be_stored_takes_the_work_with_it(bench, job):
    bench.push(job)
    hooks["body"] = hooks["inside"] = object
    settlement = bench.run()
    assert (settlement.move, settlement.reason, bench.effects()) == (Move.DEAD, "result_invalid", 0)


def swallow(alias):
    try:
        with transaction.atomic(using=alias, savepoint=False):
            connections[alias].cursor().execute("SELECT nonsense")
    except Exception:
        pass


@both
@pytest.mark.parametrize(
    "spoil", [swallow, lambda alias: transaction.set_rollback(True, using=alias)], ids=["error", "set_rollback"]
)
def test_p4_a_transaction_that_will_be_rolled_back_completes_nothing(bench, job, spoil):
    """Django rolls it back without a word at its end, which must not pass for a commit."""
    bench.push(job)
    hooks["body"] = hooks["inside"] = lambda: spoil(bench.alias)
    settlement = bench.run()
    assert (settlement.move, bench.effects()) == (Move.RETRY, 0)
    assert settlement.error.class_path == "django.db.transaction.TransactionManagementError"
    assert bench.queue.settle([settlement]) == [True]


@both
@pytest.mark.parametrize("bench", [on("default"), on("mariadb")], indirect=True)
def test_p4_a_transaction_that_ended_under_the_job_completes_nothing(bench, job):
    """As after a deadlock whose error the job caught: the next statement begins another. PostgreSQL begins none."""
    bench.push(job)
    hooks["body"] = hooks["inside"] = lambda: connections[bench.alias].connection.rollback()
    settlement = bench.run()
    assert (settlement.move, bench.effects()) == (Move.RETRY, 0)
    assert settlement.error.class_path == "django.db.transaction.TransactionManagementError"
    assert bench.queue.settle([settlement]) == [True]


def test_p4_without_autocommit_nothing_would_be_committed(bench):
    """The block's end would be no commit: the worker believes in a completion that nobody has stored."""

    @contextmanager
    def off():
        connections[bench.alias].set_autocommit(False)
        try:
            yield
        finally:
            connections[bench.alias].rollback()
            connections[bench.alias].set_autocommit(True)

    bench.push(in_parts)
    job = bench.queue.pop((), bench.worker)
    with off():
        settlement = Executor(bench.queue, bench.worker).run(job, time.monotonic())
    assert settlement.move is Move.RETRY
    assert "autocommit is off" in settlement.error.message


@both
def test_p4_what_is_done_after_the_commit_cannot_undo_it(bench, job, caplog):
    def fail():
        raise ValueError("too late")

    job_id = bench.push(job)
    hooks["body"] = hooks["inside"] = lambda: transaction.on_commit(fail, using=bench.alias)
    assert isinstance(bench.run(), Stored)
    assert (bench.effects(), bench.outcomes(job_id)) == (1, ["completed"])
    assert "after it had completed" in caplog.text


def test_p4_what_a_job_does_after_its_transaction_is_not_tried_again(bench, caplog):
    def fail():
        raise ValueError("too late")

    job_id = bench.push(in_parts)
    hooks["after"] = fail
    assert isinstance(bench.run(), Stored)
    assert (bench.effects(), bench.outcomes(job_id)) == (1, ["completed"])
    assert JobHistory.objects.using(bench.alias).get().result == '"done"'


@pytest.mark.parametrize("step", ["begin", "savepoint"])
def test_p5_a_database_that_is_away_when_it_should_begin_costs_no_attempt(bench, monkeypatch, step):
    job_id = bench.push(transfer)

    def refuse(*_):
        raise OperationalError("the connection is gone")

    job = bench.queue.pop((), bench.worker)
    with monkeypatch.context() as patch:
        if step == "begin":
            patch.setattr(bench.queue, "transaction", refuse)
        else:
            patch.setattr(Completion, "_set_mark", refuse)
        settlement = Executor(bench.queue, bench.worker).run(job, time.monotonic())
    assert settlement.move is Move.RELEASED
    assert bench.queue.settle([settlement]) == [True]
    assert isinstance(bench.run(), Stored)
    assert (bench.effects(), bench.outcomes(job_id)) == (1, ["completed"])


@both
@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "not stored"])
def test_p4_a_commit_whose_answer_was_lost_is_settled_by_the_fence(bench, job, monkeypatch, is_stored):
    """Nobody knows whether it was stored; the lease does: the failure that is told next is true or changes nothing."""
    job_id = bench.push(job)
    connection = connections[bench.alias]
    commit = type(connection)._commit

    def lose(self):
        monkeypatch.undo()
        if is_stored:
            commit(self)
        raise OperationalError("the connection is gone")

    def prepare():
        monkeypatch.setattr(type(connection), "_commit", lose)

    hooks["body"] = hooks["inside"] = prepare
    settlement = bench.run()
    hooks.clear()
    assert settlement.move is Move.RETRY
    assert bench.queue.settle([settlement]) == [not is_stored]
    if not is_stored:
        assert bench.effects() == 0
        assert isinstance(bench.run(), Stored)
    assert bench.effects() == 1
    assert bench.outcomes(job_id)[-1] == "completed"


@both
def test_p8_asked_to_stop_too_late(bench, job):
    """The request is stored with the lease, and the completion takes it with it."""
    job_id = bench.push(job)
    job_ = bench.queue.pop((), bench.worker)
    assert bench.queue.request_cancel(job_id)
    assert isinstance(Executor(bench.queue, bench.worker).run(job_, time.monotonic()), Stored)
    assert (bench.effects(), bench.outcomes(job_id)) == (1, ["completed"])


@both
def test_a_worker_counts_it(bench, job):
    for _ in range(3):
        bench.push(job)
    counters = Worker(bench.queue, (), Limits(drain=True)).run()
    assert (counters.completed, counters.lost, bench.queue.size()) == (3, 0, 0)


def test_other_jobs_pay_nothing_for_it(bench):
    """A job that completes by itself asks the database nothing; one in a transaction has that, and its settlement."""
    bench.queue.push(JobPayload.create(jobs.record, ("x",)))
    bench.push(transfer)
    first, second = bench.queue.reserve((), 2, bench.worker)
    executor = Executor(bench.queue, bench.worker)
    with CaptureQueriesContext(connections[bench.alias]) as queries:
        executor.run(first, time.monotonic())
    assert len(queries) == 0
    with CaptureQueriesContext(connections[bench.alias]) as queries:
        executor.run(second, time.monotonic())
    assert len(queries) <= 14


# what is refused


@task(takes_context=True, retry=NoRetry())
def twice(context):
    with context.complete_in_transaction():
        pass
    with context.complete_in_transaction():
        pass


@task(takes_context=True, retry=NoRetry())
def within(context):
    with transaction.atomic(), context.complete_in_transaction():
        pass


@pytest.mark.django_db(transaction=True)
def test_a_transaction_of_the_job_itself_would_decide_over_the_completion():
    bench = Bench("default")
    bench.queue.push(JobPayload.create(within))
    settlement = bench.run()
    assert settlement.move is Move.DEAD
    assert "a transaction is open" in settlement.error.message


@pytest.mark.django_db(transaction=True)
def test_it_completes_once(caplog):
    bench = Bench("default")
    bench.queue.push(JobPayload.create(twice))
    assert isinstance(bench.run(), Stored)
    assert "has completed already" in caplog.text


@pytest.mark.django_db
def test_in_a_test_case_it_works_as_everywhere():
    hooks.clear()
    transfer.enqueue("default")
    in_parts.enqueue("default")
    hooks["after"] = lambda: None
    assert [result.return_value for result in run_all()] == ["done", "done"]
    assert Group.objects.filter(name__startswith="effect").count() == 2


async def slow():
    pass


def nothing():
    pass


def test_a_coroutine_is_refused():
    with pytest.raises(InvalidTask, match="coroutine"):
        task(slow, atomic=True)


@pytest.mark.redis
def test_a_store_that_is_no_database_is_refused_where_the_task_is_defined():
    with pytest.raises(InvalidTask, match="atomic=True needs jobs that live in the database"):
        task(nothing, atomic=True, backend="redis")
    with pytest.raises(InvalidTask, match="atomic=True needs"):
        transfer.using(backend="redis")


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
@both
def test_and_where_one_got_there_all_the_same(job):
    """Pushed past the task: nothing of it runs."""
    get_queue("redis").connection.client.flushdb()
    bench = Bench("redis")
    bench.queue.push(JobPayload.create(job, ("default",), max_attempts=1))
    settlement = bench.run()
    assert settlement.move is Move.DEAD
    assert "don't live in a database" in settlement.error.message
    assert Group.objects.filter(name__startswith="effect").count() == 0


# on_crash


@task(on_crash="dead")
def once_at_most():
    pass


class Careful(Job, on_crash="dead", atomic=True):
    def handle(self, context):
        pass


@pytest.mark.django_db
@pytest.mark.parametrize("one", [once_at_most, Careful()], ids=["task", "typed"])
def test_p5_a_job_that_must_not_run_twice_is_dead_when_its_worker_died(one):
    result = one.enqueue()
    queue = get_queue()
    worker = WorkerIdentity()
    queue.join(worker)
    claim_one(queue, worker.id)
    queue.declare_dead(worker.id)
    letter = DeadLetterJob.objects.get()
    assert (str(letter.pk), letter.reason, letter.crashes, letter.crash_budget) == (result.id, "worker_lost", 1, 1)


@pytest.mark.django_db
def test_on_crash_can_be_chosen_for_one_job():
    result = transfer.using(on_crash="dead").enqueue("default")
    queue = get_queue()
    worker = WorkerIdentity()
    queue.join(worker)
    claim_one(queue, worker.id)
    queue.declare_dead(worker.id)
    assert str(DeadLetterJob.objects.get().pk) == result.id


def test_on_crash_knows_two_words():
    with pytest.raises(InvalidTask, match="on_crash must be one of retry, dead"):
        task(nothing, on_crash="ignore")


def test_a_context_without_a_job_completes_nothing():
    with pytest.raises(RuntimeError, match="no job"):
        JobContext(task_result=None).complete_in_transaction()


def test_the_error_is_ours():
    assert issubclass(LeaseLost, JobQueueError)


def test_a_commit_has_the_time_of_its_job_and_can_only_be_killed(bench):
    """What runs after the commit is the project's: it may hang."""
    seen, at_commit = [], []
    job_id = bench.queue.push(JobPayload.create(transfer, (bench.alias,), timeout=60.0))[0]
    hooks["body"] = lambda: transaction.on_commit(lambda: at_commit.append(seen[-1]), using=bench.alias)
    with alarm:
        executor = Executor(bench.queue, bench.worker, timeouts=Timeouts(alarm, seen.append))
        assert isinstance(executor.run(bench.queue.pop((), bench.worker), time.monotonic()), Stored)
        assert alarm._next() is None
    assert [deadline.job_id for deadline in at_commit] == [job_id]
    assert seen[-1] is None
