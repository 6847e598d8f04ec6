"""How many children a `queue_work` should have: a rule over samples, without a clock or a store of its own.

More are started when jobs wait and everybody works, fewer are kept when for a while not everybody was needed. Each step
is bounded and followed by a pause, and growing asks for the opposite of what shrinking asks for: under a steady load
the number settles. Neither a busy host nor one short of memory is given more processes.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

GROW_PAUSE = 5.0
"""Seconds after a change before there may be more: the new ones need some time to show what they are worth."""
SHRINK_AFTER = 30.0
"""For so many seconds not all of them were needed, and nothing has changed, before there are fewer."""
BUSY_HOST = 0.95
"""A host whose processors are so busy runs nothing faster with more processes."""
LEAST_FREE = 0.05
"""Of the memory of the host. With less than this there are fewer, whatever waits."""
_SMOOTHING = 0.5


class Sample(NamedTuple):
    """How it is now. `at` is any clock in seconds; `done_per_second` is counted since the last sample.

    `host_busy` is the share of the host's processors that work, 0 to 1. A figure that is not known is None.
    `is_backlog`: a queue has more jobs than its settings allow, see `backlog`.
    """

    at: float
    ready: int
    oldest_ready_s: float
    children: int
    busy: int
    done_per_second: float
    host_busy: float | None = None
    free_memory_kb: int | None = None
    host_memory_kb: int | None = None
    child_memory_kb: int | None = None
    is_backlog: bool = False


class Decision(NamedTuple):
    """How many children there should be, and why, for the log."""

    children: int
    why: str = ""


class Autoscaler:
    """Between `least` and `most` children, so that nothing waits longer than `target` seconds, if that can be had."""

    def __init__(self, least: int, most: int, target: float = 10.0) -> None:
        if not 0 < least <= most:
            raise ValueError(f"from {least} to {most} children: the first must be at least 1, the second not less")
        self.least, self.most, self.target = least, most, target
        self._changed_at = -math.inf
        self._rate: float | None = None
        self._needed: deque[tuple[float, int]] = deque()

    def decide(self, now: Sample) -> Decision:
        """What to do at this sample. It is taken to be done: the next pauses count from here."""
        self._learn(now)
        decision = self._bounded(now) or self._less_memory(now) or self._more(now) or self._fewer(now)
        if decision is None:
            return Decision(now.children)
        self._changed_at = now.at
        self._needed.clear()
        return decision

    def _learn(self, now: Sample) -> None:
        if self._rate is None or not now.children:
            self._rate = now.done_per_second
        else:
            self._rate = _SMOOTHING * now.done_per_second + (1 - _SMOOTHING) * self._rate
        is_pressed = now.ready > 0 and now.busy >= now.children
        self._needed.append((now.at, now.children if is_pressed or self._waits_too_long(now) else now.busy))
        # The oldest that is kept stands at the edge of the time looked back at, or before it: clocks tick as they like.
        while len(self._needed) > 1 and self._needed[1][0] <= now.at - SHRINK_AFTER:
            self._needed.popleft()

    def _bounded(self, now: Sample) -> Decision | None:
        """Somebody died or the bounds are new: that is no decision of ours, and waits for nothing."""
        within = max(self.least, min(self.most, now.children))
        return Decision(within, f"between {self.least} and {self.most}") if within != now.children else None

    def _less_memory(self, now: Sample) -> Decision | None:
        if now.free_memory_kb is None or not now.host_memory_kb or now.children <= self.least:
            return None
        if now.free_memory_kb >= LEAST_FREE * now.host_memory_kb or now.at - self._changed_at < GROW_PAUSE:
            return None
        return Decision(now.children - 1, f"only {now.free_memory_kb // 1024} MiB of memory are free")

    def _more(self, now: Sample) -> Decision | None:
        if now.children >= self.most or now.busy < now.children or not self._waits_too_long(now):
            return None
        if now.at - self._changed_at < GROW_PAUSE or (now.host_busy is not None and now.host_busy > BUSY_HOST):
            return None
        clear_in = self._clear_in(now)
        wanted = self.most if clear_in == math.inf else math.ceil(now.children * clear_in / self.target)
        step = min(max(1, wanted - now.children), max(1, now.children // 2), self.most - now.children, now.ready)
        step = min(step, self._that_fit(now))
        if step < 1:
            return None
        return Decision(now.children + step, f"{now.ready} jobs wait, for up to {now.oldest_ready_s:.0f} s")

    def _waits_too_long(self, now: Sample) -> bool:
        return now.ready > 0 and (now.is_backlog or max(self._clear_in(now), now.oldest_ready_s) > self.target)

    def _clear_in(self, now: Sample) -> float:
        """Seconds until what waits now has been done, as things go."""
        return now.ready / self._rate if self._rate else math.inf

    def _that_fit(self, now: Sample) -> int:
        """How many more the memory holds, if they are as large as those that are there."""
        if now.free_memory_kb is None or not now.host_memory_kb or not now.child_memory_kb:
            return self.most
        return int((now.free_memory_kb - LEAST_FREE * now.host_memory_kb) // now.child_memory_kb)

    def _fewer(self, now: Sample) -> Decision | None:
        if now.children <= self.least or now.at - max(self._changed_at, self._needed[0][0]) < SHRINK_AFTER:
            return None
        needed = max(count for _, count in self._needed)
        spare = now.children - max(needed, self.least)
        if spare < 1:
            return None
        return Decision(now.children - max(1, spare // 2), f"at most {needed} were busy in {SHRINK_AFTER:.0f} s")
