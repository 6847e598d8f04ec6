"""A store and the model in memory, driven by the same random verbs, never differ in what can be seen of them.

    JOBQUEUE_MACHINE_STEPS=20000 pytest tests/queues/test_machine.py       # per store; 300 if it is not set

A run is cut into tests of at most 1,000 steps, these into examples of 50 steps; more are made until as many
steps as asked for were really executed. 300 steps are 7 examples (`max_examples`). `-s` shows the count. A failure is
shrunk, and printed as the program that reproduces it.
"""

from __future__ import annotations

import faulthandler
import os
from collections import Counter
from datetime import timedelta
from itertools import count
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import ErrorRecord, Move, Reservation, Room, Settlement, WorkerIdentity, WorkerReport
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.queues.orm import OrmQueue
from tests.queues.hooks import FAR_AHEAD, HOUR, LONG_AGO, Hooks
from tests.queues.orm import OrmContract, clean
from tests.queues.redis_store import RedisContract, audit, empty, open_queue
from tests.queues.test_memory import TestMemoryQueue as MemoryHooks

STEPS = int(os.environ.get("JOBQUEUE_MACHINE_STEPS", "300"))
STEPS_PER_EXAMPLE = 50
PARTS = [min(1_000, STEPS - start) for start in range(0, STEPS, 1_000)]
QUEUES = ["a", "b", "c"]
EVERYTHING = 10_000
ERROR = ErrorRecord("shop.Broken", "it broke: ü €", "Traceback", "f" * 40)

# What must be the same. Times are each store's own, so they are looked at only where the machine set them.
EXECUTION = [
    *("job_id", "lease_no", "attempt", "queue", "task", "args", "priority", "outcome", "result"),
    *("error_class", "error_message", "traceback", "run_ms", "memory_kb", "worker_id"),
]
DEAD_LETTER = [
    *("queue", "task", "args", "priority", "max_attempts", "timeout", "crash_budget"),
    *("unique_key", "concurrency_key", "times_retried"),
    *("attempt", "lease_no", "crashes", "reason", "error_class", "error_message", "traceback", "fingerprint"),
]

some = st.integers(0, 10_000)  # an index into whatever there is, modulo its length
few = st.lists(some, max_size=4)
payloads = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        "priority": st.sampled_from([-100, -50, 0, 0, 0, 50, 100]),
        "unique_key": st.sampled_from([None, None, None, "k1", "k2", "k3"]),
        "max_attempts": st.integers(1, 5),
        "timeout": st.sampled_from([None, 1.5]),
        "crash_budget": st.sampled_from([None, None, 1, 2]),
        "args": st.sampled_from(['{"args":[],"kwargs":{}}', "{broken", ""]),
        "concurrency_key": st.sampled_from(["", "group"]),
        "when": st.sampled_from([None, None, None, "past", "hour", "far"]),
    }
)
moves = st.sampled_from([*Move, Move.COMPLETED, Move.RETRY])
settlements = st.lists(st.tuples(some, moves), min_size=1, max_size=8)
seldom = st.integers(0, 5).map(lambda n: n == 5)
limits = st.sampled_from([0, 1, 2, 3, 5, 8, 40])


class StoreMachine(RuleBasedStateMachine):
    """Every rule asks both stores the same and compares the answers; the invariants compare what is left behind."""

    executed = 0
    database = "default"
    hooks: Hooks = OrmContract()

    def open(self):
        """The store, empty, beside clean tables."""
        return OrmQueue(self.database, database=self.database)

    def __init__(self):
        super().__init__()
        clean(self.database)
        self.store = self.open()
        self.model_hooks = MemoryHooks()
        ticks = count()
        self.model = MemoryQueue(clock=lambda: LONG_AGO + timedelta(days=1, milliseconds=next(ticks)))
        self.payloads: list[JobPayload] = []
        self.workers: list[UUID] = []
        self.leases: list[tuple[Reservation, Reservation]] = []  # the store's and the model's, stale ones too
        self.past = count()
        self.pushed = self.purged = 0
        self.seen_history = self.seen_models = 0
        self.begun = False
        self.touched: set[UUID] = set()

    def both(self, call):
        """The answer of both, which must be one."""
        mine, models = call(self.store), call(self.model)
        assert mine == models
        return mine

    def next_past(self):
        """Due times that are all different and past, so that both stores promote in the same order."""
        return LONG_AGO + timedelta(seconds=next(self.past))

    def pick(self, things, index):
        return things[index % len(things)]

    # -- producers ---------------------------------------------------------------------------------------------------

    def build(self, values):
        when = {"past": {"run_after": self.next_past()}, "hour": {"delay": HOUR}, "far": {"run_after": FAR_AHEAD}}
        payload = JobPayload(
            task=f"task-{len(self.payloads) % 3}",
            **{k: v for k, v in values.items() if k != "when"},
            **when.get(values["when"], {}),
        )
        self.payloads.append(payload)
        return payload

    def push_both(self, batch):
        before = self.model.size()
        self.both(lambda queue: queue.push(*batch))
        self.pushed += self.model.size() - before
        self.touched |= {one.id for one in batch}

    @rule(new=st.lists(payloads, max_size=5), known=few, others=payloads)
    def push(self, new, known, others):
        batch = [self.build(values) for values in new]
        for index in known if self.payloads else ():
            known_one = self.pick(self.payloads, index)
            changed = self.build(others).using(id=known_one.id) if index % 2 else known_one
            batch.insert(index % (len(batch) + 1), changed)
        self.push_both(batch)

    @rule(values=payloads, size=st.integers(20, 90), really=seldom)
    def push_many(self, values, size, really):
        if really:
            self.push_both([self.build({**values, "unique_key": None}) for _ in range(size)])

    @precondition(lambda self: self.model.dead_letters)
    @rule(index=some)
    def revive(self, index):
        self.bring_back(self.pick(sorted(self.model.dead_letters), index))

    def bring_back(self, job_id):
        dead = self.model.dead_letters[job_id]
        if dead.payload.unique_key in {job.payload.unique_key for job in self.model.jobs.values()} - {None}:
            return  # lifecycle/dead_letters.py leaves it where it is
        again = dead.payload.using(
            id=job_id, lease_no=dead.lease_no, times_retried=dead.payload.times_retried + 1, delay=None, run_after=None
        )
        for queue, hooks in ((self.store, self.hooks), (self.model, self.model_hooks)):
            with queue.transaction():
                hooks.drop_dead_letter(queue, job_id)
                assert queue.push(again) == [job_id]
        self.touched.add(job_id)

    @precondition(lambda self: self.payloads)
    @rule(index=some)
    def cancel(self, index):
        job_id = self.pick(self.payloads, index).id
        self.both(lambda queue: queue.cancel(job_id))
        self.touched.add(job_id)

    @precondition(lambda self: self.payloads)
    @rule(index=some, priority=st.sampled_from([-100, 0, 7, 100]))
    def reprioritize(self, index, priority):
        job_id = self.pick(self.payloads, index).id
        self.both(lambda queue: queue.reprioritize(job_id, priority))
        self.touched.add(job_id)

    @rule(queue=st.sampled_from(QUEUES), seconds=st.sampled_from([0, 3600]))
    def age(self, queue, seconds):
        self.both(lambda store: store.age(queue, seconds, 1_000))

    @precondition(lambda self: self.payloads)
    @rule(index=some)
    def run_now(self, index):
        job_id = self.pick(self.payloads, index).id
        self.both(lambda queue: queue.run_now(job_id))
        self.touched.add(job_id)

    @rule(queue=st.sampled_from([*QUEUES, "none", None]), really=seldom)
    def clear(self, queue, really):
        if really:  # or there is never much to see
            recorded = len(self.model.history)
            gone = self.both(lambda store: store.clear(queue))
            self.purged += gone - (len(self.model.history) - recorded)  # one that has run is recorded as cancelled

    @precondition(lambda self: self.delayed())
    @rule(index=some)
    def make_due(self, index):
        job_id, due_at = self.pick(self.delayed(), index), self.next_past()
        self.hooks.make_due(self.store, job_id, due_at)
        self.model_hooks.make_due(self.model, job_id, due_at)
        self.touched.add(job_id)

    def delayed(self):
        return sorted(job_id for job_id, job in self.model.jobs.items() if job.due_at is not None)

    # -- workers -----------------------------------------------------------------------------------------------------

    @initialize(new=st.lists(payloads, min_size=6, max_size=12))
    def begin(self, new):
        """Hypothesis leaves out some of the rules in each example; with this, there is always something to act on."""
        self.join()
        self.push_both([self.build(values) for values in new])
        self.claim_both(QUEUES, 4, self.workers[0])

    @rule()
    def join(self):
        worker = WorkerIdentity(name="w", queues=("a",))
        self.both(lambda queue: queue.join(worker))
        self.workers.append(worker.id)

    def worker(self, index):
        """Mostly one that is alive, now and then one that is gone or never was."""
        alive = [one for one in self.workers if self.model.workers[one].alive]
        return self.pick([*alive * 9, self.workers[0], uuid7()], index)

    @rule(index=some, stopping=st.booleans())
    def heartbeat(self, index, stopping):
        worker = self.worker(index)
        self.both(lambda queue: queue.heartbeat(worker, WorkerReport(stopping=stopping)))

    @rule(index=some, really=seldom)
    def leave(self, index, really):
        worker = self.worker(index)
        if really:
            self.both(lambda queue: queue.leave(worker))

    @rule(index=some, really=seldom)
    def expire_worker(self, index, really):
        if really:
            self.expire(self.pick(self.workers, index))

    def expire(self, worker):
        self.hooks.expire_worker(self.store, worker)
        self.model_hooks.expire_worker(self.model, worker)

    @rule(queue=st.sampled_from(QUEUES), limit=st.integers(1, 3))
    def crash(self, queue, limit):
        """A new worker takes jobs and dies with them."""
        self.join()
        self.claim_both([queue], limit, self.workers[-1])
        self.expire(self.workers[-1])
        self.reclaim()

    @rule()
    def reclaim(self):
        self.both(lambda queue: queue.reclaim())

    @rule(index=some, really=seldom)
    def declare_dead(self, index, really):
        worker = self.worker(index)
        if really:
            self.both(lambda queue: queue.declare_dead(worker))

    @precondition(lambda self: self.running())
    @rule(index=some, kill=st.booleans(), really=seldom)
    def ask_to_stop(self, index, kill, really):
        job_id = self.pick(self.running() if really else self.payloads, index)
        job_id = getattr(job_id, "id", job_id)
        self.both(lambda queue: queue.request_cancel(job_id, kill=kill))
        self.touched.add(job_id)

    def running(self):
        return sorted(job_id for job_id, job in self.model.jobs.items() if job.room is Room.LEASED)

    @invariant()
    def the_same_jobs_are_asked_to_stop(self):
        self.both(lambda queue: queue.cancellations(*self.workers))

    @rule(index=some)
    def look_at_leases(self, index):
        worker = self.worker(index)
        forget = {"created_at": None, "claimed_at": None, "wait_ms": 0}
        self.both(lambda queue: [one._replace(**forget) for one in queue.leases(worker)])

    def compare_claims(self, mine, models, in_turn):
        def order(line):
            return sorted(line, key=lambda one: one.queue) if in_turn else line

        mine, models = order(mine), order(models)
        forget = {"created_at": None, "claimed_at": None, "wait_ms": 0}
        assert [one._replace(**forget) for one in mine] == [one._replace(**forget) for one in models]
        self.leases += zip(mine, models, strict=True)
        self.touched |= {one.job_id for one in mine[:5]}

    @rule(index=some, queues=st.lists(st.sampled_from([*QUEUES, "none"]), max_size=4), limit=limits)
    def reserve(self, index, queues, limit):
        self.claim_both(queues, limit, self.worker(index))

    def claim_both(self, queues, limit, worker):
        limit = limit if queues else EVERYTHING  # whose turn it is is each store's own business
        mine = self.store.reserve(queues, limit, worker)
        self.compare_claims(mine, self.model.reserve(queues, limit, worker), not queues)

    @precondition(lambda self: self.leases)
    @rule(drawn=settlements)
    def settle(self, drawn):
        mine, models = self.batches(drawn)
        assert self.store.settle(mine) == self.model.settle(models)

    @precondition(lambda self: self.leases)
    @rule(drawn=settlements, index=some, queue=st.sampled_from(QUEUES), limit=limits)
    def exchange(self, drawn, index, queue, limit):
        worker = self.worker(index)
        mine, models = self.batches(drawn)
        mine, models = (
            self.store.exchange(mine, [queue], limit, worker),
            self.model.exchange(models, [queue], limit, worker),
        )
        assert mine.settled == models.settled
        self.compare_claims(mine.reservations, models.reservations, in_turn=False)

    def batches(self, drawn):
        """The same settlements with each store's own reservations: most leases are held, some stale or repeated."""
        held = [pair for pair in self.leases if self.is_held(pair[1])]
        mine, models = [], []
        for index, move in drawn:
            pair = self.pick(held if held and index % 5 else self.leases, index)
            # Made due by a rule of its own, as the stores' clocks differ: hence never a short delay.
            rest = {"reason": "exhausted", "delay": HOUR, "result": "7", "run_ms": index, "memory_kb": 5}
            rest["error"] = ERROR if move in (Move.RETRY, Move.DEAD) else ErrorRecord()
            mine.append(Settlement(pair[0], move, **rest))
            models.append(Settlement(pair[1], move, **rest))
            self.touched.add(pair[0].job_id)
        return mine, models

    def is_held(self, reservation):
        job = self.model.jobs.get(reservation.job_id)
        return job is not None and job.room is Room.LEASED and job.lease_no == reservation.lease_no

    @rule(values=payloads, index=some, few_moves=st.lists(moves, min_size=1, max_size=3))
    def work(self, values, index, few_moves):
        """A job runs several times: it is made ready, claimed and settled for each move. The lease before is stale."""
        payload = self.build({**values, "when": None, "unique_key": None, "priority": 100})
        self.push_both([payload])
        for move in few_moves:
            known = len(self.leases)
            self.claim_both([payload.queue], 2, self.worker(index))
            mine = [pair for pair in self.leases if pair[0].job_id == payload.id]
            for pair in [*mine[:-1], *self.leases[known:]]:
                self.settle_both(pair, move, held=pair not in mine[:-1])
            self.both(lambda queue: queue.run_now(payload.id))
            if payload.id in self.model.dead_letters:
                self.bring_back(payload.id)

    def settle_both(self, pair, move, held):
        for store, one in zip((self.store, self.model), pair, strict=True):
            assert store.settle([Settlement(one, move, delay=HOUR, reason="discarded", result="1")]) == [held]
        self.touched.add(pair[0].job_id)

    # -- what can be seen ----------------------------------------------------------------------------------------------

    @invariant()
    def counts_are_the_same(self):
        type(self).executed += self.begun  # what is looked at first is the beginning, before any step
        self.begun = True
        assert [row[:5] for row in self.store.stats()] == [row[:5] for row in self.model.stats()]
        self.both(lambda queue: queue.size())
        self.both(lambda queue: queue.queue_names())

    @invariant()
    def the_next_in_line_is_the_same(self):
        for name in QUEUES:
            self.same_snapshot(self.store.peek(name), self.model.peek(name))

    @invariant()
    def touched_jobs_are_the_same(self):
        for job_id in self.touched:
            self.same_snapshot(self.store.find(job_id), self.model.find(job_id))
        self.touched.clear()

    @invariant()
    def new_history_is_the_same(self):
        new = JobHistory.objects.using(self.database).filter(id__gt=self.seen_history).order_by("id")
        mine = list(new.values_list("id", *EXECUTION))
        models = [tuple(getattr(one, name) for name in EXECUTION) for one in self.model.history[self.seen_models :]]
        assert sorted(row[1:] for row in mine) == sorted(models, key=lambda row: row[:2])
        self.seen_models = len(self.model.history)
        self.seen_history = max([self.seen_history, *(row[0] for row in mine)])

    @invariant()
    def p11_the_account_is_balanced(self):
        outcomes = Counter(one.outcome for one in self.model.history)
        over = outcomes["completed"] + outcomes["cancelled"]
        here = sum(row.ready + row.delayed + row.running + row.dead for row in self.store.stats())
        assert self.pushed == here + over + self.purged

    def same_snapshot(self, mine, models):
        if mine is None or models is None:
            assert mine is models is None
            return
        known_time = mine.due_at is not None and (mine.due_at.year < 2020 or mine.due_at.year > 2100)
        forget = {"created_at": None, "claimed_at": None} | ({} if known_time else {"due_at": None})
        assert mine._replace(**forget) == models._replace(**forget)

    def teardown(self):
        """At the end of an example everything is looked at, not only what was touched."""
        for payload in self.payloads:
            self.same_snapshot(self.store.find(payload.id), self.model.find(payload.id))
        dead = {one.id: one for one in DeadLetterJob.objects.using(self.database)}
        assert dead.keys() == self.model.dead_letters.keys()
        for job_id, letter in dead.items():
            model = self.model_hooks.dead_letter(self.model, job_id)
            assert [getattr(letter, name) for name in DEAD_LETTER] == [getattr(model, name) for name in DEAD_LETTER]
        assert JobHistory.objects.using(self.database).count() == len(self.model.history)
        self.store.close()


class RedisMachine(StoreMachine):
    server = "redis"

    def open(self):
        queue = open_queue(self.server)
        empty(queue)
        return queue

    def teardown(self):
        try:
            audit(self.store)
        finally:
            super().teardown()


def machine(kind, alias, marks=(), **attributes):
    marks = [pytest.mark.django_db(transaction=True, databases=[attributes.get("database", "default")]), *marks]
    return pytest.param(type(kind.__name__, (kind,), attributes), marks=marks, id=alias)


MACHINES = [
    machine(StoreMachine, "default"),
    machine(StoreMachine, "postgres", [pytest.mark.postgres], database="postgres"),
    machine(StoreMachine, "mariadb", [pytest.mark.mariadb], database="mariadb"),
    machine(RedisMachine, "redis", [pytest.mark.redis], server="redis", hooks=RedisContract()),
    machine(RedisMachine, "redis62", [pytest.mark.redis62], server="redis62", hooks=RedisContract()),
]


@pytest.mark.parametrize("steps", PARTS, ids=[f"part {n}" for n in range(1, len(PARTS) + 1)])
@pytest.mark.parametrize("kind", MACHINES)
def test_a_store_and_the_model_never_differ(kind, steps, request):
    class Machine(kind):
        executed = 0

    faulthandler.cancel_dump_traceback_later()  # to shrink a failure may take five minutes
    while (missing := steps - Machine.executed) > 0:
        wanted = settings(
            max_examples=max(1, -(-missing // STEPS_PER_EXAMPLE)),
            stateful_step_count=STEPS_PER_EXAMPLE,
            phases=[Phase.generate, Phase.shrink],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        run_state_machine_as_test(Machine, settings=wanted)
    print(f"{request.node.callspec.id}: {Machine.executed} steps, no difference")
    assert Machine.executed >= steps
