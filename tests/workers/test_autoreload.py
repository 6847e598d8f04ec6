"""`queue_work --autoreload`: a change of code ends the worker in good order and starts it again."""

from __future__ import annotations

import os
import signal

import pytest

from tests.crash import tasks
from tests.crash.fixtures import on_sqlite
from tests.crash.processes import finish
from tests.waiting import wait_until


@pytest.fixture
def reloading(open_stage):
    """A store with five quick jobs, a slow one and four behind it, and a worker under the autoreloader at the slow one.

    Its settings module is a file that may be changed.
    """
    stage = open_stage()
    stage.push_many(tasks.work, 5, "quick")
    stage.push(tasks.gated, "slow", str(stage.directory / "gate"))
    stage.push_many(tasks.work, 4, "behind")
    source = stage.directory / "reloaded_settings.py"
    source.write_text("from tests.crash.settings import *\n")
    path = os.pathsep.join([str(stage.directory), os.getcwd()])
    conf = {"PREFETCH_SECONDS": 3_600}  # it keeps what it fetched with the slow job
    process = stage.worker("--autoreload", conf=conf, DJANGO_SETTINGS_MODULE=source.stem, PYTHONPATH=path)
    stage.wait_for("start", "slow")
    wait_until(lambda: stage.leases() > 1, "jobs fetched together with the slow one")
    yield stage, source, process
    if process.poll() is None:
        process.terminate()  # not kill: its child would stay
        finish(process)


def touch(source):
    """Newer each time: the reloader looks once a second, and its first look only remembers."""
    moment = source.stat().st_mtime + 10
    os.utime(source, (moment, moment))


@on_sqlite
def test_a_change_of_code_lets_the_job_finish_and_gives_back_the_rest(reloading):
    stage, source, process = reloading
    [slow] = stage.lines("start", "slow")
    wait_until(lambda: touch(source) or stage.workers("stopping"), "it is told to stop")
    assert stage.names("end") == [f"quick{n}" for n in range(5)]
    (stage.directory / "gate").touch()
    wait_until(stage.is_settled)

    assert process.poll() is None
    assert stage.outcomes() == {"completed": 10}
    assert len(stage.lines("start")) == 10
    assert stage.lines("end", "slow")[0].pid == slow.pid
    assert {line.pid for line in stage.lines("end") if line.name.startswith("behind")}.isdisjoint({slow.pid})


@on_sqlite
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_lets_the_job_finish_and_gives_back_the_rest(reloading, number):
    stage, _, process = reloading
    [slow] = stage.lines("start", "slow")
    os.kill(slow.pid, number)  # the child, as Ctrl-C would
    wait_until(lambda: stage.workers("stopping"), "it is told to stop")
    (stage.directory / "gate").touch()
    assert finish(process)[0] == 0

    assert stage.outcomes() == {"completed": 6}
    assert (stage.leases(), stage.live()) == (0, 4)
    assert not stage.attempts_burnt()
