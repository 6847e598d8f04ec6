"""Compares the books of a run. Whatever is counted in `Verdict.zeros` must be zero."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from tests.chaos.books import Books, Row
from tests.chaos.kinds import KINDS
from tests.chaos.log import Execution

ZEROS = {
    "lost": "acknowledged, and never ended",
    "phantom": "ran or ended, and nobody had meant it",
    "ended_twice": "more than one end",
    "wrong_end": "another end than its task's",
    "overlap": "two executions at once, the first one's lease not over",
    "lease_twice": "two executions under one lease",
    "stale": "a write under a lease that was over was accepted",
    "effects": "an atomic job that completed without its effect, or left one without completing, or two",
    "attempts": "more attempts than allowed",
    "crashes": "buried for crashes before the budget was spent, or not in time",
}
SAMPLES = 5


@dataclass
class Verdict:
    zeros: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def found(self, what: str, words: str) -> None:
        self.zeros[what] += 1
        self.samples.setdefault(what, [])
        if len(self.samples[what]) < SAMPLES:
            self.samples[what].append(words)


def check(books: Books, lease: float, crash_budget: int) -> Verdict:
    verdict = Verdict()
    for job_id in sorted({*books.kinds, *books.log.runs, *books.history, *books.dead}):
        _check_job(verdict, books, job_id, lease, crash_budget)
    _check_heartbeats(verdict, books)
    rows = [row for rows in books.history.values() for row in rows]
    verdict.figures = {
        "jobs acknowledged": len(books.acked),
        "jobs of unknown fate to their producer": len(books.kinds.keys() - books.acked - books.void),
        "executions started": sum(map(len, books.log.runs.values())),
        "atomic jobs completed, with one effect each": len(books.effects),
        "executions lost": sum(row.outcome == "lost" for row in rows),
        "stale settlements refused": books.log.late,
        "workers told that they are dead": len(books.log.told_dead),
        "dead letters of lost workers": sum(letter.reason == "worker_lost" for letter in books.dead.values()),
    }
    return verdict


def _check_job(verdict: Verdict, books: Books, job_id: str, lease: float, budget: int) -> None:
    runs, rows = books.log.runs.get(job_id, []), books.history.get(job_id, [])
    letter, kind = books.dead.get(job_id), books.kinds.get(job_id)
    ends = sum(row.outcome == "completed" for row in rows) + (letter is not None)
    if kind is None or job_id in books.void:
        if runs or rows or letter:
            verdict.found("phantom", f"{job_id}: {'rolled back' if kind else 'unheard of'}, {len(runs)} runs, {rows}")
        return
    if job_id in books.acked and not ends:
        verdict.found("lost", f"{job_id} {kind}: {rows}")
    if ends > 1:
        verdict.found("ended_twice", f"{job_id} {kind}: {rows}")
    _check_end(verdict, job_id, kind, rows, letter, budget)
    _check_effects(verdict, books, job_id, kind, rows)
    _check_runs(verdict, books, job_id, runs, lease)
    _check_rows(verdict, job_id, kind, runs, rows)


def _check_end(verdict: Verdict, job_id: str, kind: str, rows: list[Row], letter: Any, budget: int) -> None:
    lost = sum(row.outcome == "lost" for row in rows)
    is_poison = letter is not None and letter.reason == "worker_lost"
    if is_poison != (lost >= budget) or lost > budget:
        verdict.found("crashes", f"{job_id} {kind}: lost {lost} times, {letter and letter.reason}")
    if is_poison:
        return
    completed = any(row.outcome == "completed" for row in rows)
    if not KINDS[kind].is_atomic and (completed if KINDS[kind].ends_dead else letter is not None):
        verdict.found("wrong_end", f"{job_id} {kind}: {letter and letter.reason} {rows}")


def _check_effects(verdict: Verdict, books: Books, job_id: str, kind: str, rows: list[Row]) -> None:
    wanted = [row.lease_no for row in rows if row.outcome == "completed"] if KINDS[kind].is_atomic else []
    if books.effects.get(job_id, []) != wanted:
        verdict.found("effects", f"{job_id} {kind}: {books.effects.get(job_id)}, {rows}")


def _check_runs(verdict: Verdict, books: Books, job_id: str, runs: list[Execution], lease: float) -> None:
    for one, other in combinations(sorted(runs, key=lambda run: run.start), 2):
        if one.lease_no == other.lease_no:
            verdict.found("lease_twice", f"{one} {other}")
        elif other.start < _end_of(books, one) and not _was_over(books, one, other.start, lease):
            verdict.found("overlap", f"{one} {other}")


def _end_of(books: Books, run: Execution) -> float:
    """What has no end was killed in the middle; of a process that nobody killed it may still go on."""
    if run.end is not None:
        return run.end
    killed = books.killed_after(run.pid, run.start)
    return float("inf") if killed is None else killed


def _was_over(books: Books, run: Execution, moment: float, lease: float) -> bool:
    """Whether the lease of `run` was over: its worker had not been told for so long that it lives."""
    beats = [asked for asked in books.log.beats.get(run.worker, ()) if asked <= moment]
    return not beats or beats[-1] + lease <= moment


def _check_rows(verdict: Verdict, job_id: str, kind: str, runs: list[Execution], rows: list[Row]) -> None:
    by_lease = {run.lease_no: run for run in runs}
    failures = 0
    for n, row in enumerate(rows):
        run = by_lease.get(row.lease_no)
        failures += row.outcome in ("retrying", "failed")
        if row.outcome in ("completed", "failed", "cancelled") and n != len(rows) - 1:
            verdict.found("stale", f"{job_id} {kind}: went on after its end: {rows}")
        if n and row.finished < rows[n - 1].finished - 0.001 and row.outcome == "lost":
            verdict.found("stale", f"{job_id} {kind}: an older lease ended later: {rows}")
        if row.outcome in ("completed", "failed", "retrying", "snoozed") and (run is None or run.end is None):
            verdict.found("stale", f"{job_id} {kind}: {row} without an execution that got so far")
        if row.outcome == "completed" and row.result != str(row.lease_no):
            verdict.found("stale", f"{job_id} {kind}: the result of another execution: {row}")
    most = KINDS[kind].max_attempts
    if failures > most or any(one.attempt > most for one in (*runs, *rows)):
        verdict.found("attempts", f"{job_id} {kind}: {failures} failures, {runs}")


def _check_heartbeats(verdict: Verdict, books: Books) -> None:
    """A worker whose lease was taken is never told again that it lives."""
    for job_id, rows in books.history.items():
        for row in rows:
            beats = books.log.beats.get(row.worker, [])
            if row.outcome == "lost" and any(asked > row.finished + 0.001 for asked in beats):
                verdict.found("stale", f"{job_id}: a heartbeat of {row.worker} after {row}")


def recoveries(books: Books) -> tuple[list[float], list[float]]:
    """Seconds from the SIGKILL of a worker until a job that it held was in the line again, and until it ran again."""
    lives = {run.worker: run for runs in books.log.runs.values() for run in runs}
    back, again = [], []
    for job_id, rows in books.history.items():
        for row in rows:
            life = lives.get(row.worker)
            killed = books.killed_after(life.pid, life.start) if life else None
            if row.outcome != "lost" or killed is None or row.finished < killed:
                continue
            back.append(row.finished - killed)
            later = [run.start for run in books.log.runs.get(job_id, ()) if run.lease_no > row.lease_no]
            again += [min(later) - killed] if later else []
    return sorted(back), sorted(again)


def resumptions(books: Books, outages: list[tuple[float, float]]) -> list[float]:
    """Seconds from the moment the store was back until a job ended."""
    ends = sorted(run.end for runs in books.log.runs.values() for run in runs if run.end)
    found = []
    for _, back in outages:
        later = next((end for end in ends if end > back), None)
        if later is not None:
            found.append(later - back)
    return sorted(found)
