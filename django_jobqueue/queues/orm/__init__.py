"""The store in the project's database: PostgreSQL, SQLite, MariaDB and MySQL.

`queue.py` has the verbs, each one transaction. `dialect.py` has the statements every database understands, and one
file per database what it does differently: faster, or at all.
"""

from __future__ import annotations

from django_jobqueue.queues.orm.queue import OrmQueue

__all__ = ["OrmQueue"]
