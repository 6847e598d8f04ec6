"""Is everything where it should be? The promises P1 to P11, checked on a store that is at work.

Nothing is stopped and nothing is locked: an inspector of the store reads it by slices, each of one moment. What looks
wrong is looked at again a little later, and told only when it still does.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from django_jobqueue.exceptions import JobQueueError
from django_jobqueue.monitoring.faults import EXPLANATIONS
from django_jobqueue.queues.base import Queue
from django_jobqueue.queues.inspection import Fault, Inspector, Suspect

PATIENCE = 3.0
"""Seconds between the two looks."""
LATE = 60.0
"""Seconds that what is due may be late: a delay, a delivery, a record, a silent worker's lease."""
MOST = 10_000
"""Suspects of one kind that are kept: a store that is wrong all over must not fill our memory."""
EXAMPLES = 5


class CannotCheck(JobQueueError):
    """This kind of store has nothing that could be checked."""


@dataclass(kw_only=True)
class Finding:
    """One kind of fault. `count` is at least so many when `is_capped`; `repaired` of them are mended."""

    code: str
    severity: str
    count: int
    examples: list[str]
    meaning: str
    repair: str
    can_repair: bool
    is_capped: bool = False
    repaired: int = 0

    def __str__(self) -> str:
        more = "or more " if self.is_capped else ""
        keys = ", ".join([*self.examples, *(["…"] if self.count > len(self.examples) else [])])
        lines = [
            f"{self.severity.upper()} {self.code}: {self.count:,} {more}({keys})",
            f"  {self.meaning}",
            f"  {'Repair: ' if self.can_repair else ''}{self.repair}",
        ]
        return "\n".join([*lines, f"  {self.repaired:,} repaired."] if self.repaired else lines)


@dataclass(kw_only=True)
class Report:
    """What was looked at and what was found. `account` has the live jobs and how many are in each room."""

    backend: str
    findings: list[Finding] = field(default_factory=list)
    looked_at: dict[str, int] = field(default_factory=dict)
    account: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        """For people: a line for what was looked at, then a paragraph for each finding."""
        seen = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in self.looked_at.items())
        head = f"{self.backend}: looked at {seen} in {self.seconds:.1f} s."
        return "\n\n".join([head, *map(str, self.findings)] if self.findings else [f"{head} Nothing is wrong."])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"is_clean": self.is_clean}

    def finding(self, code: str) -> Finding | None:
        return next((one for one in self.findings if one.code == code), None)


def check(queue: Queue, *, repair: bool = False, patience: float = PATIENCE, late: float = LATE) -> Report:
    """Look at everything in a store; with `repair`, mend what can be mended without a decision.

    `patience` is how many seconds pass before a second look at what seems wrong, `late` how many seconds anything may
    be late. Raises `CannotCheck`, and `STORE_ERRORS` when the store or its database does not answer.
    """
    inspector = queue.inspector(late)
    if inspector is None:
        raise CannotCheck(f"The store {queue.alias!r} can't be checked: {type(queue).__name__} has no inspector.")
    started = time.monotonic()
    suspects, looked_at, capped = _first_look(inspector)
    wrong = _still_wrong(inspector, suspects, patience)
    report = Report(backend=queue.alias, findings=_findings(inspector, wrong, capped), looked_at=looked_at)
    if repair:
        _repair(inspector, report.findings, wrong)
    report.account = inspector.account()
    report.findings += _balance(report.account)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _first_look(inspector: Inspector) -> tuple[set[Suspect], dict[str, int], set[Fault]]:
    """What is suspect, what was looked at, and of which kinds there is more than was kept."""
    suspects: set[Suspect] = set()
    looked_at: Counter[str] = Counter()
    kinds: Counter[Fault] = Counter()
    for piece in inspector.look():
        looked_at[piece.what] += piece.seen
        for one in set(piece.suspects) - suspects:
            kinds[one.fault] += 1
            if kinds[one.fault] <= MOST:
                suspects.add(one)
    return suspects, dict(looked_at), {fault for fault, count in kinds.items() if count > MOST}


def _still_wrong(inspector: Inspector, suspects: set[Suspect], patience: float) -> set[Suspect]:
    if not suspects:
        return suspects
    time.sleep(patience)
    return inspector.look_again(sorted(suspects))


def _findings(inspector: Inspector, wrong: Iterable[Suspect], capped: set[Fault]) -> list[Finding]:
    keys: dict[Fault, list[str]] = defaultdict(list)
    for one in sorted(wrong):
        keys[one.fault].append(one.key)
    return [
        _finding(fault, keys[fault], inspector.can_repair(fault), fault in capped)
        for fault in EXPLANATIONS
        if fault in keys
    ]


def _finding(fault: Fault, keys: list[str], can_repair: bool = False, is_capped: bool = False) -> Finding:
    severity, meaning, repair = EXPLANATIONS[fault]
    return Finding(
        code=str(fault),
        severity=str(severity),
        count=len(keys),
        examples=keys[:EXAMPLES],
        meaning=meaning,
        repair=repair,
        can_repair=can_repair,
        is_capped=is_capped,
    )


def _repair(inspector: Inspector, findings: Iterable[Finding], wrong: Iterable[Suspect]) -> None:
    """Kind by kind; what is wrong no more has been repaired."""
    for finding in findings:
        mine = sorted(one for one in wrong if one.fault == finding.code)
        if finding.can_repair:
            inspector.repair(Fault(finding.code), mine)
            finding.repaired = len(mine) - len(inspector.look_again(mine))


def _balance(account: dict[str, int]) -> list[Finding]:
    """P11 for the live jobs: each is in one room. Read at one moment, so one look is enough."""
    in_rooms = sum(n for name, n in account.items() if name != "jobs" and not name.startswith("_"))
    if in_rooms == account["jobs"]:
        return []
    words = ", ".join(f"{n} {name}" for name, n in account.items() if not name.startswith("_"))
    return [_finding(Fault.NOT_BALANCED, [words])]
