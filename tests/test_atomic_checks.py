"""What `manage.py check` can know of atomic tasks: whether anything is in their database that they could write."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks

from django_jobqueue import task
from django_jobqueue.checks import atomic
from django_jobqueue.jobs import registry


def warnings():
    return [message.msg.split()[0] for message in run_checks(tags=["jobqueue"]) if message.id == "jobqueue.W002"]


@pytest.fixture
def tasks(monkeypatch):
    """No tasks but the test's own, in a project of two databases."""
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(atomic, "connections", ["default", "other"])


class AllElsewhere:
    def db_for_write(self, model, **hints):
        return None if model._meta.app_label == "django_jobqueue" else "other"


def transfer() -> None: ...


def test_an_atomic_task_in_a_database_that_nobody_writes_to_is_told(tasks, settings):
    settings.DATABASE_ROUTERS = ["tests.test_atomic_checks.AllElsewhere"]
    task(transfer, atomic=True)
    assert warnings() == ["tests.test_atomic_checks.transfer"]


def test_one_whose_database_holds_models_of_the_project_is_not(tasks):
    task(transfer, atomic=True)
    assert warnings() == []


def test_one_that_is_not_atomic_is_not(tasks, settings):
    settings.DATABASE_ROUTERS = ["tests.test_atomic_checks.AllElsewhere"]
    task(transfer)
    assert warnings() == []
