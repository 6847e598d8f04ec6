"""Where the tests of chores run, and the rows they look at."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_jobqueue.models import RecurringJob

DAY = timedelta(days=1)


def on(alias):
    return pytest.param(alias, marks=pytest.mark.django_db(transaction=True, databases=["default", alias]))


everywhere = pytest.mark.parametrize("database", ["default", on("postgres")])


def row(name, database="default"):
    return RecurringJob.objects.using(database).get(name=f"chore:{name}")
