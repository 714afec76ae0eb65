"""Row 33: JSON that two readers could understand differently, or that takes a reader down: refused
with 400 in the dialect of the route before anything is sent, at the price of reading it once. What
is not refused reaches the provider byte for byte and means one thing to three readers.
"""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lab import Lab, fields_for, is_refused
from rawclient import CHAT, MESSAGES

COUNT_TOKENS = "/v1/messages/count_tokens"
ASKED = (CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings", MESSAGES)
ROUTES = (*ASKED, COUNT_TOKENS)
DEEP = 100_000
VALUES = {
    "NaN": b"NaN",
    "minus infinity": b"-Infinity",
    "1e400": b"1e400",
    "high surrogate": b'"\\ud800"',
    "low surrogate": b'"x\\udfffx"',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "invalid UTF-8": b'"\xc3\x28"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "half a character": b'"\xe2\x82"',
    "NUL": b'"\x00"',
    "NUL between": b"1\x00",
    "duplicate keys": b'{"a": 1, "a": 2}',
    "duplicate keys in two spellings": b'{"a": 1, "\\u0061": 1}',
    "integer beyond 2**53": b"9007199254740993",
    "integer of 64 bits": b"-18446744073709551616",
    "integer of 5000 digits": b"9" * 5000,
    "integer of a million digits": b"9" * 1_000_000,
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and unclosed": b'[{"a":' * DEEP,
    "an endless array": b"[" + b"0," * 100_000 + b"0]",
    "65 levels": b"[" * 65 + b"]" * 65,
    "trailing comma": b"[1,]",
    "comment": b"1 /* one */",
}
"""Each is the value of a field whose name means nothing."""
KEYS = {
    "duplicate model": b'{"model": "m", "model": "n"}',
    "surrogate in a key": b'{"model": "m", "\\ud800": 1}',
    "invalid UTF-8 in a key": b'{"model": "m", "\xff": 1}',
    "two documents": b'{"model": "m"}{"model": "m"}',
    "byte order mark": b'\xef\xbb\xbf{"model": "m"}',
    "UTF-16": '{"model": "m"}'.encode("utf-16"),
    "UTF-32": '{"model": "m"}'.encode("utf-32"),
    "NULs": bytes(100),
}


def body_with(path: str, value: bytes) -> bytes:
    """A question to `path` that is a good one but for the value of one field."""
    return json.dumps(fields_for(path)).encode()[:-1] + b', "x": ' + value + b"}"


@pytest.mark.parametrize("name", VALUES)
def test_an_ambiguous_value_is_400_in_the_dialect_of_every_route(lab: Lab, name: str) -> None:
    for path in ASKED:
        is_refused(lab.tell(path, body_with(path, VALUES[name])), path, 400)
    is_refused(lab.tell(COUNT_TOKENS, body_with(MESSAGES, VALUES[name])), COUNT_TOKENS, 400)
    assert (lab.server.calls, lab.server.connections, lab.stored()) == ([], [], 0)
    lab.is_healthy()


@pytest.mark.parametrize("name", KEYS)
def test_an_ambiguous_document_is_400_in_the_dialect_of_every_route(lab: Lab, name: str) -> None:
    for path in ROUTES:
        is_refused(lab.tell(path, KEYS[name]), path, 400)
    assert (lab.server.calls, lab.server.connections, lab.stored()) == ([], [], 0)
    lab.is_healthy()


def test_a_stream_is_refused_as_a_whole_answer_is(lab: Lab) -> None:
    for name, value in VALUES.items():
        body = body_with(CHAT, value).replace(b'{"model"', b'{"stream": true, "model"', 1)
        reply = lab.tell(CHAT, body)
        assert reply.status == 400, name
        is_refused(reply, CHAT, 400)
    assert lab.server.calls == []


def test_others_notice_nothing_of_what_is_refused(lab: Lab) -> None:
    with lab.healthy_meanwhile("other"):
        for name in KEYS:
            for path in ROUTES:
                is_refused(lab.tell(path, KEYS[name]), path, 400)


HOSTILE = {
    "depth": lambda size: b"[" * size,
    "objects": lambda size: b'{"a":' * (size // 5),
    "digits": lambda size: b"9" * size,
    "an exponent": lambda size: b"1e" + b"9" * size,
    "equal keys": lambda size: b"{" + b'"a":1,' * (size // 6) + b'"a":1}',
    "keys": lambda size: b"{" + b",".join(b'"%d":1' % n for n in range(size // 10)) + b', "1":1}',
    "surrogates": lambda size: b'"' + b"\\ud800" * (size // 6) + b'"',
    "invalid UTF-8": lambda size: b'"' + b"\xff" * size + b'"',
    "spaces": lambda size: b" " * size,
    "commas": lambda size: b"[" + b"," * size,
    "quotes": lambda size: b'"' + b'\\"' * (size // 2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_price_of_a_refusal_grows_with_the_body_and_no_faster(lab: Lab, name: str) -> None:
    """Where it grew by the square, the larger body would take 64 times as long as the smaller, and
    minutes; eight times is what reading costs, and the rest is room for a busy machine."""

    def price_s(size: int) -> float:
        body = body_with(CHAT, HOSTILE[name](size))
        started_s = time.process_time()
        is_refused(lab.tell(CHAT, body), CHAT, 400)
        return time.process_time() - started_s

    small_s = min(price_s(200_000) for _ in range(3))
    assert price_s(1_600_000) < 30 * small_s + 0.2
    lab.is_healthy()


ODD = st.sampled_from(
    ["NaN", "1e400", "-0", "-0.0", "1.0", "1E5", "5e-324", "9007199254740992", "9007199254740993",
     '"\\ud83d\\ude00"', '"\\ud800"', '"\\u0000"', '"\x00"', '"\u2028"', '"\ufeff"', "01", ".5",
     "'a'", "True", "[1,]", "", " ", "\n1\t", "/**/1", '"\\x41"', "[[]", "null"]
)  # fmt: skip
SCALARS = ODD | st.text(max_size=6).map(json.dumps) | st.integers().map(str) | st.floats().map(str)
NAMES = st.sampled_from(['"a"', '"\\u0061"', '"b"', '"seed"', '"\\ud800"', "a", '"model"', '""'])


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    fields = st.lists(st.tuples(NAMES, inner).map(":".join), max_size=3)
    return fields.map(lambda all_: "{" + ",".join(all_) + "}")


def arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, max_size=3).map(lambda all_: "[" + ",".join(all_) + "]")


TEXTS = st.recursive(SCALARS, lambda inner: arrays(inner) | objects(inner), max_leaves=6)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(TEXTS, st.sampled_from(ASKED))
@example('{"seed":9223372036854775807}', CHAT)
@example('{"a":{"b":[1.5,"é",null]}}', MESSAGES)
def test_any_json_is_refused_or_means_one_thing_to_three_readers(
    lab: Lab, text: str, path: str
) -> None:
    lab.gate.runtime.clear()
    before = len(lab.server.calls)
    body = body_with(path, text.encode("utf-8", "surrogatepass"))
    reply = lab.tell(path, body, asked=fields_for(path))
    if reply.status == 400:
        is_refused(reply, path, 400)
        assert len(lab.server.calls) == before
        return
    assert (reply.status, len(lab.server.calls)) == (200, before + 1)
    assert lab.server.calls[-1].raw == body
    assert one_meaning(body)


def one_meaning(body: bytes) -> bool:
    """Whether no reader takes it for something else; each of them refuses some of what is odd."""

    def strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    theirs = json.loads(body, object_pairs_hook=strict)
    return bool(theirs == orjson.loads(body))
