"""Whether we have become slower: the ratios of a small run next to those of an earlier one (ratios.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.benchmarks.goals import WATCHED, judged
from tests.benchmarks.report import table

FILE = Path(__file__).with_name("ratios.json")
FALL = 0.15


def ratios(results: dict[str, Any]) -> dict[str, float]:
    """What it is -> its median over the rounds."""
    found = [judged(goal, results["stores"]) for goal in WATCHED if goal.store in results["stores"]]
    return {f"{one.store}: {one.what}": round(one.value, 3) for one in found if one.values}


def record(results: dict[str, Any], file: Path = FILE) -> None:
    """As what later runs are compared with."""
    about = {name: results["machine"][name] for name in ("cores", "python", "django", "rounds")}
    file.write_text(json.dumps({"of": about, "ratios": ratios(results)}, indent=1) + "\n")


def comparison(results: dict[str, Any], file: Path = FILE) -> str:
    """A table, and a warning for each ratio that fell by more than 15 %. A latency ratio is worse when it is larger."""
    if not file.exists():
        return f"Nothing to compare with: there is no {file.name} yet."
    before, now = json.loads(file.read_text())["ratios"], ratios(results)
    rows = [(what, was, now[what], change(what, was, now[what])) for what, was in before.items() if what in now]
    warnings = [f"WARNING: {what} fell by {-by:.0%}." for what, _, _, by in rows if by < -FALL]
    lines = [(what, f"{was:.2f}", f"{is_now:.2f}", f"{by:+.0%}") for what, was, is_now, by in rows]
    return "\n\n".join([table(("ratio", "recorded", "now", ""), lines), *warnings])


def change(what: str, was: float, now: float) -> float:
    """As a share; below zero is worse."""
    return was / now - 1 if "latency" in what else now / was - 1
