"""When somebody may say of others that they are silent: not when he has been out of touch himself.

A lease ends by the store's clock, whoever is to blame. Say a machine was suspended (a lid, SIGSTOP to a group), or the
store was away, for longer than a lease. Then the leases of workers that live and go on are over, too, until each of
them has said so. Who reclaims before that takes the jobs from them, and each runs a second time beside the first. So
who was out of touch waits for as long as a living worker may take to be heard. A host that was there all the time need
not wait: it takes the jobs over, and the fence refuses what comes late.
"""

from __future__ import annotations

import time

LONGEST_PAUSE = 2.0
"""Seconds after a heartbeat that failed, at most: then the next attempt."""


def rhythm(lease: float) -> float:
    """Seconds between two heartbeats of a worker: three per lease, so that two may be lost."""
    return min(10.0, lease / 3)


def clock() -> float:
    """Seconds, those included in which the machine was suspended: Linux leaves them out of the monotonic clock.

    A virtual machine that its host has paused may know of it by no clock.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Vigil:
    """Of one who reclaims. It knows no clock; times are those of `clock`."""

    def __init__(self, lease: float, now: float) -> None:
        """A start counts as if the store had answered: what was left by those before is taken back at once."""
        self.gap = lease - rhythm(lease)
        """Seconds without an answer in which nobody else can have lost a lease: each had as much left."""
        self.hearing = rhythm(lease) + LONGEST_PAUSE
        """Seconds in which each one living is heard: its rhythm, and the pause after an attempt that failed."""
        self._answered_at = now
        self._trusted_from = now

    def answered(self, now: float) -> None:
        """By the store. To be said at least twice in a gap."""
        if now - self._answered_at > self.gap:
            self._trusted_from = now + self.hearing
        self._answered_at = now

    def may_tell(self, now: float) -> bool:
        """Whether those whose lease is over are silent indeed."""
        return now - self._answered_at <= self.gap and now >= self._trusted_from
