"""The bugs can still be planted. That the tests catch them is for `make seeded-bugs`."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from tests.seeded_bugs.__main__ import ROOT, changed
from tests.seeded_bugs.bugs import BUGS


@pytest.mark.parametrize("one", BUGS, ids=lambda one: one.name)
def test_it_can_be_planted(one):
    texts: dict[str, str] = {}
    for edit in one.edits:
        text = texts.get(edit.file) or (ROOT / edit.file).read_text()
        texts[edit.file] = changed(text, edit)
    for file, text in texts.items():
        if file.endswith(".py"):
            ast.parse(text)
    assert (ROOT / one.tests[0]).exists()


def test_each_has_a_name_of_its_own():
    assert max(Counter(one.name for one in BUGS).values()) == 1
