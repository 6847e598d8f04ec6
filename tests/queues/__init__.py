"""The stores, held to one contract. Its parts are plain modules, whose asserts shall explain themselves as well."""

import pytest

_PARTS = (
    "hooks",
    "fates",
    "producing",
    "waiting",
    "looking",
    "claiming",
    "settling",
    "living",
    "dying",
    "stopping",
    "races",
    "orm",
)
_OUTBOX = ("hooks", "committing", "arriving", "mishaps")

pytest.register_assert_rewrite(
    *(f"tests.queues.{name}" for name in _PARTS), *(f"tests.queues.outbox.{name}" for name in _OUTBOX)
)
