"""Which point is hit, with which job at the head of the line, on which stores."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import pytest

from django_jobqueue import failpoints
from tests.crash import tasks
from tests.crash.fixtures import MARIADB, MOST, REDIS62, at_points

ALL = os.environ.get("JOBQUEUE_CRASH_POINTS") == "all"

STORES = [*MOST, MARIADB, REDIS62] if ALL else MOST
on_stores = pytest.mark.parametrize("alias", STORES)


class Case(NamedTuple):
    """Die at `point` with a job of kind `first` at the head of the line. `main` ones run in CI."""

    point: str
    first: Any = tasks.work
    main: bool = True
    nth: int = 1

    @property
    def name(self) -> str:
        return f"{self.point}-{self.first.name}" + (f"-{self.nth}" if self.nth > 1 else "")


WORKER_CASES = [
    Case("join.committed", main=False),
    Case("claim.before_commit"),
    Case("claim.committed"),
    Case("settle.before_commit"),
    Case("settle.committed"),
    Case("settle.half_written", tasks.flaky),
    Case("settle.before_commit", tasks.flaky, main=False),
    Case("settle.committed", tasks.flaky),
    Case("settle.half_written", tasks.doomed),
    Case("settle.before_commit", tasks.doomed, main=False),
    Case("settle.committed", tasks.doomed),
    Case("settle.half_written", tasks.snooze_once, main=False),
    Case("settle.committed", tasks.snooze_once, main=False),
    Case("settle.before_commit", tasks.work, main=False, nth=4),
    Case("settle.committed", tasks.work, main=False, nth=4),
    Case("record.before"),
    Case("record.committed"),
    Case("record.before", tasks.flaky, main=False),
    Case("record.committed", tasks.flaky, main=False),
    Case("record.before", tasks.doomed),
    Case("record.committed", tasks.doomed),
    Case("record.before", tasks.snooze_once, main=False),
    Case("record.committed", tasks.work, main=False, nth=4),
]


POINTS = {point for point in failpoints.POINTS if not point.startswith("tick.")}
"""Of jobs. Those of schedules have tests of their own."""
REACHED: dict[str, set[str]] = {"kill": set(), "freeze": set(), "error": set()}
"""The points that a test breaks in this way; each test sees that its point is reached."""


def chosen(*cases: Case, fault: str = "kill", stores: list[Any] = STORES) -> pytest.MarkDecorator:
    """These cases on these stores, the main ones in CI. `fault`: what happens there."""
    REACHED[fault] |= {case.point for case in cases}
    return at_points(stores, [one for one in cases if one.main or ALL], "case")
