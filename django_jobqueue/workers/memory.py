"""How much memory a process has."""

from __future__ import annotations

import os
import resource
import sys

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


def _peak_kb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
