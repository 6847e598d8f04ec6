"""What a producer meant, and what it was told: on the disk before it goes on, so that SIGKILL hides nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID


def write_durably(ledger: Path, *lines: str) -> None:
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, "".join(f"{line}\n" for line in lines).encode())
    os.fsync(file)
    os.close(file)


def intended(ledger: Path) -> Sequence[UUID]:
    return noted("intent", ledger)


def acknowledged(ledger: Path) -> Sequence[UUID]:
    """The jobs whose producer was told that they are stored."""
    return noted("acked", ledger)


def noted(event: str, ledger: Path) -> Sequence[UUID]:
    if not ledger.exists():
        return []
    whole, _, _ = ledger.read_text().rpartition("\n")  # behind it, a line that is being written
    rows = [line.split() for line in whole.splitlines()]
    return [UUID(row[1]) for row in rows if row[0] == event]
