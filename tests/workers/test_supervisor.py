"""`queue_work --processes N`: a parent, its heart and its children, and every way in which they may end."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import supervisor
from django_jobqueue.workers.board import Board
from django_jobqueue.workers.place import Place
from tests import proc
from tests.crash import tasks
from tests.crash.fixtures import POSTGRES, REDIS, SQLITE
from tests.crash.processes import terminate
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")]
on_most = pytest.mark.parametrize("alias", [SQLITE, POSTGRES, REDIS])
on_servers = pytest.mark.parametrize("alias", [POSTGRES, REDIS])
on_sqlite = pytest.mark.parametrize("alias", [SQLITE])
on_postgres = pytest.mark.parametrize("alias", [POSTGRES])
SHORT = 2.5
"""A lease that a test waits for: long enough that those who beat for it may be kept waiting for a second or two."""


def processes_of(parent):
    """The heart, which is started first, and the children: pids in the order of their start."""
    return proc.children(parent.pid)


def both_at_work(stage):
    """Two jobs that run at the same time, in two children: their lines in the ledger."""
    gate = stage.directory / "gate"
    for n in range(2):
        stage.push(tasks.gated, f"slow{n}", str(gate))
    return gate, stage.wait_for("start", count=2)


# children


@on_most
def test_children_share_the_work_and_are_workers_with_names_of_their_own(crew):
    stage, parent = crew()
    gate, lines = both_at_work(stage)
    assert len({line.pid for line in lines}) == 2
    wait_until(lambda: stage.workers("running") == 2, "both are known")
    gate.touch()
    code, out, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 2}
    assert {re.search(r"/(\d) ", line)[1] for line in out.splitlines()} == {"1", "2"}
    assert re.search(rf":{parent.pid}/1 \({stage.alias}\): ", out)
    assert stage.workers("running", "stopping", "dead") == 0
    assert stage.leases() == 0


@on_servers
def test_the_parent_has_no_thread_and_no_socket(crew, alias):
    """Though it has asked the store before it forked, as a system check of the project may."""
    stage, parent = crew(settings=ASKING.format(alias=alias))
    _, lines = both_at_work(stage)
    assert proc.sockets(parent.pid) == set()
    assert proc.sockets(lines[0].pid)  # else this would see nothing anywhere
    wait_until(lambda: proc.sockets(processes_of(parent)[0]), "the heart speaks with the store")
    assert len(list(Path(f"/proc/{parent.pid}/task").iterdir())) == 1


ASKING = """\
from tests.crash.settings import *

from django.core.checks import register


@register()
def ask(app_configs, **more):
    from django_jobqueue.queues import get_queue

    get_queue({alias!r}).stats()
    return []
"""


# a child dies


@on_most
def test_what_a_killed_child_held_is_taken_back_long_before_its_lease_ends(crew):
    stage, parent = crew(lease=3_600.0)
    gate, lines = both_at_work(stage)
    os.kill(lines[0].pid, signal.SIGKILL)
    again = stage.wait_for("start", lines[0].name, count=2)[1]
    gate.touch()
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 2, "lost": 1}
    assert "Took 1 jobs back" in err
    assert again.pid != lines[0].pid


@on_most
def test_a_job_that_kills_its_child_again_and_again_is_buried_by_its_budget(crew):
    stage, parent = crew(lease=3_600.0)
    job_id = stage.push(tasks.killer, "killer")
    stage.push(tasks.work, "innocent")
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.dead()[job_id].reason == "worker_lost"
    assert stage.names("start").count("killer") == 3
    assert stage.names("end") == ["innocent"]


@on_sqlite
def test_a_job_that_ends_its_process_as_if_all_were_well_is_charged_like_any_killer(crew):
    stage, parent = crew(lease=3_600.0)
    job_id = stage.push(tasks.killer, "quitter", "exit 0")
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.dead()[job_id].reason == "worker_lost"
    assert stage.names("start").count("quitter") == 3


@on_sqlite
def test_a_process_that_does_not_end_when_its_worker_has_is_replaced(crew):
    options = "--max-jobs-per-child", "1", "--grace", "0.2"
    stage, parent = crew(*options, processes=1, settings=LEFT_TO_THE_PARENT)
    stage.push(tasks.leaves_a_thread, "litter")
    stage.push(tasks.work, "next")
    stage.wait_for("end", "next")
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 2}


LEFT_TO_THE_PARENT = """
from django.core.checks import register
from tests.crash.settings import *

@register
def leaves_it_to_the_parent(app_configs, **kwargs):
    from django_jobqueue.workers import child, supervisor
    child.LINGER_SECONDS, supervisor.FINISH_SECONDS = 3_600.0, 3.0  # time enough to store what its job came to
    return []
"""


@on_sqlite
def test_a_process_that_a_job_has_forked_ends_when_the_job_tells_it_to(crew):
    stage, parent = crew(processes=1)
    stage.push(tasks.ends_its_process, "forker")
    stage.wait_for("end", "forker")
    terminate(parent)


@on_sqlite
def test_a_child_that_dies_while_the_parent_stands_still_loses_its_lease(crew):
    stage, parent = crew(lease=SHORT)
    gate, lines = both_at_work(stage)
    os.kill(parent.pid, signal.SIGSTOP)
    os.kill(lines[0].pid, signal.SIGKILL)
    gate.touch()
    stage.wait_for("end", lines[0].name)  # by the other child
    wait_until(stage.is_settled)
    os.kill(parent.pid, signal.SIGCONT)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 2, "lost": 1}


def test_a_parent_that_stops_does_not_spin_for_a_child_that_it_will_not_start(monkeypatch):
    waits = []
    monkeypatch.setattr(supervisor, "wait", lambda sentinels, seconds: waits.append(seconds))
    parent = supervisor.Supervisor()
    parent._heart.start_at = None
    parent._places = [Place("default", 1)]
    parent._wait()
    parent._told = 1
    parent._wait()
    assert waits == [0.0, supervisor.LOOK_SECONDS]


def test_a_fork_that_fails_is_tried_again_ever_more_slowly_and_leaves_nothing_open(monkeypatch, caplog):
    def refuse():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    parent, place = supervisor.Supervisor(), Place("default", 1)
    parent._board, parent._places = Board(["default"]), [place]
    parent._stations = {"default": supervisor.Station(MemoryQueue(), lambda *_: None)}
    before = set(proc.open_files(os.getpid()))
    for _ in range(6):
        place.start_at = parent._heart.start_at = 0.0
        parent._start_due(supervisor._fork_context())
    pauses = re.findall(r"A process could not be started .*; again in (\S+) s", caplog.text)
    assert pauses[::2] == pauses[1::2] == ["0.25", "0.50", "1.00", "2.00", "4.00", "4.00"]
    assert not {file for file in proc.open_files(os.getpid()) if file.startswith("pipe:")} - before
    assert (place.process, place.slot, parent._board.slots[0].is_free) == (None, None, True)


@on_sqlite
def test_a_command_that_can_fork_nothing_for_a_while_works_when_it_can(crew):
    stage, parent = crew(settings=STINGY)
    stage.push(tasks.work, "job")
    stage.wait_for("end", "job")
    code, _, err = terminate(parent)
    assert code == 0, err
    assert err.count("A process could not be started") == 4


STINGY = """
import errno, os
from tests.crash.settings import *

fork, refused = os.fork, iter(range(4))

def fork_at_last():
    if next(refused, None) is not None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()

os.fork = fork_at_last
"""


# the heart


@on_servers
def test_a_job_that_never_lets_go_of_the_gil_keeps_its_lease(crew):
    stage, parent = crew(lease=SHORT)
    job_id = stage.push(tasks.hog, "hog", 6)
    stage.wait_for("end", "hog")
    wait_until(stage.is_settled)
    terminate(parent)
    assert stage.names("start") == ["hog"]
    assert stage.outcomes(job_id) == {"completed": 1}


@on_most
def test_without_its_heart_a_child_keeps_itself_alive_and_the_heart_is_replaced(crew):
    stage, parent = crew(lease=SHORT)
    gate, lines = both_at_work(stage)
    killed = 0
    for _ in range(4):  # until more than a lease has passed
        heart = processes_of(parent)
        heart = next(pid for pid in heart if pid not in {line.pid for line in lines})
        os.kill(heart, signal.SIGKILL)
        killed += 1
        wait_until(lambda heart=heart: not proc.state(heart) and len(processes_of(parent)) == 3, "another heart")
    gate.touch()
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert err.count("The heart was killed by SIGKILL") == killed
    assert stage.outcomes() == {"completed": 2}


# the parent dies


@on_most
def test_orphans_drain_and_keep_their_leases_meanwhile(crew):
    stage, parent = crew(lease=SHORT)
    gate, lines = both_at_work(stage)
    stage.push(tasks.work, "later")
    heart = processes_of(parent)[0]
    parent.send_signal(signal.SIGSTOP)  # or it would start another one
    os.kill(heart, signal.SIGKILL)
    parent.kill()
    parent.wait()
    rival = stage.worker()
    stage.wait_for("end", "later")  # so the rival is at work, and would take what it may
    joined = lines[0].time
    wait_until(lambda: time.monotonic() > joined + 2.2 * SHORT, "several leases")
    gate.touch()
    wait_until(stage.is_settled)
    terminate(rival)
    assert stage.outcomes() == {"completed": 3}
    wait_until(lambda: not any(proc.state(line.pid) for line in lines))
    assert stage.leases() == 0


@on_most
def test_an_orphan_that_never_lets_go_of_the_gil_keeps_its_lease_and_is_killed_at_last(crew):
    """It can't stop, nor beat, nor end itself: the heart does it for it, and gives the job back."""
    stage, parent = crew("--grace", "1", lease=SHORT, settings=LONELY)
    job_id = stage.push(tasks.hog, "hog", 60)
    hog = stage.wait_for("start", "hog")[0].pid
    heart = processes_of(parent)[0]
    parent.kill()
    parent.wait()
    wait_until(lambda: not proc.state(hog), "it is gone")
    wait_until(lambda: not proc.state(heart), "and so is the heart")
    assert (stage.leases(), stage.outcomes(job_id), stage.live()) == (0, {}, 1)
    assert not stage.attempts_burnt()
    assert stage.workers("running", "stopping", "dead") == 0


@on_sqlite
def test_an_orphan_is_killed_at_its_hard_deadline(crew):
    stage, parent = crew(lease=3_600.0, conf=SOON)
    job_id = stage.push(tasks.hog, "hog", 60, timeout=0.5, max_attempts=1)
    stage.wait_for("start", "hog")
    parent.kill()
    parent.wait()
    wait_until(stage.is_settled, "its time is up")
    assert stage.dead()[job_id].reason == "expired"


LONELY = """
from django.core.checks import register
from tests.crash.settings import *

@register
def shortens_the_last_wait(app_configs, **kwargs):
    from django_jobqueue.workers import child
    child.JOIN_SECONDS = 2.0
    return []
"""


# stopping


@on_most
def test_a_job_that_will_not_end_costs_its_process_and_no_attempt(crew):
    stage, parent = crew("--grace", "0.2", lease=3_600.0, settings=IMPATIENT)
    stage.push(tasks.deaf, "mule")
    stage.wait_for("start", "mule")
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.leases() == 0
    assert stage.live() == 1
    assert not stage.outcomes()
    assert not stage.attempts_burnt()
    assert stage.workers("running", "stopping") == 0


IMPATIENT = """
from django.core.checks import register
from tests.crash.settings import *

@register
def shortens_the_last_wait(app_configs, **kwargs):
    from django_jobqueue.workers import supervisor
    supervisor.LAST_SECONDS = supervisor.FINISH_SECONDS = 0.3
    return []
"""


# a job that won't end

SOON = {"KILL_AFTER": 0.3}


@on_most
def test_a_job_past_its_hard_deadline_is_killed_and_runs_again_by_its_policy_or_is_dead(crew):
    stage, parent = crew(lease=3_600.0, conf=SOON)
    job_id = stage.push(tasks.hog, "hog", 60, timeout=0.2, max_attempts=2)
    stage.push(tasks.work, "innocent")
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.names("start").count("hog") == 2
    assert stage.outcomes(job_id) == {"retrying": 1, "failed": 1}
    letter = stage.dead()[job_id]
    assert (letter.reason, letter.crashes, letter.attempt) == ("expired", 0, 2)
    assert "had to be killed" in letter.error_message
    assert err.count("won't end") == 2
    assert stage.names("end") == ["innocent"]


@on_most
def test_jobs_that_were_fetched_with_it_pay_nothing(crew):
    """The child can't give them back by itself: it never gets the GIL."""
    stage, parent = crew(lease=3_600.0, processes=1, conf=SOON | {"PREFETCH_SECONDS": 3_600})
    wait_until(lambda: stage.workers("running"), "it hears signals by now")
    os.kill(parent.pid, signal.SIGUSR1)
    wait_until(lambda: stage.workers("quiet"), "it takes none alone")
    for n in range(5):  # so that it learns to fetch several at once
        stage.push(tasks.work, f"quick{n}")
    hog = stage.push(tasks.hog, "hog", 60, timeout=0.2, max_attempts=1)
    behind = stage.push_many(tasks.work, 6, "behind")
    os.kill(parent.pid, signal.SIGUSR2)
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.history().filter(job_id__in=behind, lease_no__gt=1), "fetched together with the hog"
    assert stage.dead()[hog].reason == "expired"
    for job_id in behind:
        assert stage.outcomes(job_id) == {"completed": 1}
    assert not stage.attempts_burnt()


@on_most
def test_jobs_that_were_fetched_with_a_killer_and_not_started_pay_nothing(crew):
    stage, parent = crew(lease=3_600.0, processes=1, conf={"PREFETCH_SECONDS": 3_600})
    wait_until(lambda: stage.workers("running"), "it hears signals by now")
    os.kill(parent.pid, signal.SIGUSR1)
    wait_until(lambda: stage.workers("quiet"), "it takes none alone")
    for n in range(5):  # so that it learns to fetch several at once
        stage.push(tasks.work, f"quick{n}")
    killer = stage.push(tasks.killer, "killer")
    behind = stage.push_many(tasks.work, 6, "behind")
    os.kill(parent.pid, signal.SIGUSR2)
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    taken = [int(count) for count in re.findall(r"Took (\d+) jobs back", err)]
    assert max(taken) > 1, "fetched together with the killer"
    assert stage.outcomes(killer) == {"lost": 3}
    for job_id in behind:
        assert stage.outcomes(job_id) == {"completed": 1}


@on_most
def test_a_cancelled_job_that_never_lets_go_of_the_gil_costs_its_process_and_never_runs_again(crew):
    stage, parent = crew(lease=3_600.0, conf=SOON)
    job_id = stage.push(tasks.hog, "hog", 60)
    stage.wait_for("start", "hog")
    assert stage.queue.request_cancel(job_id, kill=True)
    wait_until(stage.is_settled)
    stage.push(tasks.work, "next")
    stage.wait_for("end", "next")
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes(job_id) == {"cancelled": 1}
    assert stage.names("start").count("hog") == 1
    assert "can't be stopped" in err


@on_most
def test_a_cancelled_job_that_swallows_what_is_raised_in_it_is_killed_at_the_deadline_its_child_has_published(crew):
    """The heart settles it as expired, to be tried again; the store has the last word: it was asked to stop."""
    stage, parent = crew(lease=3_600.0, conf=SOON)
    job_id = stage.push(tasks.deaf, "deaf", max_attempts=5)
    stage.wait_for("start", "deaf")
    assert stage.queue.request_cancel(job_id, kill=True)
    wait_until(stage.is_settled)
    stage.push(tasks.work, "next")
    stage.wait_for("end", "next")
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes(job_id) == {"cancelled": 1}
    assert stage.names("start").count("deaf") == 1
    assert not stage.dead()


@on_most
def test_a_child_that_is_frozen_loses_its_lease_and_writes_nothing_when_it_wakes(crew):
    stage, parent = crew(lease=SHORT)
    gate, lines = both_at_work(stage)
    frozen = lines[0]
    stage.freeze(frozen.pid)
    gate.touch()
    stage.wait_for("end", frozen.name)  # by the other child: the lease is over
    wait_until(stage.is_settled)
    os.kill(frozen.pid, signal.SIGCONT)
    stage.wait_for("end", frozen.name, count=2)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 2, "lost": 1}
    assert stage.leases() == 0
