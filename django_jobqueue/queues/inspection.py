"""Looking for what must not be: what a store's inspector does. `monitoring/fsck.py` drives it and tells what it means.

An inspector reads a store by slices, each of one moment (one statement, one script), so that nothing stops and no move
in progress is seen half done. What depends on two stores or on the clock may still look wrong for an instant: hence
suspects, which are looked at again before anybody is told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple


class Fault(StrEnum):
    """What can be wrong. `monitoring/faults.py` says how bad it is and what a repair does."""

    NO_ROOM = "no_room"
    TWO_ROOMS = "two_rooms"
    NO_JOB = "no_job"
    WRONG_QUEUE = "wrong_queue"
    DEAD_HOLDER = "dead_holder"
    NOT_LISTED = "not_listed"
    NOT_ASKED = "not_asked"
    NO_LEASE = "no_lease"
    OVERDUE = "overdue"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    TOO_MANY_CRASHES = "too_many_crashes"
    LEASE_BEHIND = "lease_behind"
    ENDED_BUT_LIVE = "ended_but_live"
    DEAD_BUT_LIVE = "dead_but_live"
    KEY_NOT_HELD = "key_not_held"
    KEY_OF_NOBODY = "key_of_nobody"
    OUTBOX_LATE = "outbox_late"
    OUTBOX_LOST = "outbox_lost"
    UNRECORDED_LATE = "unrecorded_late"
    WRONG_COUNT = "wrong_count"
    NOT_BALANCED = "not_balanced"
    NO_CONSTRAINT = "no_constraint"


class Suspect(NamedTuple):
    """Something that looked wrong. `key` is the job's id, or the name of what it is about."""

    fault: Fault
    key: str


class Slice(NamedTuple):
    """What one look has seen: how many of what, and what of it is suspect."""

    what: str
    seen: int
    suspects: list[Suspect]


class Inspector(ABC):
    """Reads one store. `late` is how many seconds something may be overdue before it is suspect.

    All methods raise what the store raises when it does not answer (`STORE_ERRORS`).
    """

    @abstractmethod
    def look(self) -> Iterator[Slice]:
        """Everything, once. What is pushed meanwhile may be left out."""

    @abstractmethod
    def look_again(self, suspects: Sequence[Suspect]) -> set[Suspect]:
        """Which of these are wrong now."""

    @abstractmethod
    def can_repair(self, fault: Fault) -> bool: ...

    @abstractmethod
    def repair(self, fault: Fault, suspects: Sequence[Suspect]) -> None:
        """Mend what of these is still wrong. Each step asks again inside its own transaction or script."""

    @abstractmethod
    def account(self) -> dict[str, int]:
        """How many live jobs there are and how many are in each room, at one moment.

        `jobs` is the number the others must add up to, except what begins with an underscore.
        """
