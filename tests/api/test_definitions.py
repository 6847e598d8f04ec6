"""How tasks come to be: by Django's own decorator, for other backends, before the apps are ready, twice."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent
from types import ModuleType

import django
import pytest

from django_jobqueue import FixedDelays, JobPayload, get_queue, task
from django_jobqueue.compat import HAS_CORE_TASKS, BaseTask, InvalidTask, InvalidTaskBackend, TaskResultStatus
from django_jobqueue.decorators import Job, JobTask, _register_module
from django_jobqueue.exceptions import UnknownTask
from django_jobqueue.jobs.registry import is_registered, lookup, registered_names
from django_jobqueue.models import DeadLetterJob
from django_jobqueue.models import Job as JobRow
from django_jobqueue.testing import run_all
from tests.api import tasks
from tests.api.backends import OwnTask

if HAS_CORE_TASKS:
    from django.tasks import task as frameworks_task

    DUMMY = "django.tasks.backends.dummy.DummyBackend"
    IMMEDIATE = "django.tasks.backends.immediate.ImmediateBackend"
else:
    from django_tasks import task as frameworks_task

    DUMMY = "django_tasks.backends.dummy.DummyBackend"
    IMMEDIATE = "django_tasks.backends.immediate.ImmediateBackend"
OURS = "django_jobqueue.backends.DatabaseBackend"
forwards_keywords = pytest.mark.skipif(django.VERSION[:2] == (6, 0), reason="Django 6.0's decorator takes no extras")


def double(number: int) -> int:
    return 2 * number


@pytest.fixture(autouse=True)
def registry_as_before(monkeypatch):
    from django_jobqueue.jobs import registry

    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))


@pytest.mark.django_db
class TestFrameworksOwnDecorator:
    @pytest.mark.parametrize("decorate", [frameworks_task, frameworks_task(priority=3, queue_name="other")])
    def test_makes_tasks_of_ours(self, decorate):
        made = decorate(double)
        assert type(made) is JobTask
        result = made.enqueue(21)
        run_all()
        result.refresh()
        assert result.return_value == 42
        assert (result.task.priority, result.task.queue_name) == (made.priority, made.queue_name)

    @forwards_keywords
    def test_takes_our_keywords(self):
        made = frameworks_task(retry=FixedDelays([1]), timeout=3, priority="high", registry_name="double")(double)
        assert (made.retry, made.timeout, made.priority) == (FixedDelays([1]), 3, 50)
        row = JobRow.objects.get(pk=made.enqueue(1).id)
        assert (row.task, row.max_attempts) == ("double", 2)

    @forwards_keywords
    def test_with_the_same_errors(self):
        with pytest.raises(InvalidTask, match="retry must be a strategy"):
            frameworks_task(retry=3)(double)


@pytest.mark.django_db
class TestOtherBackends:
    """A plain task has none of our attributes; ours must not miss them. And ours run anywhere."""

    @pytest.fixture(autouse=True)
    def three_backends(self, settings):
        settings.TASKS = {
            "default": {"BACKEND": DUMMY},
            "ours": {"BACKEND": OURS},
            "now": {"BACKEND": IMMEDIATE},
            "own": {"BACKEND": "tests.api.backends.OwnBackend"},
        }

    def test_a_plain_task_may_be_sent_to_ours(self):
        plain = frameworks_task(double)
        assert type(plain) is BaseTask
        module = ModuleType("shop.tasks")
        module.double = plain
        _register_module(module)
        bound = plain.using(backend="ours", priority=7)
        result = bound.enqueue(21)
        row = JobRow.objects.get(pk=result.id)
        assert (row.task, row.max_attempts, row.priority) == (plain.module_path, 3, 7)
        run_all("ours")
        result.refresh()
        assert (result.return_value, result.task.func, result.task.backend) == (42, double, "ours")
        assert bound.get_result(result.id).task == bound
        assert bound.get_backend().enqueue_many(bound, [[1], {"number": 2}])[1].kwargs == {"number": 2}

    def test_one_that_no_worker_knows_is_a_dead_letter_not_a_loss(self):
        frameworks_task(double).using(backend="ours").enqueue(21)
        run_all("ours")
        assert DeadLetterJob.objects.get().reason == "unknown_task"

    def test_ours_may_be_sent_elsewhere(self):
        assert tasks.give.using(backend="now").enqueue(21).return_value == 21
        assert tasks.give.enqueue(21).status == TaskResultStatus.READY

    def test_our_decorator_says_when_the_backend_is_not_ours(self):
        with pytest.raises(InvalidTask, match=r"TASKS\['now'\] is ImmediateBackend, not a django_jobqueue backend"):
            task(backend="now")(double)
        with pytest.raises(InvalidTask, match=r"TASKS\['now'\] is ImmediateBackend, not a django_jobqueue backend"):
            type("Elsewhere", (Job,), {"handle": double, "__module__": __name__}, backend="now")

    def test_get_queue_says_so_too(self):
        with pytest.raises(InvalidTaskBackend, match=r"TASKS\['now'\] is not a django_jobqueue backend"):
            get_queue("now")
        with pytest.raises(InvalidTaskBackend, match="doesn't exist"):
            get_queue("nowhere")

    def test_a_backend_and_a_task_class_of_ones_own(self):
        made = task(backend="own", owner="me")(double)
        assert type(made) is OwnTask
        assert made.using(priority=3).owner == "me"
        result = made.enqueue(21)
        run_all("own")
        result.refresh()
        assert result.return_value == 42
        assert get_queue("own").alias == "own"


@pytest.mark.django_db
class TestNames:
    def test_a_task_redefined_is_the_new_one(self):
        def made(value):
            def again() -> str:
                return value

            again.__qualname__ = "again"
            return task(again)

        first = made("old")
        waiting = first.enqueue()
        made("new")
        run_all()
        waiting.refresh()
        assert waiting.return_value == "new"

    def test_a_copy_with_other_values_does_not_replace_the_definition(self):
        tasks.named.using(priority=-5, timeout=1)
        definition = lookup("shop.orders.import")
        assert (definition.task, definition.timeout) == (tasks.named, 30)

    def test_a_stored_name_is_looked_up_and_never_imported(self):
        get_queue().push(JobPayload(task="tests.api.not_imported.boom", args='{"args":[],"kwargs":{}}'))
        run_all()
        assert DeadLetterJob.objects.get().reason == "unknown_task"
        assert "tests.api.not_imported" not in sys.modules

    def test_unknown_names_say_what_to_do(self):
        with pytest.raises(UnknownTask, match=r"(?s)was it renamed or removed.*tasks\.py or jobs\.py"):
            lookup("shop.tasks.nothing")

    def test_autodiscovery_found_the_apps_tasks(self):
        assert is_registered("tests.testapp.tasks.add")
        assert registered_names() == sorted(registered_names())


BEFORE_SETUP = """
    import os
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    from decimal import Decimal
    from django_jobqueue import ExponentialBackoff, Job, task

    @task(retry=ExponentialBackoff(max_attempts=2), priority="high")
    def early(): ...

    early.using(priority=3, queue_name="other")

    class Early(Job):
        amount: Decimal
        def handle(self, context): ...

    Early(amount=Decimal(1))
    from django.apps import apps
    assert not apps.ready
    import django
    django.setup()
    from django_jobqueue.jobs.registry import is_registered
    assert is_registered("__main__.early") and is_registered("__main__.Early"), "registered"
    print("fine")
"""


def test_tasks_may_be_decorated_before_the_apps_are_ready(child_env):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(BEFORE_SETUP)],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_importing_the_package_needs_no_settings():
    code = "import django_jobqueue; from django_jobqueue import JobPayload, QueuePriority, ExponentialBackoff, Retry"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60, env={"PATH": ""})
