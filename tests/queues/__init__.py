"""The stores, held to one contract. The parts of the contract are plain modules; their asserts shall explain themselves."""

import pytest

pytest.register_assert_rewrite(
    *(f"tests.queues.{name}" for name in ("hooks", "producing", "claiming", "settling", "living", "races", "orm"))
)
