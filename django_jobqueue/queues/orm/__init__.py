"""The store in the project's database: PostgreSQL, SQLite, MariaDB and MySQL.

`queue.py` has the verbs, each one transaction; `settling.py` and `looking.py` are its larger parts. `dialect.py` has
the statements every database understands, and one file per database what it does differently: faster, or at all.
"""

from __future__ import annotations

from django_jobqueue.queues.orm.queue import OrmQueue

__all__ = ["OrmQueue"]
