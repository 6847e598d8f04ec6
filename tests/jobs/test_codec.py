from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict, UserDict, deque, namedtuple
from datetime import datetime
from enum import IntEnum, StrEnum
from types import MappingProxyType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from django_jobqueue.exceptions import PayloadError
from django_jobqueue.jobs.codec import (
    HARD_MAX_BYTES,
    MAX_DEPTH,
    decode,
    decode_call,
    encode,
    encode_call,
    encoded_call,
    normalize,
)

unhurried = settings(deadline=None)  # the machine may be busy with the other tests

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inside: st.one_of(st.lists(inside), st.dictionaries(texts, inside)),
)


def nested(depth, value=None):
    for _ in range(depth):
        value = [value]
    return value


def call_of(args):
    return f'{{"args":[{args}],"kwargs":{{}}}}'


def identical(one, other):
    """Equal, and of the same types: 1, 1.0 and True are equal to Python."""
    return repr(one) == repr(other)


def outcome(read, text):
    try:
        return None, read(text)
    except PayloadError as error:
        return error, None


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Loud(str):
    def __str__(self):
        return "LOUD"


class TestNormalize:
    """What Django's normalize_json takes is taken, and comes out as JSON will give it back."""

    @pytest.mark.parametrize(
        ("value", "result"),
        [
            ((1, (2, 3)), [1, [2, 3]]),
            (b"caf\xc3\xa9", "café"),
            (range(3), [0, 1, 2]),
            (deque([1]), [1]),
            (namedtuple("Point", "x y")(1, 2), [1, 2]),
            (OrderedDict(a=1), {"a": 1}),
            (UserDict(a=(1,)), {"a": [1]}),
            (MappingProxyType({"a": 1}), {"a": 1}),
            (Colour.RED, "red"),
            (Loud("quiet"), "quiet"),
            (Level.HIGH, 3),
            ({1: "int", None: "none", True and 2.5: "float", False: "bool", b"b": "bytes"}, None),
            ({Colour.RED: 1}, {"red": 1}),
        ],
    )
    def test_near_relatives_of_jsons_types(self, value, result):
        if result is None:
            result = {"1": "int", "null": "none", "2.5": "float", "false": "bool", "b": "bytes"}
        assert identical(normalize(value), result)

    @unhurried
    @given(plain)
    def test_plain_values_are_copied_as_they_are(self, value):
        assert identical(normalize(value, max_bytes=HARD_MAX_BYTES), value)

    def test_the_result_shares_nothing_with_the_argument(self):
        value = {"a": [1]}
        normalize(value)["a"].append(2)
        assert value == {"a": [1]}

    @pytest.mark.parametrize("value", [object(), datetime(2026, 1, 1), {1, 2}, 1j, int, iter([]), ...])
    def test_other_types_are_djangos_type_error(self, value):
        with pytest.raises(TypeError, match="Unsupported type: <class") as refused:
            normalize(value)
        assert refused.value.problem.startswith("Unsupported type")


class TestRefusals:
    """Each names the place."""

    @pytest.mark.parametrize(
        ("args", "kwargs", "message"),
        [
            ([{"lines": [0, 1, 2, {"price": math.nan}]}], {}, "args[0].lines[3].price: nan is no JSON"),
            ([math.inf], {}, "args[0]: inf is no JSON"),
            ([], {"a": -math.inf}, "kwargs.a: -inf is no JSON"),
            (["a\x00b"], {}, "args[0]: NUL character in text"),
            ([["\ud800"]], {}, "args[0][0]: Lone surrogate in text"),
            ([b"\xff"], {}, "args[0]: Unsupported value: bytes that are not UTF-8"),
            ([b"\x00"], {}, "args[0]: NUL character in text"),
            ([10**4300], {}, "args[0]: Integer of more than 4,300 digits"),
            ([-(10**9999)], {}, "args[0]: Integer of more than 4,300 digits"),
            ([], {"order": {1: "a", "1": "b"}}, "kwargs.order: Two keys are both '1' in JSON"),
            ([], {"order": {True: "a", "true": "b"}}, "kwargs.order: Two keys are both 'true' in JSON"),
            ([{b"x": 1, "x": 2}], {}, "args[0]: Two keys are both 'x' in JSON"),
            ([{"\x00": 1}], {}, "args[0]: NUL character in text (in a key)"),
            ([{"\udfff": 1}], {}, "args[0]: Lone surrogate in text (in a key)"),
            ([{math.nan: 1}], {}, "args[0]: nan is no JSON (in a key)"),
            ([{(1, 2): 1}], {}, "args[0]: Unsupported type: <class 'tuple'> as a key"),
            ([{frozenset(): 1}], {}, "args[0]: Unsupported type: <class 'frozenset'> (in a key)"),
            ([{"unit price": [object]}], {}, "args[0]['unit price'][0]: Unsupported type: <class 'type'>"),
            ([{"é": object}], {}, "args[0]['\\xe9']: Unsupported type: <class 'type'>"),
            ([nested(65)], {}, "args[0]" + "[0]" * 64 + ": Nested more than 64 deep"),
            ([], {"a": "x" * 262_145}, "kwargs.a: Longer than 262,144 bytes as JSON"),
            ([], {"a": "é" * 131_072}, "arguments: Longer than 262,144 bytes as JSON"),
            ([range(10**15)], {}, "args[0]: Longer than 262,144 bytes as JSON"),
        ],
    )
    def test_the_path_and_the_problem(self, args, kwargs, message):
        with pytest.raises(PayloadError) as refused:
            encode_call(args, kwargs)
        assert str(refused.value) == message

    def test_paths_stay_short_and_printable(self):
        with pytest.raises(PayloadError) as refused:
            normalize({"k" * 100_000: {"\n\u202e": object()}})
        assert refused.value.path == f"value['{'k' * 40}'…]['\\n\\u202e']"

    def test_the_root_may_be_named(self):
        with pytest.raises(PayloadError, match=r"^return value\.a: Unsupported type"):
            encode({"a": object()}, root="return value")

    def test_a_value_that_contains_itself(self):
        value = []
        value.append(value)
        with pytest.raises(PayloadError, match="Nested more than 64 deep"):
            encode(value)

    def test_a_value_that_is_small_in_memory_only(self):
        value = []
        for _ in range(60):
            value = [value, value]
        with pytest.raises(PayloadError, match="Longer than"):
            encode(value)

    def test_depth_is_counted_for_each_argument(self):
        call = encode_call([nested(MAX_DEPTH)], {"a": nested(MAX_DEPTH)})
        assert decode_call(call) == ([nested(MAX_DEPTH)], {"a": nested(MAX_DEPTH)})
        assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)

    @pytest.mark.parametrize("limit", [10, 11, 12])
    def test_the_limit_is_in_utf8_bytes_of_the_whole_text(self, limit):
        text = '["éé","a"]'
        assert len(text.encode()) == 12
        if limit == 12:
            assert encode(["éé", "a"], max_bytes=limit) == text
        else:
            with pytest.raises(PayloadError, match=f"Longer than {limit} bytes"):
                encode(["éé", "a"], max_bytes=limit)

    def test_a_process_that_prints_fewer_digits(self):
        limit = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(640)
        try:
            assert decode(encode(10**639)) == 10**639
            for number in (10**640, -(10**4299)):
                with pytest.raises(PayloadError, match="digits"):
                    encode([number])
            with pytest.raises(PayloadError, match="digits"):
                decode("1" * 641)
        finally:
            sys.set_int_max_str_digits(limit)


class TestRoundTrip:
    @unhurried
    @given(plain)
    def test_one_value(self, value):
        text = encode(value, max_bytes=HARD_MAX_BYTES)
        assert identical(decode(text), value)
        assert identical(json.loads(text), value)
        text.encode()
        assert "\x00" not in text

    @unhurried
    @given(st.lists(plain, max_size=4), st.dictionaries(texts, plain, max_size=4))
    def test_a_call(self, args, kwargs):
        text = encode_call(tuple(args), kwargs, HARD_MAX_BYTES)
        assert identical(decode_call(text), (args, kwargs))
        assert identical(encoded_call(tuple(args), kwargs, HARD_MAX_BYTES), (text, args, kwargs))

    def test_the_text_is_compact_and_readable(self):
        assert encode_call((1, "é"), {"b": None, "a": [True]}) == '{"args":[1,"é"],"kwargs":{"b":null,"a":[true]}}'

    @pytest.mark.parametrize("value", [10**4300 - 1, -(10**4300) + 1, ["\x01\x1f\x7f\u2028\ud7ff\U0010ffff"], [5e-324]])
    def test_the_extremes(self, value):
        assert identical(decode(encode(value)), value)

    def test_an_operators_white_space_is_no_harm(self):
        assert decode_call('\n { "kwargs" : {"a": 1},\n "args": [ ] } \n') == ([], {"a": 1})


jsonish = st.text(st.sampled_from('[]{}",:\\u0dD8eE+-.1 nulltrefasNIity'), max_size=60)
# Right at the start, so that something gets past the first checks.
callish = st.builds('{{"args":[{}],"kwargs":{{{}}}}}'.format, jsonish, jsonish)


class TestGarbage:
    """P9: whatever stands in the row, it becomes a PayloadError and so a dead letter."""

    @unhurried
    @given(st.one_of(st.text(), jsonish, callish, st.binary(), st.integers(), st.none()))
    @example("[" * 100_000)
    @example('{"a":' * 100_000)
    @example('{"args":[' + "[" * 100_000)
    @example('{"args":[' + "[" * 65 + "]" * 65 + '],"kwargs":{}}')
    @example('{"args":[' + "9" * 4301 + '],"kwargs":{}}')
    @example('{"args":[' + "9" * 1_000_000 + '],"kwargs":{}}')
    @example('{"args":[1e999],"kwargs":{}}')
    @example('{"args":[-1e999],"kwargs":{}}')
    @example('{"args":[NaN],"kwargs":{}}')
    @example('{"args":[-Infinity],"kwargs":{}}')
    @example('{"args":["\\u0000"],"kwargs":{}}')
    @example('{"args":["\\ud800"],"kwargs":{}}')
    @example('{"args":["\ud800"],"kwargs":{}}')
    @example('{"args":["\x00"],"kwargs":{}}')
    @example('{"args":[],"kwargs":{"a":1,"a":2}}')
    @example('{"args":[],"args":[],"kwargs":{}}')
    @example('{"args":[],"kwargs":{},"more":1}')
    @example('{"args":{},"kwargs":{}}')
    @example('{"args":[],"kwargs":[]}')
    @example('{"args":[]}')
    @example("[[],{}]")
    @example("null")
    @example("")
    @example("\ufeff{}")
    def test_decode_call_gives_a_call_or_a_payload_error(self, text):
        refused, call = outcome(decode_call, text)
        if refused is None:  # then it could have been written by us
            assert identical(decode_call(encode_call(*call)), call)
        else:
            assert refused.path.startswith(("arguments", "args", "kwargs"))
            assert len(str(refused).encode()) < 1_000

    @unhurried
    @given(st.one_of(st.text(), jsonish, st.binary(), st.none()))
    def test_decode_gives_a_value_or_a_payload_error(self, text):
        refused, value = outcome(decode, text)
        assert refused or identical(decode(encode(value)), value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"args":[[1,{"a":"\\u0000"}]],"kwargs":{}}', "args[0][1].a: NUL character in text"),
            ('{"args":[],"kwargs":{"a":["\\ud83d"]}}', "kwargs.a[0]: Lone surrogate in text"),
            ('{"args":[],"kwargs":{"a":1,"a":2}}', "arguments: Not readable as JSON: a key is there twice"),
            ('{"args":[1e999],"kwargs":{}}', "arguments: Not readable as JSON: a number is too large"),
            ('{"args":[NaN],"kwargs":{}}', "arguments: Not readable as JSON: NaN is no JSON"),
            ('{"args":[],"kwargs":null}', 'arguments: Expected {"args": [...], "kwargs": {...}}'),
            ('{"args":[],"kwargs":{},"more":1}', 'arguments: Expected {"args": [...], "kwargs": {...}}'),
            (None, "arguments: Expected JSON text, got NoneType"),
            (b"{}", "arguments: Expected JSON text, got bytes"),
        ],
    )
    def test_the_reason_is_given(self, text, message):
        with pytest.raises(PayloadError) as refused:
            decode_call(text)
        assert str(refused.value) == message

    def test_a_surrogate_pair_is_no_garbage(self):
        assert decode_call('{"args":["\\ud83d\\ude00"],"kwargs":{}}') == (["😀"], {})

    @pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
    def test_depth_is_measured_and_not_guessed(self, depth):
        wide = call_of(",".join(["[]", '"[[{{"'] * 1000))
        assert len(decode_call(wide)[0]) == 2000
        deep = call_of("[" * depth + "1" + "]" * depth)
        if depth == MAX_DEPTH:
            assert decode_call(deep) == ([nested(depth, 1)], {})
        else:
            for read, text in [(decode_call, deep), (decode, "[" * depth + "]" * depth)]:
                with pytest.raises(PayloadError, match="Nested more than 64 deep"):
                    read(text)

    def test_too_long_to_be_looked_at(self):
        with pytest.raises(PayloadError, match="Longer than 16,777,216 bytes"):
            decode('"' + "x" * HARD_MAX_BYTES + '"')
        with pytest.raises(PayloadError, match="Longer than 10 bytes"):
            decode_call('{"args":[],"kwargs":{}}', max_bytes=10)
        with pytest.raises(PayloadError, match="Longer than 16,777,216 bytes"):
            encode("x" * HARD_MAX_BYTES, max_bytes=HARD_MAX_BYTES * 2)

    def test_integers_are_bounded_where_python_bounds_none(self):
        limit = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
        try:
            with pytest.raises(PayloadError, match="more than 4,300 digits"):
                decode("[" + "1" * 4301 + "]")
            with pytest.raises(PayloadError, match="more than 4,300 digits"):
                encode([10**4300])
        finally:
            sys.set_int_max_str_digits(limit)
