"""The four books of a run, read after its end: the ledgers, the log, the nemesis' record, and what the store says."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.log import Log


class Row(NamedTuple):
    """An execution in the history."""

    lease_no: int
    attempt: int
    outcome: str
    result: str
    worker: str
    finished: float


def _lines(text: str) -> list[str]:
    """Whole ones: who was killed in the middle of the last had not got as far as it says, or nobody had heard of it."""
    return text[: text.rfind("\n") + 1].splitlines()


@dataclass
class Books:
    kinds: dict[str, str] = field(default_factory=dict)
    """Every job that was meant, and its task."""
    acked: set[str] = field(default_factory=set)
    void: set[str] = field(default_factory=set)
    log: Log = field(default_factory=Log)
    killed: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By process number, the moments before SIGKILL: a long run sees numbers again."""
    history: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    effects: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """What atomic jobs have written: under which leases."""
    dead: dict[str, Any] = field(default_factory=dict)
    """Dead letters: reason, attempt, lease number."""

    def read_ledger(self, ledger: Path) -> None:
        for line in _lines(ledger.read_text()):
            event, job_id, *kind = line.split()
            if event == "intent":
                self.kinds[job_id] = kind[0]
            else:
                (self.acked if event == "acked" else self.void).add(job_id)

    def read_nemesis(self, record: Path) -> None:
        for line in _lines(record.read_text()) if record.exists() else ():
            fault = json.loads(line)
            if "killed" in fault:
                self.killed[fault["pid"]].append(fault["killed"])

    def killed_after(self, pid: int, moment: float) -> float | None:
        """When the process that had this number at the moment was killed; None: it was not."""
        return min((one for one in self.killed.get(pid, ()) if one >= moment), default=None)

    def read_store(self, stage: Any, effects: Any) -> None:
        """`effects`: rows of (job, lease number)."""
        fields = ("job_id", "lease_no", "attempt", "outcome", "result", "worker_id", "finished_at")
        for job_id, *rest, worker, finished in stage.history().order_by("lease_no").values_list(*fields):
            self.history[str(job_id)].append(Row(*rest, str(worker), finished.timestamp()))
        for job_id, lease_no in effects:
            self.effects[str(job_id)].append(lease_no)
        for job_id, letter in stage.dead().items():
            self.dead[str(job_id)] = letter
