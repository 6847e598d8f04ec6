"""The stores, held to one contract. Its parts are plain modules, whose asserts shall explain themselves as well."""

import pytest

pytest.register_assert_rewrite(
    *(f"tests.queues.{name}" for name in ("hooks", "producing", "claiming", "settling", "living", "races", "orm"))
)
