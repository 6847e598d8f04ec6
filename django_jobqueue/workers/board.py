"""What the parent, the heart and the children of one `queue_work` tell each other: a page of memory all of them share.

It is made before the forks and has no locks, so whoever is killed in the middle of a line holds nobody up. Every field
has one writer: the parent says who lives and how it ended, a child who it is and what it does, the heart what the store
says. A field is one aligned word, which is written whole; or a `Block`. What a child says, and what is said to it,
carries the number of its life: a slot is used again, and a late word must not reach the next one.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from django_jobqueue.queues.base import WorkerReport
from django_jobqueue.workers.blocks import WORD, Block
from django_jobqueue.workers.hand import Hand

_RUNNING_BYTES = 256
_NOBODY = UUID(int=0)
_NEVER = -1
"""The life of who has said nothing yet."""


class Command(IntEnum):
    """What a worker is told. QUIET: finish what runs, take nothing new. NONE: nobody has said anything."""

    NONE = 0
    RUN = 1
    QUIET = 2
    STOP = 3


class Cause(IntEnum):
    """Why a child is gone: it died; a job was past its hard deadline; it was to end, and did, or was made to."""

    CRASH = 0
    DEADLINE = 1
    END = 2


class Deadline(NamedTuple):
    """When a job's process is to be killed, in seconds of the monotonic clock, which is the same in all processes."""

    at: float
    job_id: UUID
    lease_no: int


class Ending(NamedTuple):
    """How a child ended; for DEADLINE, the job that had to be stopped."""

    cause: Cause
    job_id: UUID = _NOBODY
    lease_no: int = 0


Watch = Callable[[Deadline | None], None]
"""Told the earliest hard deadline of the jobs that run, each time it changes; None: no running job has one."""


def unwatched(deadline: Deadline | None) -> None:
    """For a worker without a parent: nobody could kill it and go on."""


_ENDING = Struct("<QQ16sq")
_MEMBER = Struct("<Q16s")
_REPORT = Struct(f"<Q??qqq{_RUNNING_BYTES}s")
_DEADLINE = Struct("<Qd16sq")
_DEAD = Struct("<16s")
_BLOCKS = (_ENDING, _MEMBER, _REPORT, _DEADLINE, _DEAD)
_WISH, _HEART_BEAT_AT = range(2)
_HEAD_WORDS = 2
_LIFE, _ENDED, _PID, _FINISHING, _ALIVE_UNTIL, _BURIED, _COMMAND, _RETIRED, _ATTENTION, _DOOMED = range(10)
_SLOT_WORDS = 10
_SLOT_BYTES = _SLOT_WORDS * WORD + sum(map(Block.size, _BLOCKS)) + Hand.SIZE


class Slot:
    """The place of one child. Free until the parent opens it, and again when the heart has buried who had it."""

    def __init__(self, memory: memoryview, start: int, alias: str) -> None:
        self.alias = alias
        self._word = memory.cast("Q")[start // WORD : start // WORD + _SLOT_WORDS]
        self._seconds = memory.cast("d")[start // WORD : start // WORD + _SLOT_WORDS]
        blocks = []
        start += _SLOT_WORDS * WORD
        for layout in _BLOCKS:
            blocks.append(Block(memory, start, layout))
            start += Block.size(layout)
        self._ending, self._member, self._report, self._deadline, self._dead = blocks
        self.hand = Hand(memory, start)
        """Written by the child: what it has fetched and not started."""

    # -- the parent writes -------------------------------------------------------------------------------------------

    @property
    def life(self) -> int:
        """Counts the children that have had this slot."""
        return self._word[_LIFE]

    @property
    def is_free(self) -> bool:
        return self._word[_LIFE] == self._word[_ENDED] == self._word[_BURIED]

    @property
    def has_ended(self) -> bool:
        """Whether there is somebody to bury."""
        return self._word[_LIFE] == self._word[_ENDED] != self._word[_BURIED]

    @property
    def is_lived_in(self) -> bool:
        return self._word[_LIFE] != self._word[_ENDED]

    @property
    def pid(self) -> int:
        return self._word[_PID]

    def open(self) -> None:
        """Before the fork."""
        self._word[_PID] = 0
        self._word[_LIFE] += 1

    def unopen(self) -> None:
        """There was no fork: nobody has had this life."""
        self._word[_LIFE] -= 1

    def retire(self) -> None:
        """There are too many children: this one finishes its job and ends."""
        self._word[_RETIRED] = self.life

    @property
    def is_retired(self) -> bool:
        return self._word[_RETIRED] == self.life

    def born(self, pid: int) -> None:
        self._word[_PID] = pid

    def end(self, ending: Ending) -> None:
        """Its process has been reaped."""
        self._ending.write(self.life, ending.cause, ending.job_id.bytes, ending.lease_no)
        self._word[_ENDED] = self.life

    @property
    def ending(self) -> Ending:
        life, cause, job, lease_no = self._ending.read() or (_NEVER, 0, b"", 0)
        if life != self.life:
            return Ending(Cause.CRASH)
        return Ending(Cause(cause), UUID(bytes=job), lease_no)

    # -- the child writes, by way of its Seat ------------------------------------------------------------------------

    @property
    def worker(self) -> UUID | None:
        """Who the child is in the store; None before it has joined and after it has left."""
        life, worker = self._member.read() or (_NEVER, b"")
        return UUID(bytes=worker) if life == self.life and worker != _NOBODY.bytes else None

    @property
    def report(self) -> WorkerReport:
        life, stopping, quiet, done, failed, rss_kb, running = self._report.read() or (
            _NEVER,
            False,
            False,
            0,
            0,
            0,
            b"",
        )
        if life != self.life:
            return WorkerReport()
        return WorkerReport(running.rstrip(b"\0").decode(errors="ignore"), done, failed, rss_kb, stopping, quiet)

    @property
    def deadline(self) -> Deadline | None:
        life, at, job, lease_no = self._deadline.read() or (_NEVER, 0.0, b"", 0)
        return Deadline(at, UUID(bytes=job), lease_no) if life == self.life and at else None

    @property
    def is_finishing(self) -> bool:
        """Whether it runs no job any more and stores what is left."""
        return self._word[_FINISHING] == self.life

    # -- the heart writes --------------------------------------------------------------------------------------------

    def bury(self, life: int) -> None:
        """The store knows how this life has ended."""
        self._word[_BURIED] = life

    @property
    def alive_until(self) -> float:
        """How long the store believes the child alive, on the clock of `vigil.py`."""
        return self._seconds[_ALIVE_UNTIL]

    @alive_until.setter
    def alive_until(self, until: float) -> None:
        self._seconds[_ALIVE_UNTIL] = until

    @property
    def command(self) -> Command:
        life, command = divmod(self._word[_COMMAND], 4)
        return Command(command) if life == self.life else Command.NONE

    def order(self, command: Command, life: int) -> None:
        self._word[_COMMAND] = 4 * life + command

    @property
    def attention(self) -> int:
        """Another number each time there is something new to ask the store: what the child runs was cancelled."""
        return self._word[_ATTENTION]

    def call_attention(self) -> None:
        self._word[_ATTENTION] += 1

    @property
    def is_doomed(self) -> bool:
        """A job was to be stopped at any price, and the child has not managed it."""
        return self._word[_DOOMED] == self.life

    def doom(self, life: int) -> None:
        self._word[_DOOMED] = life

    @property
    def dead(self) -> UUID | None:
        """The worker that the store has declared dead."""
        found = self._dead.read()
        return None if found is None else UUID(bytes=found[0])

    @dead.setter
    def dead(self, worker: UUID) -> None:
        self._dead.write(worker.bytes)


class Seat:
    """A slot as the child sees it who has it now. Made in the parent right before the fork."""

    def __init__(self, slot: Slot, board: Board, name: str) -> None:
        self.slot = slot
        self.name = name
        """Of the worker, for people: `host:pid of the parent/number`."""
        self.life = slot.life
        self.is_orphan = False
        """Set in the child when its parent is gone, and the heart with it."""
        self._board = board

    def join(self, worker: UUID) -> None:
        """From here on the heart keeps this worker alive, and has it declared dead when this process is."""
        self.slot.hand.clear()
        self.slot._member.write(self.life, worker.bytes)

    def leave(self) -> None:
        self.slot._member.write(self.life, _NOBODY.bytes)

    def say(self, report: WorkerReport) -> None:
        running = report.running.encode(errors="ignore")[:_RUNNING_BYTES]
        numbers = (report.completed, report.failed, report.rss_kb)
        self.slot._report.write(self.life, report.stopping, report.quiet, *numbers, running)

    def watch(self, deadline: Deadline | None) -> None:
        """A `Watch`. One thread at a time."""
        at, job_id, lease_no = deadline or (0.0, _NOBODY, 0)
        self.slot._deadline.write(self.life, at, job_id.bytes, lease_no)

    def finishing(self) -> None:
        """No job runs any more."""
        self.slot._word[_FINISHING] = self.life

    @property
    def wish(self) -> tuple[int, Command]:
        """What the parent wants of all its children, and a number that is another one each time it says so."""
        return self._board.wish


class Board:
    """The page: a head, and slots. A store has more slots than children, so that a new child needn't wait for the
    heart to bury the last one.
    """

    def __init__(self, aliases: Sequence[str]) -> None:
        self._targets = {alias: _HEAD_WORDS + n for n, alias in enumerate(sorted(set(aliases)))}
        head = (_HEAD_WORDS + len(self._targets)) * WORD
        self._memory = memoryview(mmap.mmap(-1, head + len(aliases) * _SLOT_BYTES))
        self._word = self._memory.cast("Q")
        self._seconds = self._memory.cast("d")
        self.slots = [Slot(self._memory, head + n * _SLOT_BYTES, alias) for n, alias in enumerate(aliases)]

    def of(self, alias: str) -> Iterator[Slot]:
        return (slot for slot in self.slots if slot.alias == alias)

    def free(self, alias: str) -> Slot | None:
        return next((slot for slot in self.of(alias) if slot.is_free), None)

    @property
    def wish(self) -> tuple[int, Command]:
        """Written by the parent, for all children: how often it was told, and what."""
        number, wish = divmod(self._word[_WISH], 4)
        return number, Command(wish)

    def tell(self, wish: Command) -> None:
        self._word[_WISH] = 4 * (self.wish[0] + 1) + wish

    def scale(self, alias: str, children: int) -> None:
        """Written by the heart: how many children this store should have."""
        self._word[self._targets[alias]] = children

    def target(self, alias: str) -> int | None:
        """None: that was never decided."""
        return self._word[self._targets[alias]] or None

    @property
    def heart_beat_at(self) -> float:
        """When the heart last said that it goes on, on the monotonic clock; 0.0 if it never did."""
        return self._seconds[_HEART_BEAT_AT]

    @heart_beat_at.setter
    def heart_beat_at(self, now: float) -> None:
        self._seconds[_HEART_BEAT_AT] = now
