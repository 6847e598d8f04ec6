"""How busy this host is, as Linux tells it. Elsewhere nothing is known."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_STAT, _MEMINFO = Path("/proc/stat"), Path("/proc/meminfo")
_IDLE = (3, 4)  # idle, and waiting for a disk
_TIMES = 8  # what follows is counted in the others, too


class Memory(NamedTuple):
    """In KiB. `free` is what can be had without swapping."""

    free: int
    whole: int


def memory() -> Memory | None:
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        return Memory(*(int(lines[name].split()[0]) for name in ("MemAvailable", "MemTotal")))
    except (OSError, ValueError, KeyError, IndexError):
        return None


class Processors:
    """Tells which share of the processors' time was worked in, since it was last asked."""

    def __init__(self) -> None:
        self._last = _times()

    def busy(self) -> float | None:
        """From 0 to 1; None when nothing is known."""
        before, self._last = self._last, _times()
        if before is None or self._last is None:
            return None
        spent = [now - then for now, then in zip(self._last, before, strict=True)]
        return 1 - sum(spent[n] for n in _IDLE) / sum(spent) if sum(spent) > 0 else None


def _times() -> list[int] | None:
    try:
        found = [int(ticks) for ticks in _STAT.read_text().split("\n", 1)[0].split()[1 : 1 + _TIMES]]
    except (OSError, ValueError):
        return None
    return found if len(found) == _TIMES else None
