"""MariaDB and MySQL: READ COMMITTED, rows deleted by primary key in order, and deadlocks tried again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import Error

from django_jobqueue.queues.orm.dialect import Dialect
from django_jobqueue.queues.orm.rows import READY, marks

_DEADLOCK = 1213
_LOCK_WAIT_TIMEOUT = 1205
_TOGETHER = 250


class MySQLDialect(Dialect):
    insert_ignore_verb = "INSERT IGNORE INTO"
    insert_ignore_tail = ""

    @property
    def returns_inserted(self) -> bool:  # type: ignore[override]
        """MariaDB can say what it inserted; MySQL can't."""
        return bool(self.connection.mysql_is_mariadb)

    def to_id(self, value: UUID | None) -> Any:
        if value is None:
            return None
        return str(value) if self.connection.features.has_native_uuid_field else value.hex

    @contextmanager
    def given_up_when_frozen(self, seconds: int) -> Iterator[None]:
        """MariaDB can; it knows the limit of a session only, so it is put back. When that fails the connection is gone,
        or the transaction is: Django closes it or the next one sets the limit again.
        """
        if not self.connection.mysql_is_mariadb or self.connection.savepoint_ids:
            yield
            return
        before = self.rows("SELECT @@idle_transaction_timeout")[0][0]
        self.execute(f"SET SESSION idle_transaction_timeout = {int(seconds)}")
        try:
            yield
        finally:
            with suppress(Error):
                self.execute(f"SET SESSION idle_transaction_timeout = {int(before)}")

    def update_rows(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]], same: str = ""
    ) -> None:
        """One statement for many rows, joined with their values: one for each would be a way to the server for each.

        From the values to the rows, by their key: the other way round the whole table is read, and the locks of others
        are waited for.
        """
        *names, key = columns
        first = f"SELECT {', '.join(f'%s AS {name}' for name in columns)}"
        assignments = ", ".join([*(f"t.{name} = v.{name}" for name in names), *filter(None, [same])])
        for start in range(0, len(rows), _TOGETHER):
            piece = rows[start : start + _TOGETHER]
            values = first + f" UNION ALL SELECT {marks(len(columns))}" * (len(piece) - 1)
            self.execute(
                f"UPDATE ({values}) v STRAIGHT_JOIN {table} t ON t.{key} = v.{key} SET {assignments}",
                [value for row in piece for value in row],
            )

    def ready_queues(self) -> list[str]:
        """A look for each queue: in one recursive statement the server reads the whole line for each of them."""
        names: list[str] = []
        [(name,)] = self.rows(f"SELECT MIN(queue) FROM {READY}")
        while name is not None:
            names.append(name)
            [(name,)] = self.rows(f"SELECT MIN(queue) FROM {READY} WHERE queue > %s", [name])
        return names

    def is_deadlock(self, error: Exception) -> bool:
        return bool(error.args) and error.args[0] in (_DEADLOCK, _LOCK_WAIT_TIMEOUT)

    def now(self) -> datetime:
        moment: datetime = self.rows("SELECT UTC_TIMESTAMP(6)")[0][0]
        return moment.replace(tzinfo=UTC)
