"""`enqueue_many` and unique keys: all or none, in order, and one live job per key."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime

import pytest

from django_jobqueue import get_queue
from django_jobqueue.compat import TaskResultStatus
from django_jobqueue.exceptions import InvalidPayload, PayloadError
from django_jobqueue.models import Job
from django_jobqueue.testing import run_all
from tests.api import tasks

pytestmark = pytest.mark.django_db


class TestMany:
    def test_each_call_is_one_job_in_order(self):
        calls = [{"one": 1}, OrderedDict(two=2), [3], (4, [5]), [], {}]
        results = tasks.echo.enqueue_many(calls)
        assert [(one.args, one.kwargs) for one in results] == [
            ([], {"one": 1}),
            ([], {"two": 2}),
            ([3], {}),
            ([4, [5]], {}),
            ([], {}),
            ([], {}),
        ]
        assert {one.status for one in results} == {TaskResultStatus.READY}
        assert [one.id for one in run_all()] == [one.id for one in results]

    def test_any_iterable_once(self):
        assert len(tasks.give.enqueue_many({"value": n} for n in range(2_500))) == 2_500
        assert get_queue().size() == 2_500

    def test_none(self):
        assert tasks.give.enqueue_many([]) == []

    @pytest.mark.parametrize("wrong", ["text", b"bytes", 5, None, {1, 2}, iter([1]), {1: "a"}, {None: 1}])
    def test_what_is_no_call_is_named_by_its_position(self, wrong):
        with pytest.raises(InvalidPayload, match=r"^call 1: give keyword arguments as a mapping"):
            tasks.give.enqueue_many([[0], wrong])
        assert not Job.objects.exists()

    def test_a_mapping_in_the_place_of_the_list_is_no_call_either(self):
        with pytest.raises(InvalidPayload, match=r"^call 0: "):
            tasks.give.enqueue_many({"value": 1})

    def test_arguments_that_cant_be_stored_are_named_too_and_nothing_is(self):
        with pytest.raises(PayloadError, match=r"^call 2: args\[0\].when: Unsupported type"):
            tasks.give.enqueue_many([[1], [2], [{"when": datetime.now()}], [4]])
        assert not Job.objects.exists()

    def test_an_iterable_that_breaks_off_stores_nothing(self):
        def calls():
            yield [1]
            raise LookupError("no more")

        with pytest.raises(LookupError, match="no more"):
            tasks.give.enqueue_many(calls())
        assert not Job.objects.exists()

    def test_values_of_using_are_for_all(self):
        tasks.give.using(queue_name="bulk", priority=-7).enqueue_many([[1], [2]])
        assert set(Job.objects.values_list("queue", "priority")) == {("bulk", -7)}


class TestUniqueKey:
    def test_two_enqueues_share_the_live_jobs_result(self):
        first = tasks.echo.using(unique_key="k").enqueue(1)
        second = tasks.echo.using(unique_key="k").enqueue(2)
        assert (second.id, second.args) == (first.id, [1])
        assert len(run_all()) == 1

    def test_even_under_different_tasks(self):
        first = tasks.echo.using(unique_key="k").enqueue()
        second = tasks.give.using(unique_key="k").enqueue(1)
        assert second.id == first.id
        assert second.task.func is tasks.echo.func

    def test_inside_one_enqueue_many(self):
        results = tasks.echo.using(unique_key="k").enqueue_many([[1], [2], [3]])
        assert {one.id for one in results} == {results[0].id}
        assert [one.args for one in results] == [[1]] * 3
        assert len(run_all()) == 1

    def test_a_finished_job_frees_its_key(self):
        first = tasks.echo.using(unique_key="k").enqueue()
        run_all()
        second = tasks.echo.using(unique_key="k").enqueue()
        assert second.id != first.id
        assert len(run_all()) == 1

    def test_a_dead_one_too_and_a_waiting_one_does_not(self):
        dead = tasks.fail.using(unique_key="dead").enqueue()
        waits = tasks.fail_later.using(unique_key="waits").enqueue()
        run_all()
        assert tasks.fail.using(unique_key="dead").enqueue().id != dead.id
        again = tasks.fail_later.using(unique_key="waits").enqueue()
        assert (again.id, again.attempts, len(again.errors)) == (waits.id, 1, 1)
