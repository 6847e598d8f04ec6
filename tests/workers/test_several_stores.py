"""`queue_work --backend one --backend other`: a parent, a child for each store, and every way in which they may end."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest
from django.core.management import CommandError, call_command

from tests import proc, servers
from tests.crash import tasks
from tests.crash.fixtures import POSTGRES, REDIS
from tests.crash.processes import Stage, finish, terminate
from tests.waiting import wait_until
from tests.workers.test_supervisor import processes_of

slow = pytest.mark.slow
SEEDS = range(30 if os.environ.get("JOBQUEUE_CRASH_POINTS") == "all" else 4)
on_both = pytest.mark.parametrize("alias", [POSTGRES, REDIS])  # the other one is SQLite
on_redis = pytest.mark.parametrize("alias", [REDIS])


class Pair:
    """SQLite and another store, with one ledger, and one command for both."""

    def __init__(self, open_stage, directory, env, lease, **server):
        self.other = open_stage(lease, **server)
        self.main = Stage("default", directory, env, lease)
        self.stages = (self.main, self.other)
        self.directory = directory
        self._parents = []

    def start(self, *options, **more):
        return self.start_command("--backend", "default", "--backend", self.other.alias, *options, **more)

    def start_command(self, *options, **more):
        single = () if "--processes" in options else ("--processes", "1")
        parent = self.other.start("django", "queue_work", *single, *options, new_session=True, **more)
        self._parents.append(parent.pid)
        return parent

    def start_with(self, settings, *options, **more):
        """With a settings module of the test's own."""
        source = self.directory / "own_settings.py"
        source.write_text(settings)
        path = os.pathsep.join([str(self.directory), os.getcwd()])
        return self.start(*options, DJANGO_SETTINGS_MODULE=source.stem, PYTHONPATH=path, **more)

    def push(self, task, name, *arguments):
        """The job `default-name` into one store, `other-name` into the other."""
        for stage, prefix in zip(self.stages, ("default", "other"), strict=True):
            stage.push(task, f"{prefix}-{name}", *arguments)

    def wait_for(self, event, name):
        return [self.other.wait_for(event, f"{prefix}-{name}")[0] for prefix in ("default", "other")]

    def leases(self):
        return [stage.leases() for stage in self.stages]

    def outcomes(self):
        return [stage.outcomes() for stage in self.stages]

    def close(self):
        """Whatever a test that failed has left: the groups of its commands are theirs alone."""
        for parent in self._parents:
            with suppress(ProcessLookupError):
                os.killpg(parent, signal.SIGKILL)
        self.main.close()

    def is_settled(self):
        return all(stage.is_settled() for stage in self.stages)

    def states(self, *states):
        return [stage.workers(*states) for stage in self.stages]


@pytest.fixture
def open_pair(open_stage, tmp_path, child_env):
    pairs = []

    def open_one(lease=30.0, **server):
        pairs.append(Pair(open_stage, tmp_path, child_env, lease, **server))
        return pairs[0]

    yield open_one
    for pair in pairs:
        pair.close()


# one command for two stores


@slow
@on_both
def test_each_store_has_a_process_of_its_own_and_a_line_in_the_summary(open_pair, alias):
    pair = open_pair()
    for n in range(5):
        pair.push(tasks.work, f"job{n}")
    code, out, err = finish(pair.start("--drain"))
    assert code == 0, err
    assert pair.outcomes() == [{"completed": 5}, {"completed": 5}]
    assert sorted(re.sub(r"^.*:\d+/1 ", "", line) for line in out.splitlines()) == sorted(
        [f"({name}): 5 completed" for name in ("default", alias)]
    )
    by_process = Counter((line.pid, line.name.split("-")[0]) for line in pair.other.lines("end"))
    assert sorted(by_process.values()) == [5, 5]
    assert len({pid for pid, _ in by_process}) == 2


@slow
@on_both
def test_limits_are_for_each_backend(open_pair, alias):
    pair = open_pair()
    for n in range(5):
        pair.push(tasks.work, f"job{n}")
    assert finish(pair.start("--once"))[0] == 0
    assert pair.outcomes() == [{"completed": 1}, {"completed": 1}]
    assert finish(pair.start("--max-jobs", "3"))[0] == 0
    assert pair.outcomes() == [{"completed": 4}, {"completed": 4}]
    comma = pair.start_command("--backend", f"default,{alias}", "--drain", "-v", "0")
    assert finish(comma)[:2] == (0, "")
    assert pair.outcomes() == [{"completed": 5}, {"completed": 5}]


# told to stop


@slow
@on_both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_to_the_parent_drains_every_child(open_pair, number):
    pair = open_pair()
    pair.push(tasks.gated, "slow", str(pair.directory / "gate"))
    parent = pair.start()
    pair.wait_for("start", "slow")
    pair.push(tasks.work, "later")

    parent.send_signal(number)
    wait_until(lambda: pair.states("stopping") == [1, 1], "both were told")
    (pair.directory / "gate").touch()
    code, out, err = finish(parent)

    assert code == 0, err
    assert out.count("1 completed") == 2
    assert pair.outcomes() == [{"completed": 1}, {"completed": 1}]
    assert pair.leases() == [0, 0]
    assert [stage.live() for stage in pair.stages] == [1, 1]
    assert not any(stage.attempts_burnt() for stage in pair.stages)
    assert pair.states("running", "stopping", "dead") == [0, 0]


@slow
@on_both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["systemd", "ctrl-c"])
def test_a_signal_to_the_whole_group_counts_once(open_pair, number):
    """The children hear it twice, from outside and from their parent: the running jobs finish all the same."""
    pair = open_pair()
    pair.push(tasks.gated, "slow", str(pair.directory / "gate"))
    parent = pair.start()
    pair.wait_for("start", "slow")

    os.killpg(parent.pid, number)
    wait_until(lambda: pair.states("stopping") == [1, 1], "both were told")
    (pair.directory / "gate").touch()

    assert finish(parent)[0] == 0
    assert pair.outcomes() == [{"completed": 1}, {"completed": 1}]
    assert pair.leases() == [0, 0]


@slow
@on_both
@pytest.mark.parametrize("is_patient", [True, False], ids=["later", "at-once"])
def test_the_second_signal_gives_the_running_jobs_back(open_pair, is_patient):
    pair = open_pair()
    pair.push(tasks.gated, "slow", str(pair.directory / "never"))
    parent = pair.start()
    pair.wait_for("start", "slow")

    parent.send_signal(signal.SIGTERM)
    if is_patient:
        wait_until(lambda: pair.states("stopping") == [1, 1], "both were told")
    code, _, err = terminate(parent, signal.SIGINT)

    assert code == 0, err
    assert pair.leases() == [0, 0]
    assert pair.outcomes() == [{}, {}]
    assert not any(stage.attempts_burnt() for stage in pair.stages)


@slow
@on_both
@pytest.mark.parametrize("seed", SEEDS)
def test_a_signal_at_any_moment(open_pair, seed):
    pair = open_pair()
    chance = random.Random(seed)
    for stage in pair.stages:
        stage.push_many(tasks.work, 200, stage.alias)
    began = time.monotonic()
    parent = pair.start()
    if seed % 2:  # while they work; else while they start
        pair.other.wait_for("end")
        began = time.monotonic()
    moment = began + chance.uniform(0.05, 0.5)
    wait_until(lambda: time.monotonic() >= moment)
    code, _, err = terminate(parent, *chance.choice([[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]]))

    joined = sum(pair.states("running", "stopping", "stopped", "dead"))
    is_early = code in (-signal.SIGTERM, -signal.SIGINT) or "KeyboardInterrupt" in err  # Python decides, before we do
    assert code == 0 or (is_early and not joined), err
    assert pair.leases() == [0, 0]
    assert pair.states("running", "stopping", "dead") == [0, 0]
    assert not any(stage.attempts_burnt() for stage in pair.stages)
    assert [stage.live() + stage.outcomes()["completed"] for stage in pair.stages] == [200, 200]


@slow
@on_redis
def test_a_signal_in_the_moment_of_the_fork_reaches_the_child(open_pair):
    pair = open_pair()
    pair.push(tasks.gated, "slow", str(pair.directory / "never"))
    code, _, err = finish(pair.start_with(TOLD_AT_THE_FORK))
    assert code == 0, err
    assert pair.leases() == [0, 0]
    assert pair.states("running", "stopping", "dead") == [0, 0]


TOLD_AT_THE_FORK = """
import os, signal
from tests.crash.settings import *

os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
"""


# the parent dies


@slow
@on_both
def test_children_drain_when_their_parent_is_killed(open_pair):
    pair = open_pair()
    pair.push(tasks.gated, "slow", str(pair.directory / "gate"))
    pair.push(tasks.work, "later")
    parent = pair.start()
    pair.wait_for("start", "slow")

    parent.kill()
    wait_until(lambda: pair.states("stopping") == [1, 1], "both have noticed")
    (pair.directory / "gate").touch()
    code, _, err = finish(parent)  # which waits until nobody holds its output any more

    assert code == -signal.SIGKILL
    assert err.count("is gone; it stops") == 2
    assert pair.outcomes() == [{"completed": 1}, {"completed": 1}]
    assert pair.leases() == [0, 0]
    assert pair.states("running", "stopping", "dead") == [0, 0]


@slow
@on_redis
def test_children_of_a_killed_parent_end_at_last_whatever_their_job_does(open_pair):
    pair = open_pair()
    pair.push(tasks.deaf, "mule")
    parent = pair.start_with(IMPATIENT, conf={"SHUTDOWN_GRACE": 0.1})
    pair.wait_for("start", "mule")
    parent.kill()
    finish(parent)
    assert pair.leases() == [0, 0]  # the heart outlives them, and gives back what they held
    assert pair.outcomes() == [{}, {}]
    assert not any(stage.attempts_burnt() for stage in pair.stages)


@slow
@on_redis
def test_children_of_a_killed_parent_end_by_themselves_when_the_heart_is_gone_too(open_pair):
    pair = open_pair()
    pair.push(tasks.deaf, "mule")
    parent = pair.start_with(IMPATIENT, conf={"SHUTDOWN_GRACE": 0.1})
    pair.wait_for("start", "mule")
    heart = processes_of(parent)[0]
    parent.send_signal(signal.SIGSTOP)  # or it would start another one
    os.kill(heart, signal.SIGKILL)
    parent.kill()
    finish(parent)
    assert pair.leases() == [1, 1]  # nobody was left to give them back


IMPATIENT = """
from django.core.checks import register
from tests.crash.settings import *

@register
def shortens_the_last_wait(app_configs, **kwargs):
    from django_jobqueue.workers import child
    child.JOIN_SECONDS = 0.3
    return []
"""


# a child dies


@slow
@on_both
def test_a_child_that_is_killed_is_replaced_ever_more_slowly_and_the_other_works_on(open_pair):
    pair = open_pair()
    parent = pair.start_with(UNSTEADY)
    pair.push(tasks.work, "first")
    untouched, victim = pair.wait_for("end", "first")
    for n in range(3):
        os.kill(victim.pid, signal.SIGKILL)
        pair.push(tasks.work, f"job{n}")
        _, victim = pair.wait_for("end", f"job{n}")
    wait_until(pair.is_settled)
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: not proc.state(victim.pid), "the parent has seen it")
    code, _, err = terminate(parent)  # while nobody serves that store

    assert code == 0, err
    ends = re.findall(rf"The worker of '{pair.other.alias}' was killed by SIGKILL(; again in \S+ s)?\.\n", err)
    assert ends[:3] == ["; again in 0.25 s", "; again in 0.50 s", "; again in 1.00 s"]
    assert ends[3:] in (
        ["; again in 1.00 s"],
        [""],
    )  # reaped a moment before SIGTERM came, or with it: there is no more
    assert "The worker of 'default'" not in err
    assert {line.pid for line in pair.other.lines("end") if line.name.startswith("default")} == {untouched.pid}


UNSTEADY = """
from django.core.checks import register
from tests.crash.settings import *

@register
def takes_no_child_for_steady(app_configs, **kwargs):
    from django_jobqueue.workers import place
    place.STEADY_SECONDS = 3_600.0  # on a busy machine ten go by between two of its deaths
    return []
"""


@slow
@on_redis
def test_a_child_that_is_killed_is_replaced_in_a_drain_too(open_pair):
    pair = open_pair()
    pair.push(tasks.killer, "killer")
    pair.push(tasks.work, "job")
    code, _, err = finish(pair.start_with(UNSTEADY, "--drain"))
    assert code == 0, err
    assert err.count("was killed by SIGKILL; again in 0.25 s") == 2
    assert {line.name for line in pair.other.lines("end")} == {"default-job", "other-job"}


@slow
@on_redis
def test_a_store_that_is_down_at_the_start_holds_up_no_other(open_pair):
    with servers.DurableRedis() as server:
        pair = open_pair(server=server.url)
        pair.other.push(tasks.work, "other-kept")
        server.kill()
        pair.main.push(tasks.work, "default-one")
        parent = pair.start()
        pair.other.wait_for("end", "default-one")
        server.start()
        pair.other.wait_for("end", "other-kept")
        code, _, err = terminate(parent)
        assert pair.outcomes() == [{"completed": 1}, {"completed": 1}]
    assert code == 0, err
    assert "Traceback" not in err


@slow
@on_redis
def test_a_drain_of_a_store_that_is_down_fails_when_the_others_are_done(open_pair):
    with servers.DurableRedis() as server:
        pair = open_pair(server=server.url)
        server.kill()
        pair.main.push(tasks.work, "default-one")
        code, out, err = finish(pair.start("--drain"))
    assert code == 1
    assert "the worker of redis failed" in err
    assert "(default): 1 completed" in out


@slow
@on_redis
def test_a_drain_of_one_store_that_is_down_says_so_in_a_sentence(open_pair):
    with servers.DurableRedis() as server:
        pair = open_pair(server=server.url)
        server.kill()
        code, _, err = finish(pair.start_command("--backend", "redis", "--processes", "0", "--drain"))
    assert code == 1
    assert "CommandError: The store 'redis'" in err
    assert "Traceback" not in err


# a fork


@slow
@on_both
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_connection_crosses_a_fork(open_pair):
    """Neither those that the parent's own checks have opened, nor the threads of a connection pool."""
    pair = open_pair()
    parent = pair.start_with(OPENING)
    pair.push(tasks.work, "job")
    _, child = pair.wait_for("end", "job")
    assert proc.sockets(parent.pid) == set()
    wait_until(lambda: proc.sockets(child.pid), "it has its own")  # else this would see nothing anywhere
    code, _, err = terminate(parent)
    assert code == 0, err
    assert "opened" in err


OPENING = """
import sys
import time
from django.core.cache import caches
from django.core.checks import register
from django.db import connections
from tests.crash.settings import *

if "postgres" in DATABASES:
    DATABASES["postgres"]["OPTIONS"] = {"pool": True}

@register
def opens_what_there_is(app_configs, **kwargs):
    for alias in DATABASES:
        connections[alias].ensure_connection()
    if "redis" in TASKS:
        caches["redis"].get("nothing")
    print("opened", file=sys.stderr)
    return []
"""


# what is refused


def test_what_makes_no_sense_is_refused():
    for words, said in [
        (["--backend", "default,nowhere"], "Entries that will do: default"),
        (["--backend", "default", "--backend", "default"], "twice"),
        (["--backend", "default,other", "--autoreload"], "one backend at a time"),
        (["--backend", "default,other", "--processes", "0"], "works with one"),
        (["--processes", "2", "--autoreload"], "without child processes"),
        (["--processes", "2", "--max-jobs", "3"], "use them without --processes"),
        (["--processes", "0", "--max-lifetime", "1h"], "--max-lifetime is for child processes"),
        (["--drain", "--max-jobs-per-child", "1"], "--max-jobs-per-child is for child processes"),
        (["--once", "--max-memory-per-child", "1G"], "--max-memory-per-child is for child processes"),
        (["--max-memory-per-child", "1000"], "is no size"),
        (["--grace", "soon"], "is no number of seconds"),
        (["--processes", "-1"], "is no whole number"),
    ]:
        with pytest.raises(CommandError, match=said):
            call_command("queue_work", *words)
