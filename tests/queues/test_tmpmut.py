import pytest
from collections import Counter
from hypothesis import settings, HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test
from django_jobqueue.queues import memory
from django_jobqueue.queues.memory import MemoryQueue, Room
from tests.queues.test_machine import StoreMachine

pytestmark = pytest.mark.django_db(transaction=True, databases=["default"])
seen = Counter()


def m_release(self, job):
    job.room = Room.READY


def m_delay(self, job, due_at, reason):
    job.room, job.due_at, job.reason = Room.DELAYED, due_at, "retry"


_orig_settle = MemoryQueue._settle


def m_fence(self, one, now):
    job = self.jobs.get(one.reservation.job_id)
    if job is not None and job.room is Room.LEASED:
        one = one._replace(reservation=one.reservation._replace(lease_no=job.lease_no))
    return _orig_settle(self, one, now)


_ol = MemoryQueue._lose


def m_lose(self, job):
    seen["lose"] += 1
    if job.crashes >= 1:
        job.crashes -= 1
    _ol(self, job)


_os = MemoryQueue._store


def m_store(self, p):
    r = _os(self, p)
    if p.lease_no and p.id in self.jobs and p.times_retried > 1:
        self.jobs[p.id].lease_no = 0
    return r


def run(n):
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=n,
            stateful_step_count=50,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(
    "name,fn",
    [("_release", m_release), ("_delay", m_delay), ("_settle", m_fence), ("_lose", m_lose), ("_store", m_store)],
)
def test_mut(monkeypatch, name, fn):
    monkeypatch.setattr(MemoryQueue, name, fn)
    StoreMachine.executed = 0
    try:
        run(60)
    except BaseException as e:
        print("KILLED", name, "after", StoreMachine.executed, type(e).__name__)
        return
    pytest.fail("survived " + name)


def test_coverage(monkeypatch):
    out = Counter()

    def counting(self, one, now):
        r = _orig_settle(self, one, now)
        out[str(one.move), r] += 1
        return r

    monkeypatch.setattr(MemoryQueue, "_settle", counting)
    for n in ("_lose", "_release", "_line_up", "_bury", "_lease", "_store"):

        def w(self, *a, _o=getattr(MemoryQueue, n), _n=n, **k):
            out[_n] += 1
            return _o(self, *a, **k)

        monkeypatch.setattr(MemoryQueue, n, w)
    rv = StoreMachine.revive
    StoreMachine.executed = 0
    run(20)
    print(StoreMachine.executed, sorted(out.items(), key=str))
