from __future__ import annotations

import enum
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Optional
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from django_jobqueue.exceptions import PayloadError
from django_jobqueue.jobs import codec
from django_jobqueue.jobs.typed import from_json, to_json

BERLIN = ZoneInfo("Europe/Berlin")
CustomerId = NewType("CustomerId", int)

few = settings(max_examples=20, deadline=None)  # there are many annotations; no deadline: the machine may be busy


class Colour(enum.Enum):
    RED = 1
    GREEN = (2, "g")
    ROUGE = 1


class Size(enum.StrEnum):
    BIG = "big"


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclass(frozen=True)
class Line:
    sku: str
    price: Decimal
    quantity: int = 1


@dataclass
class Order:
    id: UUID
    placed: datetime
    lines: list[Line]
    note: str | None = None
    colours: dict[Colour, tuple[int, ...]] = field(default_factory=dict)
    total: int = field(init=False, default=0)


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass
class Checked:
    amount: int

    def __post_init__(self):
        if self.amount < 0:
            raise ZeroDivisionError("a secret")


def there_and_back(value, annotation):
    """Through the text, as a job goes."""
    text = codec.encode(to_json(value, annotation), max_bytes=codec.HARD_MAX_BYTES)
    return from_json(codec.decode(text), annotation)


def same(one, other):
    return type(one) is type(other) and one == other


texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
zones = st.sampled_from(
    [None, UTC, BERLIN, ZoneInfo("UTC"), ZoneInfo("America/St_Johns"), timezone(timedelta(hours=-3, microseconds=7))]
)
datetimes = st.datetimes(
    datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones, allow_imaginary=True
) | st.datetimes().map(lambda moment: moment.replace(fold=1))
times = st.builds(lambda moment, zone: moment.replace(tzinfo=zone), st.times(), zones)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
lines = st.builds(Line, texts, decimals, st.integers())

BY_ANNOTATION = [
    (str, texts),
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (None, st.none()),
    (date, st.dates()),
    (time, times),
    (datetime, datetimes),
    (timedelta, st.timedeltas()),
    (Decimal, decimals),
    (UUID, st.uuids()),
    (bytes, st.binary()),
    (Colour, st.sampled_from(Colour)),
    (Size, st.sampled_from(Size)),
    (Rights, st.integers(0, 3).map(Rights)),
    (Line, lines),
    (Any, st.lists(st.integers() | texts | st.none())),
    (CustomerId, st.integers()),
    (Annotated[int, "pieces"], st.integers()),
    (Literal["a", 1, True, None], st.sampled_from(["a", 1, True, None])),
    (int | None, st.none() | st.integers()),
    (Optional[date], st.none() | st.dates()),  # noqa: UP045 (both spellings are met)
    (int | float | bool | str | None, st.one_of(st.integers(), st.floats(0, 1), st.booleans(), texts, st.none())),
    (date | datetime | str | None, st.one_of(st.dates(), datetimes, texts, st.none())),
    (Decimal | UUID | int, st.one_of(decimals, st.uuids(), st.integers())),
    (Size | str, st.sampled_from(Size) | texts),
    (Colour | Line | dict[str, int], st.one_of(st.sampled_from(Colour), lines, st.dictionaries(texts, st.integers()))),
    (list[int] | list[date] | tuple[int, ...], st.one_of(st.lists(st.integers()), st.lists(st.dates()))),
    (list[Any] | list[tuple[int, ...]], st.lists(st.lists(st.integers()).map(tuple))),
    (list[list[Decimal]], st.lists(st.lists(decimals))),
    (tuple[int, str, date], st.tuples(st.integers(), texts, st.dates())),
    (tuple[bytes, ...], st.lists(st.binary()).map(tuple)),
    (tuple[()], st.just(())),
    (tuple, st.lists(st.integers()).map(tuple)),
    (set[date], st.sets(st.dates())),
    (frozenset[tuple[int, str]], st.frozensets(st.tuples(st.integers(), texts))),
    (set, st.sets(st.integers() | texts)),
    (dict[str, datetime], st.dictionaries(texts, datetimes)),
    (dict[int, list[str]], st.dictionaries(st.integers(), st.lists(texts))),
    (dict[UUID, Line], st.dictionaries(st.uuids(), lines)),
    (dict[tuple[int, date], str], st.dictionaries(st.tuples(st.integers(), st.dates()), texts)),
    (dict[str | None, int], st.dictionaries(texts | st.none(), st.integers())),
    (dict, st.dictionaries(texts, st.integers())),
    (list, st.lists(st.integers())),
]
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inside: st.lists(inside) | st.dictionaries(texts | st.sampled_from(["type", "value", "sku"]), inside),
)
WRONG = [
    (datetime, "2026-01-01T00:00+00:00[fold=1]x"),
    (datetime, "0001-01-01T00:00:00+09:00[America/New_York]"),
    (date, "2026-13-01"),
    (time, "10:00[Nowhere/Land]"),
    (time, "10:00[Europe]"),
    (time, "10:00[/etc/passwd]"),
    (time, "10:00[../passwd]"),
    (timedelta, "1 day"),
    (timedelta, "P999999999DT99999S"),
    (timedelta, "-P999999999DT1S"),
    (Decimal, "sNaN"),
    (Decimal, "Infinity"),
    (Decimal, "1E+99999999999999999999"),
    (UUID, "7"),
    (bytes, "===="),
    (bytes, "é"),
    (Colour, "PINK"),
    (Rights, 4),
    (set[str], [{}]),
]
wrong_texts = st.sampled_from([data for _, data in WRONG if isinstance(data, str)])


@pytest.mark.parametrize(("annotation", "values"), BY_ANNOTATION, ids=lambda it: str(it)[:60])
class TestEveryAnnotation:
    def test_comes_back_equal_and_of_its_type(self, annotation, values):
        @few
        @given(values)
        def check(value):
            assert same(there_and_back(value, annotation), value)

        check()

    def test_garbage_is_a_payload_error(self, annotation, values):
        @few
        @given(json_values | wrong_texts)
        def check(data):
            try:
                value = from_json(data, annotation)
            except PayloadError:
                return
            assert same(there_and_back(value, annotation), value)

        check()


@pytest.mark.parametrize(("annotation", "data"), WRONG)
def test_text_that_only_looks_right(annotation, data):
    with pytest.raises(PayloadError):
        from_json(data, annotation)


def test_only_payload_errors_from_a_set_of_what_no_set_can_hold():
    with pytest.raises(PayloadError, match=r"set refused its values \(TypeError\)"):
        from_json([[1]], set)


class TestMoments:
    @settings(deadline=None)
    @given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(BERLIN), allow_imaginary=True))
    @example(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN))
    @example(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1))
    @example(datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN, fold=1))
    def test_a_zone_and_its_double_hour_survive(self, moment):
        back = there_and_back(moment, datetime)
        assert (back, back.tzinfo, back.fold) == (moment, BERLIN, moment.fold)
        assert back.utcoffset() == moment.utcoffset()

    def test_how_it_is_written(self):
        moment = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
        assert to_json(moment, datetime) == "2026-10-25T02:30:00+01:00[Europe/Berlin][fold=1]"

    def test_the_instant_wins_when_a_zones_rules_have_changed(self):
        moment = from_json("2026-07-01T12:00:00+01:00[Europe/Berlin]", datetime)
        assert moment == datetime(2026, 7, 1, 11, tzinfo=UTC)
        assert moment.tzinfo is BERLIN

    def test_a_datetime_is_no_date(self):
        with pytest.raises(PayloadError, match="Expected date, got datetime"):
            to_json(datetime(2026, 1, 1), date)


class TestDataclasses:
    ORDER = Order(
        id=uuid4(),
        placed=datetime(2026, 1, 2, 3, tzinfo=UTC),
        lines=[Line("a", Decimal("9.90")), Line("b", Decimal("-0E+3"), 2)],
        colours={Colour.GREEN: (1, 2)},
    )

    def test_nested(self):
        assert there_and_back(self.ORDER, Order) == self.ORDER

    def test_recursive(self):
        tree = Tree("root", [Tree("leaf"), Tree("branch", [Tree("leaf")])])
        assert there_and_back(tree, Tree) == tree

    def test_the_path_leads_to_the_field(self):
        order = Order(id=uuid4(), placed=datetime(2026, 1, 1), lines=[Line("a", Decimal(1)), Line("b", 1.5)])
        with pytest.raises(PayloadError) as refused:
            to_json(order, Order, path="kwargs.order")
        assert str(refused.value) == "kwargs.order.lines[1].price: Expected Decimal, got float"

    def test_a_field_that_came_with_a_later_release(self):
        assert from_json({"sku": "a", "price": "1"}, Line) == Line("a", Decimal(1))

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"sku": "a"}, "value.price: Line needs this field"),
            ({"sku": "a", "price": "1", "colour": 1}, "value.colour: Line has no such field"),
            ({"sku": "a", "price": 1}, "value.price: Expected Decimal, got int"),
            ({"sku": "a", "price": "x"}, "value.price: Not a Decimal"),
            ([], "value: Expected Line, got list"),
        ],
    )
    def test_data_that_does_not_fit(self, data, message):
        with pytest.raises(PayloadError) as refused:
            from_json(data, Line)
        assert str(refused.value) == message

    def test_a_constructor_that_raises_tells_no_values(self):
        with pytest.raises(PayloadError) as refused:
            from_json({"amount": -1}, Checked)
        assert str(refused.value) == "value: Checked refused its values (ZeroDivisionError)"

    def test_a_subclass_is_not_cut_down_to_its_base(self):
        @dataclass(frozen=True)
        class Special(Line):
            discount: int = 0

        with pytest.raises(PayloadError, match=r"Expected Line, got Special"):
            to_json(Special("a", Decimal(1)), Line)

    def test_a_value_that_contains_itself(self):
        tree = Tree("root")
        tree.children.append(tree)
        with pytest.raises(PayloadError, match="Nested more than 64 deep"):
            to_json(tree, Tree)


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "annotation", "message"),
        [
            (True, int, "value: Expected int, got bool"),
            (1, bool, "value: Expected bool, got int"),
            ("1", int, "value: Expected int, got str"),
            (2**53 + 1, float, "value: Expected float, got int"),
            (float("nan"), float, "value: nan is no JSON"),
            (Decimal("NaN"), Decimal, "value: NaN is not stored, as in JSON"),
            ("\x00", str, "value: NUL character in text"),
            ((1,), list[int], "value: Expected list[int], got tuple"),
            ((1, 2, 3), tuple[int, int], "value: Expected tuple[int, int], got tuple"),
            ([1, "a"], list[int], "value[1]: Expected int, got str"),
            ({"a b": "x"}, dict[str, int], "value['a b']: Expected int, got str"),
            ({1: "x"}, dict[str, int], "value[0]: Expected str, got int"),
            ((1,), Any, "value: Any would come back as something else: annotate what it is"),
            (b"x", Any, "value: Any would come back as something else: annotate what it is"),
            ({(1, 2)}, set, "value[0]: Any would come back as something else: annotate what it is"),
            (date(2026, 1, 1), Any, "value: Unsupported type: <class 'datetime.date'>"),
            ([], int | str, "value: Expected int | str, got list"),
            ("c", Literal["a", "b"], "value: Expected one of ('a', 'b'), got str"),
            (True, Literal[1], "value: Expected one of (1,), got bool"),
        ],
    )
    def test_values(self, value, annotation, message):
        with pytest.raises(PayloadError) as refused:
            to_json(value, annotation)
        assert str(refused.value) == message

    @pytest.mark.parametrize(
        "annotation", [object, "int", complex, type, list["Line"], Literal[b"x"], [int], {}, 3, int | complex]
    )
    def test_annotations(self, annotation):
        for convert in (to_json, from_json):
            with pytest.raises(PayloadError, match="value: Unsupported annotation"):
                convert(1 if annotation is not list["Line"] else [1], annotation)

    def test_dataclasses_that_can_not_be_rebuilt(self):
        @dataclass
        class Forgetful:
            value: InitVar[int]

        @dataclass
        class Dangling:
            value: NoSuchName  # noqa: F821

        for cls in (Forgetful, Dangling):
            with pytest.raises(PayloadError, match="Unsupported annotation"):
                from_json({"value": 1}, cls)

    def test_members_of_a_union_that_can_not_be_told_apart(self):
        one = dataclass(type("Same", (), {}))
        other = dataclass(type("Same", (), {}))
        with pytest.raises(PayloadError, match="two members of one name"):
            to_json(one(), one | other)


def test_an_int_will_do_for_a_float():
    assert same(there_and_back(3, float), 3.0)
    assert same(from_json(3, float | None | str), 3.0)


def test_a_set_has_one_text():
    """The same job has the same text in every process, so that unique keys may be made of it."""
    names = {f"name {number}" for number in range(100)}
    assert to_json(names, set[str]) == sorted(names)


def test_a_union_is_marked_only_where_it_must_be():
    assert to_json(3, int | str) == 3
    assert to_json(date(2026, 1, 1), date | None) == "2026-01-01"
    assert to_json(date(2026, 1, 1), date | str) == {"type": "date", "value": "2026-01-01"}
    assert to_json(None, date | str | None) is None
