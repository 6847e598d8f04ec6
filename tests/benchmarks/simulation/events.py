"""A clock, and what one may have to wait for: cores, a lock, a disk. A process is a generator of such waits.

Each wait is a function that is given what to call when it is over. Time is in seconds and moves only when nothing else
is left to do, so the same numbers give the same answer on any machine.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator

Then = Callable[[], None]
Wait = Callable[[Then], None]
Process = Generator[Wait, None, None]

SLICE = 0.005
"""How long one keeps a core while others wait for it; Python's switch interval, and about Linux's."""


class Loop:
    def __init__(self) -> None:
        self.now = 0.0
        self._todo: list[tuple[float, int, Then]] = []
        self._numbers = itertools.count()

    def later(self, seconds: float, then: Then) -> None:
        heapq.heappush(self._todo, (self.now + seconds, next(self._numbers), then))

    def pause(self, seconds: float) -> Wait:
        return lambda then: self.later(seconds, then)

    def start(self, process: Process, at_end: Then = lambda: None) -> None:
        """Let it run until its next wait; it goes on by itself."""

        def go_on() -> None:
            try:
                wait = next(process)
            except StopIteration:
                at_end()
            else:
                wait(go_on)

        go_on()

    def run(self, until: float) -> None:
        while self._todo and self._todo[0][0] <= until:
            self.now, _, then = heapq.heappop(self._todo)
            then()
        self.now = until


class Places:
    """So many may be inside at once, the others stand in line. One place is a lock."""

    def __init__(self, loop: Loop, count: int) -> None:
        self.loop, self.count = loop, count
        self.busy_seconds = 0.0
        """Places times seconds, since the last `forget`."""
        self._since = 0.0
        self._taken = 0
        self._line: deque[Then] = deque()
        self._seen = 0.0

    def take(self) -> Wait:
        return self._take

    def _take(self, then: Then) -> None:
        if self._taken < self.count:
            self._note()
            self._taken += 1
            then()
        else:
            self._line.append(then)

    def try_to_take(self) -> bool:
        """Without standing in line."""
        is_free = self._taken < self.count
        if is_free:
            self._note()
            self._taken += 1
        return is_free

    def give(self) -> None:
        self._note()
        if self._line:
            self.loop.later(0.0, self._line.popleft())  # the place passes from one to the other
        else:
            self._taken -= 1

    def use(self, seconds: float, at_once: float = SLICE) -> Process:
        """Be served for so long, in slices of `at_once`."""
        while seconds > 0:
            yield self.take()
            yield self.loop.pause(min(seconds, at_once))
            self.give()
            seconds -= at_once

    def _note(self) -> None:
        self.busy_seconds += self._taken * (self.loop.now - self._seen)
        self._seen = self.loop.now

    def share(self) -> float:
        """Of its time since the last `forget`, how much it was busy: 1 is all of it."""
        self._note()
        return self.busy_seconds / (self.count * (self.loop.now - self._since))

    def forget(self) -> None:
        self._note()
        self.busy_seconds, self._since = 0.0, self.loop.now


class Disk:
    """One flush at a time; it takes all who wait when it begins (group commit)."""

    def __init__(self, loop: Loop, sync_seconds: float, bytes_per_second: float) -> None:
        self.loop, self.sync_seconds, self.bytes_per_second = loop, sync_seconds, bytes_per_second
        self.arm = Places(loop, 1)
        self.flushes = 0
        self._waiting: list[tuple[float, Then]] = []
        self._is_busy = False

    def flush(self, size: float) -> Wait:
        def wait(then: Then) -> None:
            self._waiting.append((size, then))
            if not self._is_busy:
                self._begin()

        return wait

    def _begin(self) -> None:
        group, self._waiting, self._is_busy = self._waiting, [], True
        seconds = self.sync_seconds + sum(size for size, _ in group) / self.bytes_per_second
        self.arm.try_to_take()
        self.loop.later(seconds, lambda: self._end([then for _, then in group]))

    def _end(self, group: list[Then]) -> None:
        self.flushes += 1
        self._is_busy = False
        self.arm.give()
        if self._waiting:
            self._begin()
        for then in group:
            then()
