"""The tables of other schedulers, by SQL of the layout their current versions make, and rows in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connections

from django_jobqueue.scheduling.importers import SOURCES, Found, Origin

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""A Monday in winter: what is found out is found out as of then."""

CELERY_BEAT = """
CREATE TABLE django_celery_beat_intervalschedule (id integer PRIMARY KEY, every integer, period varchar(24));
CREATE TABLE django_celery_beat_solarschedule
    (id integer PRIMARY KEY, event varchar(24), latitude decimal(9, 6), longitude decimal(9, 6));
CREATE TABLE django_celery_beat_clockedschedule (id integer PRIMARY KEY, clocked_time {moment});
CREATE TABLE django_celery_beat_crontabschedule
    (id integer PRIMARY KEY, minute varchar(240), hour varchar(96), day_of_week varchar(64), day_of_month varchar(124),
     month_of_year varchar(64), timezone varchar(63));
CREATE TABLE django_celery_beat_periodictask
    (id integer PRIMARY KEY, name varchar(200) UNIQUE, task varchar(200), args text, kwargs text, queue varchar(200),
     exchange varchar(200), routing_key varchar(200), expires {moment}, enabled {flag}, last_run_at {moment},
     total_run_count integer, date_changed {moment}, description text, crontab_id integer, interval_id integer,
     solar_id integer, one_off {flag}, start_time {moment}, priority integer, headers text, clocked_id integer,
     expire_seconds integer);
"""
DJANGO_Q2 = """
CREATE TABLE django_q_schedule
    (id integer PRIMARY KEY, func varchar(256), hook varchar(256), args text, kwargs text, repeats integer,
     next_run {moment}, task varchar(100), name varchar(100), minutes smallint, cron varchar(100), cluster varchar(100),
     schedule_type varchar(2), intended_date_kwarg varchar(100));
"""
_TYPES = {
    "sqlite": {"moment": "datetime", "flag": "bool"},
    "postgresql": {"moment": "timestamp with time zone", "flag": "boolean"},
}


def make_tables(layout: str, using: str = "default") -> None:
    connection = connections[using]
    with connection.cursor() as cursor:
        for statement in layout.format(**_TYPES[connection.vendor]).split(";")[:-1]:
            cursor.execute(statement)


def insert(table: str, using: str = "default", **values: Any) -> None:
    connection = connections[using]
    given = {
        name: connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value
        for name, value in values.items()
    }
    names, marks = ", ".join(given), ", ".join(["%s"] * len(given))
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(given.values()))


def read(source: str, **options: Any) -> dict[str, Found]:
    found = SOURCES[source](Origin(**{"now": NOON, "timezone": "Europe/Berlin", **options}))
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}
