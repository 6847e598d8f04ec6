from __future__ import annotations

import pytest

from tests.queues.outbox.contract import OutboxContract


@pytest.mark.django_db(transaction=True, databases=["default"])
class TestSQLiteOutbox(OutboxContract):
    database = "default"


@pytest.mark.django_db(transaction=True, databases=["postgres"])
class TestPostgresOutbox(OutboxContract):
    database = "postgres"


@pytest.mark.django_db(transaction=True, databases=["mariadb"])
class TestMariaDBOutbox(OutboxContract):
    database = "mariadb"
