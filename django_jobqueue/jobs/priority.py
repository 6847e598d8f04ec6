"""How urgent a job is."""

from __future__ import annotations

from enum import IntEnum

from django_jobqueue.exceptions import InvalidPriority

# The bounds of django.tasks (TASK_MIN_PRIORITY, TASK_MAX_PRIORITY); written out because this package needs no Django.
MIN_PRIORITY = -100
MAX_PRIORITY = 100


class QueuePriority(IntEnum):
    """The named priorities; higher runs first. Any whole number from -100 to 100 will do in their place.

    The specification's scale, 1000 / 750 / 500 / 250, is 500 + 5 times this one.
    """

    CRITICAL = 100
    HIGH = 50
    NORMAL = 0
    LOW = -50


def parse_priority(value: int | str | QueuePriority) -> int:
    """The number behind a name (`"high"`, in any case) or a number from -100 to 100. Raises InvalidPriority."""
    if isinstance(value, str):
        named = QueuePriority.__members__.get(value.strip().upper())
        if named is not None:
            return int(named)
    elif isinstance(value, int) and not isinstance(value, bool) and MIN_PRIORITY <= value <= MAX_PRIORITY:
        return int(value)
    raise InvalidPriority(
        f"A priority is a whole number from {MIN_PRIORITY} to {MAX_PRIORITY}, or one of "
        f"{', '.join(name.lower() for name in QueuePriority.__members__)}; not {_shown(value)}."
    )


def _shown(value: object) -> str:
    try:
        shown = ascii(value)
    except Exception:  # Python prints no integer of more than 4,300 digits; and this may be any object at all
        shown = ""
    return shown if 0 < len(shown) <= 60 else f"this {type(value).__name__}"
