from __future__ import annotations

import json
import os
import signal

import pytest

# A test on one of these databases needs the server of the same name.
DATABASE_SERVICES = ("postgres", "mariadb")
# Real processes, mostly: seconds each. The quick suite (`-m "not slow"`) leaves them out.
SLOW_DIRECTORIES = {"acceptance", "benchmarks", "chaos", "crash"}


def pytest_configure() -> None:
    """A run in the background of a script is deaf to Ctrl-C, and what it starts would inherit that: tests send it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`django_db(databases=["postgres"])` implies the marker `postgres` (see tests/services.py), some places `slow`."""
    for item in items:
        if SLOW_DIRECTORIES & set(item.path.relative_to(item.config.rootpath).parts):
            item.add_marker("slow")
        for mark in item.iter_markers("django_db"):
            for alias in set(mark.kwargs.get("databases") or ()) & set(DATABASE_SERVICES):
                item.add_marker(alias)


@pytest.fixture
def child_env(django_db_setup: None) -> dict[str, str]:
    """The environment in which a child process sees this run's test databases (`DJANGO_SETTINGS_MODULE` included)."""
    from django.db import connections

    names = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "JOBQUEUE_TEST_DATABASE_NAMES": json.dumps(names),
    }
