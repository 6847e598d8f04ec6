from __future__ import annotations

import pytest

from tests.queues.orm import OrmContract


@pytest.mark.django_db(transaction=True, databases=["default"])
class TestSQLiteQueue(OrmContract):
    database = "default"
