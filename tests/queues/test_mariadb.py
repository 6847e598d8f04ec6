from __future__ import annotations

import pytest

from tests.queues.orm import OrmContract


@pytest.mark.django_db(transaction=True, databases=["mariadb"])
class TestMariaDBQueue(OrmContract):
    database = "mariadb"
