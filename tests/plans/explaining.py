"""What a store sends is caught at its driver, and explained by the database just before it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
import pytest
from django.db import connections
from psycopg import sql as compose

VERBS = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


class Plan(NamedTuple):
    """`reads`: (table, index) pairs, the index empty where the table is read whole. `sorts`: what is sorted before it
    is cut: the tables under it. `text`: as the database says it. `walked`: tables of which all is read, be it along an
    index; known of PostgreSQL.
    """

    sql: str
    reads: frozenset[tuple[str, str]]
    sorts: frozenset[str]
    text: str
    pages: int = 0
    rows: int = 0
    walked: frozenset[str] = frozenset()


@contextmanager
def explained(alias: str, how: str = "custom") -> Iterator[list[Plan]]:
    """The plans of the statements that are sent inside. `how`, for PostgreSQL: `custom`, `generic`, or `counted`."""
    kinds = {"postgresql": _postgres, "sqlite": _sqlite, "mysql": _mariadb}
    with kinds[connections[alias].vendor](alias, how) as plans:
        yield plans


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


@contextmanager
def _postgres(alias: str, how: str) -> Iterator[list[Plan]]:
    plans: list[Plan] = []
    original, is_ours = psycopg.Cursor.execute, connections[alias]

    def execute(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        text = query.strip() if isinstance(query, str) else ""
        if text.startswith(VERBS) and self.connection is is_ours.connection:
            plans.append(_plan_of(self.connection, text, params, how))
        return original(self, query, params, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", execute)
        yield plans


def _plan_of(connection: Any, text: str, params: Any, how: str) -> Plan:
    with connection.transaction(force_rollback=True):
        if how == "generic":
            rows = _generic(connection, text, params)
        else:
            options = "FORMAT JSON" + (", ANALYZE, BUFFERS, TIMING OFF" if how == "counted" else "")
            rows = _raw(connection, f"EXPLAIN ({options}) {text}", params)
    tree = rows[0][0][0]["Plan"]
    reads, sorts = frozenset(_reads(tree)), frozenset(_sorts(tree))
    pages = tree.get("Shared Hit Blocks", 0) + tree.get("Shared Read Blocks", 0)
    return Plan(text, reads, sorts, json.dumps(tree, indent=1), pages, sum(_rows(tree)), frozenset(_walked(tree)))


_execute = psycopg.Cursor.execute


def _raw(connection: Any, query: Any, params: Any = None) -> list[Any]:
    cursor = _execute(psycopg.Cursor(connection), query, params)
    return cursor.fetchall() if cursor.description else []


def _generic(connection: Any, text: str, params: Any) -> list[Any]:
    """The plan that a prepared statement keeps, whatever its values are."""
    numbers = iter(range(1, 1_000))
    numbered = re.sub(r"%s", lambda _: f"${next(numbers)}", text).replace("%%", "%")
    values = compose.SQL(", ").join(map(compose.Literal, params or ()))
    given = compose.SQL("({})").format(values) if params else compose.SQL("")
    _raw(connection, "SET LOCAL plan_cache_mode = force_generic_plan")
    _raw(connection, f"PREPARE looked_at AS {numbered}".encode())
    try:
        return _raw(connection, compose.SQL("EXPLAIN (FORMAT JSON) EXECUTE looked_at") + given)
    finally:
        _raw(connection, "DEALLOCATE looked_at")


def _nodes(node: dict[str, Any], within: bool = False) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        if not (within and child.get("Parent Relationship") == "InitPlan"):
            yield from _nodes(child, within)


def _reads(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for node in _nodes(tree):
        kind, table = node["Node Type"], node.get("Relation Name", "")
        if kind == "Seq Scan":
            yield table, ""
        elif kind in ("Index Scan", "Index Only Scan"):
            yield table, node["Index Name"]
        elif kind == "Bitmap Heap Scan":
            yield from ((table, one["Index Name"]) for one in _nodes(node) if "Index Name" in one)


def _sorts(tree: dict[str, Any]) -> Iterator[str]:
    """Tables that are read to be sorted. What is done before, in a WITH of its own, is none of that."""
    for node in _nodes(tree):
        if node["Node Type"] == "Sort":
            yield from (one["Relation Name"] for one in _nodes(node, within=True) if "Relation Name" in one)


def _walked(tree: dict[str, Any]) -> Iterator[str]:
    for node in _nodes(tree):
        if node["Node Type"] in ("Seq Scan", "Index Scan", "Index Only Scan") and "Index Cond" not in node:
            yield node["Relation Name"]


def _rows(tree: dict[str, Any]) -> Iterator[int]:
    for node in _nodes(tree):
        if "Relation Name" in node and "Actual Rows" in node and node["Node Type"].endswith("Scan"):
            yield (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]


# -- SQLite ------------------------------------------------------------------------------------------------------------


@contextmanager
def _sqlite(alias: str, how: str) -> Iterator[list[Plan]]:
    """Its driver tells each statement with its values."""
    connections[alias].ensure_connection()
    driver, seen, plans = connections[alias].connection, dict[str, None](), list[Plan]()
    driver.set_trace_callback(lambda text: seen.setdefault(text.strip()))
    try:
        yield plans
    finally:
        driver.set_trace_callback(None)
    for text in seen:
        if text.startswith(VERBS):
            lines = [row[-1] for row in driver.execute(f"EXPLAIN QUERY PLAN {text}")]
            plans.append(_sqlite_plan(text, lines))


def _sqlite_plan(text: str, lines: list[str]) -> Plan:
    names = dict(re.findall(r"(jobqueue_\w+) (?:AS )?([a-z])\b(?! *[(=])", text))
    aliases = {short: table for table, short in names.items()}
    reads = set()
    for line in lines:
        if found := re.match(r"(SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?(?:INDEX (\w+)|(.*PRIMARY KEY)))?", line):
            _, table, index, key = found.groups()
            reads.add((aliases.get(table, table), index or ("primary key" if key else "")))
    sorts = {"?"} if any("TEMP B-TREE FOR ORDER BY" in line for line in lines) else set()
    return Plan(text, frozenset(reads), frozenset(sorts), "\n".join(lines))


# -- MariaDB -----------------------------------------------------------------------------------------------------------


@contextmanager
def _mariadb(alias: str, how: str) -> Iterator[list[Plan]]:
    plans: list[Plan] = []

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.strip().startswith(VERBS) and not many:
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                plans.append(_mariadb_plan(sql, cursor.fetchall()))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(look):
        yield plans


def _mariadb_plan(sql: str, lines: Any) -> Plan:
    names = dict(re.findall(r"(jobqueue_\w+) (?:AS )?([a-z])\b(?! *[(=])", sql))
    aliases = {short: table for table, short in names.items()}
    # What is inserted into is a line of its own, but of no SELECT: nothing is read there.
    reads = {
        (aliases.get(line[2], line[2]), line[5] or "")
        for line in lines
        if line[2] and line[3] != "const" and line[1] != "INSERT"
    }
    sorts = {line[2] for line in lines if "filesort" in (line[9] or "")}
    return Plan(sql, frozenset(reads), frozenset(sorts), "\n".join(map(str, lines)))
