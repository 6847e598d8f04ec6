from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from django_jobqueue.compat import task_logger
from tests.crash.fixtures import alias, open_stage
from tests.workers import jobs

__all__ = ["alias", "crew", "open_stage"]


@pytest.fixture
def clean_slate():
    """No job has run, and none has anything to do."""
    jobs.ran.clear()
    jobs.hooks.clear()


@pytest.fixture
def unheard(monkeypatch):
    """Django's log, where pytest listens, is switched off: nobody hears of a job, so nothing of it needs a thread."""
    monkeypatch.setattr(task_logger, "disabled", True)


@pytest.fixture
def crew(open_stage):
    """`crew("--grace", "2", lease=…)`: a store, and one command whose whole group ends with the test."""
    parents = []

    def start(*options, lease=30.0, processes=2, settings="", **more):
        stage = open_stage(lease)
        if settings:
            (stage.directory / "own_settings.py").write_text(settings)
            path = os.pathsep.join([str(stage.directory), os.getcwd()])
            more |= {"DJANGO_SETTINGS_MODULE": "own_settings", "PYTHONPATH": path}
        how_many = () if processes is None else ("--processes", str(processes))
        words = ("--backend", stage.alias, *how_many, *options)
        parents.append(stage.start("django", "queue_work", *words, new_session=True, **more))
        return stage, parents[0]

    yield start
    for parent in parents:
        with suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
