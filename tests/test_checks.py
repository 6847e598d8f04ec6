"""`manage.py check` says in a sentence what would lose jobs later."""

from __future__ import annotations

import io

import pytest
from django.core.checks import ERROR, WARNING, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from django_jobqueue import compat
from django_jobqueue.checks import check_settings
from django_jobqueue.compat import HAS_CORE_TASKS

OURS = "django_jobqueue.backends.DatabaseBackend"
DUMMY = f"{'django.tasks' if HAS_CORE_TASKS else 'django_tasks'}.backends.dummy.DummyBackend"


def found(prefix="jobqueue."):
    return {(message.id, message.level, message.msg) for message in run_checks() if str(message.id).startswith(prefix)}


def ids():
    return {message_id for message_id, _, _ in found()}


def tasks_with(**options):
    return {"default": {"BACKEND": OURS, "QUEUES": [], "OPTIONS": options}}


def test_the_test_project_has_no_problem():
    assert found() == set()


class TestSettings:
    def test_e001_a_wrong_key_or_value(self, settings):
        settings.JOBQUEUE = {"CRASH_BUGDET": 3, "POLL_INTERVAL": 0}
        assert found() == {
            ("jobqueue.E001", ERROR, "JOBQUEUE has no key 'CRASH_BUGDET'. Did you mean 'CRASH_BUDGET'?"),
            ("jobqueue.E001", ERROR, "JOBQUEUE['POLL_INTERVAL'] must be greater than zero, and finite, not 0."),
        }

    @pytest.mark.parametrize("wrong", ["text", [], 0, ()])
    def test_e001_no_dictionary(self, settings, wrong):
        settings.JOBQUEUE = wrong
        assert ids() == {"jobqueue.E001"}

    def test_none_is_the_same_as_not_there(self, settings):
        settings.JOBQUEUE = None
        assert found() == set()

    def test_check_fails_with_it(self, settings):
        settings.JOBQUEUE = {"NOTIFY": "yes"}
        with pytest.raises(SystemCheckError, match=r"jobqueue\.E001.*must be True or False, not 'yes'"):
            call_command("check", stdout=io.StringIO())

    def test_e002_the_backport_is_not_installed(self, monkeypatch):
        monkeypatch.setattr("django_jobqueue.checks.TASK_FRAMEWORK_APP", "django_tasks_of_another_planet")
        (message,) = check_settings()
        assert (message.id, message.level) == ("jobqueue.E002", ERROR)
        assert "Add 'django_tasks_of_another_planet' to INSTALLED_APPS" in message.hint

    def test_e002_is_not_for_a_django_that_has_tasks(self):
        assert (None if HAS_CORE_TASKS else "django_tasks") == compat.TASK_FRAMEWORK_APP


class TestBackends:
    @pytest.mark.parametrize(
        "tasks",
        [
            {"default": {"BACKEND": DUMMY}},
            {"default": {"BACKEND": DUMMY}, "other": {"BACKEND": DUMMY}},
            {},
        ],
    )
    def test_w001_none_of_ours(self, settings, tasks):
        settings.TASKS = tasks
        ((message_id, level, text),) = found()
        assert (message_id, level) == ("jobqueue.W001", WARNING)
        assert "none of its backends is in TASKS" in text

    @pytest.mark.parametrize("ours", [OURS, "tests.api.backends.OwnBackend"])
    def test_one_of_ours_anywhere_will_do_and_so_will_a_subclass(self, settings, ours):
        settings.TASKS = {"default": {"BACKEND": DUMMY}, "jobs": {"BACKEND": ours}}
        assert found() == set()

    def test_e010_unknown_option(self, settings):
        settings.TASKS = tasks_with(databse="default")
        assert found() == {
            (
                "jobqueue.E010",
                ERROR,
                "TASKS['default']['OPTIONS'] has no key 'databse'. Did you mean 'database'?",
            )
        }

    @pytest.mark.parametrize("wrong", ["other", "", None, 5])
    def test_e011_no_such_database(self, settings, wrong):
        settings.TASKS = tasks_with(database=wrong)
        assert found() == {
            (
                "jobqueue.E011",
                ERROR,
                f"TASKS['default']['OPTIONS']['database'] is {wrong!r}, which is not in DATABASES.",
            )
        }

    @pytest.mark.parametrize("wrong", [0, 0.5, -3, "30", None, True, float("nan"), float("inf"), [30]])
    def test_e012_a_lease_that_cant_work(self, settings, wrong):
        settings.TASKS = tasks_with(lease=wrong)
        assert ids() == {"jobqueue.E012"}

    @pytest.mark.parametrize("right", [1, 30, 2.5, 3600])
    def test_a_lease_that_can(self, settings, right):
        settings.TASKS = tasks_with(lease=right, database="default")
        assert found() == set()

    def test_every_entry_is_checked_and_named(self, settings):
        settings.TASKS = tasks_with() | {"bulk": {"BACKEND": OURS, "OPTIONS": {"lease": 0, "speed": 9}}}
        assert ids() == {"jobqueue.E010", "jobqueue.E012"}
        assert all("TASKS['bulk']" in text for _, _, text in found())

    @pytest.mark.parametrize("options", [None, [], "database", 5])
    def test_e010_options_that_are_no_dictionary(self, settings, options):
        settings.TASKS = {"default": {"BACKEND": OURS, "OPTIONS": options}}
        assert ids() == {"jobqueue.E010"}
