from __future__ import annotations

import re
from pathlib import Path

from django_jobqueue.monitoring.faults import EXPLANATIONS
from django_jobqueue.queues.inspection import Fault

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "check-the-store.md"


def test_every_fault_is_explained():
    assert set(EXPLANATIONS) == set(Fault)


def test_the_page_explains_them_in_the_same_words():
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(str(fault), *map(str, explanation)) for fault, explanation in EXPLANATIONS.items()]
