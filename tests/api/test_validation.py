"""What a task may be: every rule that Django's documentation and own tests set, with Django's own words."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from django_jobqueue import ExponentialBackoff, QueuePriority, RetryStrategy, task
from django_jobqueue.compat import BaseTask, InvalidTask, InvalidTaskBackend, task_backends
from django_jobqueue.exceptions import InvalidPayload
from tests.api import tasks

BACKEND = "django_jobqueue.backends.DatabaseBackend"
NOT_A_PRIORITY = "priority must be a whole number between -100 and 100"
ONE_QUEUE = {"default": {"BACKEND": BACKEND, "QUEUES": ["queue-1"]}}


def one(context: Any = None, *args: Any) -> None: ...


def two(number: int) -> None: ...


class TestFunction:
    def test_it_stands_at_module_level(self):
        def nested() -> None: ...

        for wrong in (nested, lambda: None, self.test_it_stands_at_module_level, any, partial(two, 1), TestFunction):
            with pytest.raises(InvalidTask, match="Task function must be defined at a module level"):
                task(wrong)

    def test_one_that_takes_context_calls_it_so(self):
        with pytest.raises(InvalidTask, match="does not have a first argument of 'context'"):
            task(takes_context=True)(two)
        task(takes_context=True)(one)

    def test_run_after_is_no_business_of_the_decorator(self):
        with pytest.raises(TypeError, match="run_after cannot be defined statically"):
            task(run_after=timezone.now())(two)

    def test_unknown_keywords_are_refused(self):
        with pytest.raises(TypeError, match="prioritty"):
            task(prioritty=3)(two)

    def test_decorated_bare_or_with_arguments_it_is_a_task_of_the_framework(self):
        assert isinstance(task(two), BaseTask)
        assert isinstance(task()(two), BaseTask)
        assert tasks.echo.name == "echo"
        assert tasks.echo.module_path == "tests.api.tasks.echo"
        assert isinstance(tasks.echo.get_backend(), type(task_backends["default"]))

    def test_it_can_be_called_in_place(self):
        assert tasks.meaning_of_life.call() == 42
        assert tasks.meaning_of_life_async.call() == 42
        assert async_to_sync(tasks.meaning_of_life.acall)() == 42
        assert async_to_sync(tasks.meaning_of_life_async.acall)() == 42

    def test_a_name_too_long_for_its_column_is_refused(self):
        with pytest.raises(InvalidTask, match="255 characters"):
            task(name="n" * 256)(two)


class TestPriority:
    @pytest.mark.parametrize("wrong", [-101, 101, 3.1, float("inf"), 10**30])
    def test_out_of_bounds_or_no_whole_number_in_djangos_words(self, wrong):
        with pytest.raises(InvalidTask, match=NOT_A_PRIORITY):
            tasks.echo.using(priority=wrong)
        with pytest.raises(InvalidTask, match=NOT_A_PRIORITY):
            task(priority=wrong)(two)

    @pytest.mark.parametrize("wrong", [float("nan"), "urgent", "", [], object(), b"high"])
    def test_anything_else_is_an_invalid_task_too(self, wrong):
        with pytest.raises(InvalidTask, match="A priority is a whole number from -100 to 100, or one of critical"):
            tasks.echo.using(priority=wrong)

    @pytest.mark.parametrize(
        ("given", "number"),
        [(-100, -100), (0, 0), (100, 100), ("high", 50), (" Low ", -50), (QueuePriority.CRITICAL, 100), (3.0, 3)],
    )
    def test_numbers_and_names(self, given, number):
        assert tasks.echo.using(priority=given).priority == number
        assert task(priority=given)(two).priority == number
        assert tasks.echo.priority == 0


class TestRunAfter:
    def test_naive_is_refused_when_times_have_zones(self):
        with pytest.raises(InvalidTask, match="run_after must be an aware datetime"):
            tasks.echo.using(run_after=datetime(2030, 1, 1))

    def test_aware_is_refused_nowhere(self):
        moment = timezone.now()
        assert tasks.echo.using(run_after=moment).run_after == moment
        assert tasks.echo.run_after is None

    def test_a_span_is_from_now(self):
        before = timezone.now()
        moment = tasks.echo.using(run_after=timedelta(minutes=5)).run_after
        assert before + timedelta(minutes=5) <= moment <= timezone.now() + timedelta(minutes=5)

    @pytest.mark.parametrize("wrong", ["tomorrow", 5, date(2030, 1, 1)])
    def test_anything_else_is_an_invalid_task(self, wrong):
        with pytest.raises(InvalidTask, match="run_after must be a datetime or a timedelta"):
            tasks.echo.using(run_after=wrong)

    @pytest.mark.parametrize("wrong", [timedelta.max, timedelta.min])
    def test_further_than_dates_go(self, wrong):
        with pytest.raises(InvalidTask, match="further away than dates go"):
            tasks.echo.using(run_after=wrong)

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "wrong",
        [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)],
    )
    def test_a_moment_that_is_no_date_in_some_zone_or_database(self, wrong):
        with pytest.raises(InvalidPayload, match="between the years 1000 and 9998"):
            tasks.echo.using(run_after=wrong).enqueue()


class TestQueueName:
    def test_not_among_queues(self, settings):
        settings.TASKS = ONE_QUEUE | {"other": {"BACKEND": BACKEND, "QUEUES": []}}
        with pytest.raises(InvalidTask, match="Queue 'queue-2' is not valid for backend"):
            tasks.echo.using(queue_name="queue-2")
        with pytest.raises(InvalidTask, match="Queue 'default' is not valid for backend"):
            task(two)
        assert tasks.echo.using(queue_name="queue-2", backend="other").queue_name == "queue-2"

    def test_without_queues_in_the_settings_only_default_is_valid(self, settings):
        settings.TASKS = {"default": {"BACKEND": BACKEND}}
        with pytest.raises(InvalidTask, match="Queue 'emails' is not valid"):
            tasks.echo.using(queue_name="emails")

    @pytest.mark.django_db
    def test_asked_again_at_enqueue_because_settings_change(self, settings):
        elsewhere = tasks.echo.using(queue_name="queue-2")
        settings.TASKS = ONE_QUEUE
        for enqueue in (elsewhere.enqueue, async_to_sync(elsewhere.aenqueue), lambda: elsewhere.enqueue_many([[]])):
            with pytest.raises(InvalidTask, match="Queue 'queue-2' is not valid for backend"):
                enqueue()

    @pytest.mark.django_db
    @pytest.mark.parametrize("name", ["", "two words", "é", "q" * 101, "a,b", "line\n", "nul\x00"])
    def test_one_that_no_command_line_could_name(self, name):
        with pytest.raises(InvalidPayload, match="queue name"):
            tasks.echo.using(queue_name=name).enqueue()


class TestPolicy:
    @pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "30", True, timedelta(seconds=3)])
    def test_timeout_is_a_number_of_seconds(self, wrong):
        with pytest.raises(InvalidTask, match="timeout must be a number of seconds"):
            task(timeout=wrong)(two)

    @pytest.mark.parametrize("wrong", [3, ExponentialBackoff, "exponential"])
    def test_retry_is_a_strategy(self, wrong):
        with pytest.raises(InvalidTask, match="retry must be a strategy"):
            task(retry=wrong)(two)

    def test_a_strategy_of_ones_own_says_how_often(self):
        class Endless(RetryStrategy):
            def should_retry(self, attempt, exception):
                return True

            def delay(self, attempt, random):
                return timedelta(0)

        with pytest.raises(InvalidTask, match="with max_attempts"):
            task(retry=Endless())(two)

    def test_a_job_cant_have_a_strategy_its_worker_would_not_know(self):
        with pytest.raises(TypeError, match="retry"):
            tasks.echo.using(retry=ExponentialBackoff(max_attempts=9))

    @pytest.mark.django_db
    @pytest.mark.parametrize("key", ["", "k" * 201, 5, "nul\x00", "\ud800"])
    def test_unique_keys_fit_their_column(self, key):
        with pytest.raises(InvalidPayload, match="unique_key"):
            tasks.echo.using(unique_key=key).enqueue()


class TestUsing:
    def test_is_a_new_equal_task(self):
        same = tasks.echo.using()
        assert same == tasks.echo
        assert same is not tasks.echo

    def test_chains(self):
        moment = timezone.now()
        later = tasks.echo.using(run_after=moment)
        assert later.using(priority=10).run_after == moment
        assert later.using(priority=10).priority == 10
        assert later.priority == 0

    def test_keeps_what_only_our_tasks_have(self):
        copy = tasks.named.using(priority=1, unique_key="k", concurrency_key="c", timeout=5)
        assert (copy.retry, copy.registry_name) == (tasks.named.retry, "shop.orders.import")
        assert (copy.unique_key, copy.concurrency_key, copy.timeout) == ("k", "c", 5)

    def test_unknown_backend(self):
        with pytest.raises(InvalidTaskBackend, match="The connection 'unknown' doesn't exist"):
            tasks.echo.using(backend="unknown")

    def test_missing_backend(self, settings):
        settings.TASKS = settings.TASKS | {"missing": {"BACKEND": "does.not.exist"}}
        with pytest.raises(InvalidTaskBackend, match=r"Could not find backend 'does\.not\.exist'"):
            tasks.echo.using(backend="missing")

    def test_no_backends(self, settings):
        settings.TASKS = {"other": {"BACKEND": BACKEND}}
        with pytest.raises(InvalidTaskBackend):
            tasks.echo.enqueue()
