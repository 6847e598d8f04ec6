"""Tasks that do everything a task should not; `tests/workers/test_executor.py` runs each of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Any, Never

from django.contrib.auth.models import Group
from django.db import connections, transaction

from django_jobqueue import FixedDelays, NoRetry, task
from django_jobqueue.workers.hygiene import close_connections

RAISES: dict[str, Callable[[], Any]] = {}
"""What the exception is called -> what raises it."""
RETURNS: dict[str, Callable[[], Any]] = {}
"""What the value is called -> what makes it. None of them can be stored."""


@task(retry=NoRetry())
def raise_it(name: str) -> None:
    RAISES[name]()


@task(retry=NoRetry())
async def raise_it_async(name: str) -> None:
    await asyncio.sleep(0)
    RAISES[name]()


@task(retry=FixedDelays([0, 0]))
def return_it(name: str) -> Any:
    return RETURNS[name]()


@task(retry=NoRetry())
def is_clean(alias: str = "default") -> str:
    """What the next job may expect: a connection in autocommit, on which it can write and open transactions."""
    connection = connections[alias]
    assert not connection.in_atomic_block
    assert not connection.needs_rollback
    assert not connection.savepoint_ids
    assert connection.get_autocommit()
    with transaction.atomic(using=alias, durable=True):
        Group.objects.using(alias).create(name=f"clean {Group.objects.using(alias).count()}")
    return "clean"


# -- exceptions ------------------------------------------------------------------------------------------------------


def raises(function: Callable[[], Never]) -> Callable[[], Never]:
    RAISES[function.__name__] = function
    return function


def _simple(exception: BaseException | type[BaseException]) -> Callable[[], Never]:
    def run() -> Never:
        raise exception

    return run


class OwnBase(BaseException):
    pass


for _kind in (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, MemoryError, StopIteration):
    RAISES[_kind.__name__] = _simple(_kind)
for _kind in (StopAsyncIteration, OwnBase, RecursionError, Warning, TimeoutError, EOFError, NotImplementedError):
    RAISES[_kind.__name__] = _simple(_kind)
RAISES["SystemExit(0)"] = _simple(SystemExit(0))
RAISES["KeyboardInterrupt with a message"] = _simple(KeyboardInterrupt("from the job, not from the operator"))
RAISES["10 MB"] = _simple(ValueError("x" * 10_000_000))
RAISES["10 MB of lines"] = _simple(ValueError("line\n" * 2_000_000))
RAISES["lone surrogates and NUL"] = _simple(ValueError("\ud800 and \x00 and \udfff"))
RAISES["arguments of all kinds"] = _simple(ValueError(object(), b"\xff", {"\x00": {1}}))


@raises
def endless_recursion() -> Never:
    endless_recursion()
    raise AssertionError


@raises
def not_an_exception() -> Never:
    raise 5  # type: ignore[misc]  # noqa: B016


@raises
def group_of_thousands() -> Never:
    raise ExceptionGroup("many", [ValueError(number) for number in range(5_000)])


@raises
def group_of_interruptions() -> Never:
    raise BaseExceptionGroup("stop", [KeyboardInterrupt(), SystemExit(1), OwnBase()])


@raises
def groups_inside_each_other() -> Never:
    group: Exception = ValueError("inmost")
    for depth in range(2_000):
        group = ExceptionGroup(str(depth), [group])
    raise group


@raises
def cause_of_itself() -> Never:
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


@raises
def long_chain_of_causes() -> Never:
    error: Exception = ValueError("first")
    for number in range(3_000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    raise error


def _broken(name: str, bases: tuple[type, ...] = (Exception,), **methods: Any) -> Callable[[], Never]:
    return _simple(type(name, bases, methods)())


def _boom(*args: Any, **kwargs: Any) -> Never:
    raise RuntimeError("boom")


def _leave(*args: Any, **kwargs: Any) -> Never:
    raise SystemExit("boom")


class EvilText(str):
    """Text that breaks as soon as it is looked at."""

    __slots__ = ()
    __len__ = __getitem__ = __contains__ = __format__ = splitlines = encode = replace = _boom  # type: ignore[assignment]


RAISES["str() that raises"] = _broken("BadStr", __str__=_boom)
RAISES["str() that leaves"] = _broken("LeavingStr", __str__=_leave)
RAISES["str() that is no text"] = _broken("NoText", __str__=lambda self: 5)
RAISES["str() that is evil text"] = _broken("Evil", __str__=lambda self: EvilText("evil"))
RAISES["repr() that raises"] = _broken("BadRepr", __repr__=_boom)
RAISES["str() and repr() that leave"] = _broken("Leaving", __str__=_leave, __repr__=_leave)
RAISES["comparisons that raise"] = _broken("NoOrder", __eq__=_boom, __hash__=_boom, __bool__=_boom)
RAISES["attributes that raise"] = _broken("NoAttributes", __getattr__=_leave)
RAISES["every attribute raises"] = _broken("Nothing", __getattribute__=_boom)
RAISES["every attribute leaves"] = _broken("NothingAtAll", __getattribute__=_leave)
RAISES["notes that are no list"] = _broken("BadNotes", __notes__=5)
RAISES["notes that raise"] = _broken("RaisingNotes", __notes__=property(_leave))
RAISES["a cause that raises"] = _broken("BadCause", __cause__=property(_boom))
RAISES["a traceback that raises"] = _broken("BadTraceback", __traceback__=property(_leave))
RAISES["no module"] = _broken("NoModule", __module__=None)
RAISES["a module that raises"] = _broken(
    "BadModule", __module__=type("Bad", (), {"__format__": _boom, "__str__": _boom})()
)
RAISES["a module that leaves"] = _broken(
    "Module", __module__=type("Bad", (), {"__format__": _leave, "__str__": _leave})()
)
RAISES["names of unstorable text"] = _broken("N" * 5_000, __module__="\ud800\x00", __qualname__="\x00" * 999)


class NamelessMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        return _boom() if name in ("__module__", "__qualname__", "__name__") else super().__getattribute__(name)


class LeavingMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        return _leave() if name in ("__module__", "__qualname__", "__name__") else super().__getattribute__(name)


RAISES["a class without a name"] = _simple(NamelessMeta("Nameless", (Exception,), {})())
RAISES["a class whose names leave"] = _simple(LeavingMeta("LeavingNames", (Exception,), {})())


@raises
def syntax_error_without_a_place() -> Never:
    error = SyntaxError("bad")
    error.text, error.lineno, error.offset, error.filename = object(), "x", [], 5  # type: ignore[assignment]
    raise error


@raises
def attribute_error_on_an_evil_object() -> Never:
    evil = type("EvilDir", (), {"__dir__": _leave})()
    evil.missing  # noqa: B018
    raise AssertionError


@raises
def many_notes() -> Never:
    error = ValueError("noted")
    for _ in range(100):
        error.add_note("\ud800" * 100_000)
    raise error


# -- return values -----------------------------------------------------------------------------------------------------


async def _coroutine() -> None: ...


async def _async_generator() -> Any:
    yield 1


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def _closed_coroutine() -> Any:
    coroutine = _coroutine()
    coroutine.close()  # or Python warns that nobody awaited it
    return coroutine


RETURNS |= {
    "an object": object,
    "NaN": lambda: float("nan"),
    "Infinity": lambda: {"rate": float("inf")},
    "NUL": lambda: "a\x00b",
    "a lone surrogate": lambda: ["\ud800"],
    "a generator": lambda: (number for number in range(3)),
    "an endless iterator": itertools.count,
    "a coroutine": _closed_coroutine,
    "an async generator": _async_generator,
    "a lazy QuerySet": lambda: Group.objects.all(),
    "a QuerySet that fails": lambda: Group.objects.extra(where=["no such column"]),
    "a model": lambda: Group(name="g"),
    "5 MB": lambda: "x" * 5_000_000,
    "a million values": lambda: [0] * 1_100_000,
    "two keys that are one": lambda: {1: 1, "1": 2},
    "itself": _endless,
    "5,000 digits": lambda: 10**5_000,
    "bytes that are no text": lambda: b"\xff",
    "a set": lambda: {1},
    "a datetime": datetime.now,
    "an exception": lambda: ValueError("returned"),
    "a class": lambda: Group,
    "a mapping that raises": type("BadMapping", (dict,), {"items": _boom}),
    "a list that raises": type("BadList", (list,), {"__iter__": _boom, "__len__": _boom}),
    "an object of no class": type("NoClass", (), {"__class__": property(_boom)}),
}

# -- what is done to connections ---------------------------------------------------------------------------------------


@task(retry=NoRetry())
def mistreat(how: str, alias: str = "default", then: str = "") -> None:
    """Write something, do `how` to the connection, and `then` leave with an exception, if it names one."""
    connection = connections[alias]
    DEEDS[how](connection)
    if then:
        RAISES[then]()


def _write(connection: Any) -> None:
    Group.objects.using(connection.alias).create(name="written by the job that left it open")


def _raw(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _open(connection: Any, **options: Any) -> None:
    transaction.atomic(using=connection.alias, **options).__enter__()


def _leave_open(connection: Any) -> None:
    _open(connection)
    _write(connection)


def _leave_three_open(connection: Any) -> None:
    _open(connection)
    _open(connection, savepoint=False)
    _open(connection)
    _write(connection)


def _set_rollback(connection: Any) -> None:
    _leave_open(connection)
    transaction.set_rollback(True, using=connection.alias)


def _close_inside(connection: Any) -> None:
    _leave_open(connection)
    connection.close()


def _close_all_inside(connection: Any) -> None:
    _leave_open(connection)
    connections.close_all()


def _close_below(connection: Any) -> None:
    """As a server that goes away: Django doesn't know."""
    connection.ensure_connection()
    connection.connection.close()


def _break_inside(connection: Any) -> None:
    _open(connection)
    try:
        _raw(connection, "this is no SQL")
    except Exception:
        pass


def _autocommit_off(connection: Any) -> None:
    transaction.set_autocommit(False, using=connection.alias)
    _write(connection)


def _autocommit_off_and_atomic(connection: Any) -> None:
    transaction.set_autocommit(False, using=connection.alias)
    _leave_open(connection)


def _begin(connection: Any) -> None:
    _raw(connection, "BEGIN")
    _write(connection)


def _begin_and_break(connection: Any) -> None:
    _raw(connection, "BEGIN")
    try:
        _raw(connection, "this is no SQL")
    except Exception:
        pass


DEEDS: dict[str, Callable[[Any], None]] = {
    "leave a transaction open": _leave_open,
    "leave three open": _leave_three_open,
    "set_rollback": _set_rollback,
    "close": lambda connection: connection.close(),
    "close_all": lambda connection: connections.close_all(),
    "close inside a transaction": _close_inside,
    "close_all inside a transaction": _close_all_inside,
    "close below Django": _close_below,
    "break inside a transaction": _break_inside,
    "autocommit off": _autocommit_off,
    "autocommit off and a transaction": _autocommit_off_and_atomic,
    "BEGIN": _begin,
    "BEGIN and break": _begin_and_break,
    "close what the worker closes": lambda connection: close_connections(),
}
