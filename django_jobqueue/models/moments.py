"""A moment as a column: the same in every project, whatever its settings say about time zones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.utils import timezone

from django_jobqueue.compat import as_django_tells_it


class MomentField(models.DateTimeField):
    """A `DateTimeField` that is in UTC in a database without time zones (SQLite, MariaDB, MySQL).

    Django writes local times there when USE_TZ is off, or when the connection has a TIME_ZONE. In the hour that the
    clocks repeat each of them stands for two moments, and the later ones are sorted between the earlier. A queue that
    compares them would run jobs an hour early, or take its workers for dead.

    In Python it is as from any `DateTimeField`: aware, or local and naive when USE_TZ is off, and then `fold` tells the
    two apart.
    """

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        moment = value if prepared else self.get_prep_value(value)
        if not isinstance(moment, datetime):
            return super().get_db_prep_value(moment, connection, prepared=True)
        moment = _in_utc(moment)
        has_zones = connection.features.supports_timezones
        return connection.ops.adapt_datetimefield_value(moment if has_zones else moment.replace(tzinfo=None))

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Django's own converter has been there, and has taken it for a time in the connection's zone."""
        if not isinstance(value, datetime) or connection.features.supports_timezones:
            return value
        try:
            return as_django_tells_it(value.replace(tzinfo=UTC))
        except OverflowError:  # the first and the last day of the calendar
            return value


def _in_utc(moment: datetime) -> datetime:
    aware = moment if timezone.is_aware(moment) else timezone.make_aware(moment, timezone.get_default_timezone())
    try:
        return aware.astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)
