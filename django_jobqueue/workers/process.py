"""How a process is: how much memory it has, and whether it was stopped."""

from __future__ import annotations

import os
import resource
import sys
from traceback import walk_tb

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024 if hasattr(os, "sysconf") else 4


def rss_kb(pid: int | None = None) -> int:
    """KiB in memory now; of this process, or of another one, for which 0 means that nobody knows.

    Where there is no /proc, this process's peak stands in for it.
    """
    try:
        with open(f"/proc/{pid or 'self'}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_KB
    except (OSError, ValueError, IndexError):
        return 0 if pid else _peak_kb()


def is_frozen(pid: int) -> bool:
    """Whether a process was stopped by a signal, or a debugger, or has died and nobody has seen it yet.

    False where there is no /proc.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t", b"Z", b"X")
    except (OSError, IndexError):
        return False


def close_pipes(error: OSError) -> None:
    """Close what `multiprocessing` has opened for a process that could not be forked: it leaves that open."""
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_launch":
            for name in ("parent_r", "child_w", "child_r", "parent_w"):
                if (end := frame.f_locals.get(name)) is not None:
                    os.close(end)


def _peak_kb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
