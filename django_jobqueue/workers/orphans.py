"""What the heart does for the children when their parent is dead: it stays until none is left.

They drain by themselves, with heartbeats of their own. But one whose job holds the GIL can do nothing at all: not stop,
not keep its lease, and not even end itself. So the heart goes on as the parent would: it keeps them alive, says on the
board who has ended, and kills whom the parent would have killed.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from django_jobqueue.workers.board import Cause, Ending, Slot

logger = logging.getLogger("django_jobqueue.worker")


class Orphan:
    """A child by a handle of its process: its pid may be somebody else's when it has ended."""

    def __init__(self, slot: Slot, handle: int) -> None:
        self.slot = slot
        self.handle = handle
        self._ending = Ending(Cause.CRASH)

    def look(self, is_last: bool) -> None:
        """Kill it if it is past its hard deadline, or doomed, or has had all the time there is."""
        deadline = self.slot.deadline
        if self._ending.cause is not Cause.CRASH:  # it is on its way
            return
        if deadline is not None and time.monotonic() >= deadline.at:
            self._kill(Ending(Cause.DEADLINE, deadline.job_id, deadline.lease_no))
        elif self.slot.is_doomed or is_last:
            self._kill(Ending(Cause.END))

    def _kill(self, ending: Ending) -> None:
        logger.error("A worker of %r won't end. It is killed.", self.slot.alias)
        self._ending = ending
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def end(self) -> None:
        """The parent would say so on the board."""
        self.slot.end(self._ending)
        os.close(self.handle)


def outlive(slots: Sequence[Slot], seconds: float, pause: float) -> None:
    """Until all have ended, for that long. At once where a process can't be held (Linux can), and when none is left."""
    orphans = adopt(slots)
    last = time.monotonic() + seconds
    while orphans:
        for orphan in orphans:
            orphan.look(time.monotonic() >= last)
        ended = select.select([orphan.handle for orphan in orphans], [], [], pause)[0]
        for orphan in [one for one in orphans if one.handle in ended]:
            orphan.end()
            orphans.remove(orphan)


def adopt(slots: Sequence[Slot]) -> list[Orphan]:
    """Those that live. Who has ended already is said to."""
    if not hasattr(os, "pidfd_open"):
        return []
    orphans = []
    for slot in slots:
        if not slot.is_lived_in or not slot.pid:
            continue
        try:
            orphans.append(Orphan(slot, os.pidfd_open(slot.pid)))
        except ProcessLookupError:
            slot.end(Ending(Cause.CRASH))
        except OSError as error:
            logger.warning("A worker of %r can't be watched (%s).", slot.alias, error.strerror)
    return orphans
