from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api import tasks


@pytest.fixture(autouse=True)
def no_calls() -> Iterator[None]:
    tasks.CALLS.clear()
    yield
    tasks.CALLS.clear()
