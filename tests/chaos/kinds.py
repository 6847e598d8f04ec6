"""The kinds of jobs, by the name of their task in tests/chaos/tasks.py: how many, and how they must end."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """`weight`: of a hundred jobs. `ends_dead`: else it completes, unless it loses as many workers as it may.

    `is_atomic`: it leaves an effect in the database, in the transaction in which it completes; it may also be exhausted
    by a database that breaks. Only for jobs that live in one.
    """

    weight: int
    max_attempts: int = 3
    ends_dead: bool = False
    is_atomic: bool = False


KINDS = {
    "work": Kind(55),
    "flaky": Kind(10, max_attempts=2),
    "snoozing": Kind(8),
    "hopeless": Kind(6, ends_dead=True),
    "doomed": Kind(6, max_attempts=1, ends_dead=True),
    "paying": Kind(15, max_attempts=10, is_atomic=True),
}
