"""What processes need, as Linux tells it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path


def resident(pid: int) -> int:
    """KiB of a process that are in memory, pages that it shares with others included."""
    return field(pid, "Rss")


def field(pid: int, name: str) -> int:
    return int(re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[1])


def family(pid: int) -> Iterator[int]:
    """The process and its descendants; of one that ends while we look, those that were seen."""
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))
    except (FileNotFoundError, ProcessLookupError):
        return


def of_all(pids: Iterable[int]) -> dict[str, float]:
    """Of processes and their descendants: how many there are, and their MB; `pss` counts a shared page once."""
    found = [one for pid in pids for one in family(pid)]
    return {
        "processes": len(found),
        "rss_mb": sum(resident(one) for one in found) / 1_024,
        "pss_mb": sum(field(one, "Pss") for one in found) / 1_024,
    }
