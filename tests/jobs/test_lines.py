"""Files of lines: what is taken, what is refused and how it is named."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.jobs.lines import OPERATIONS, PROBLEMS_MAX, Checked, Refusal, check
from headgate.jobs.settings import JobsConfig
from headgate.types import USUAL_POLICY, Policy

CHAT = "/v1/chat/completions"
SMALL = JobsConfig(lines_max=5, file_max_bytes=4096, line_max_bytes=1024)
PROCESS = Path(__file__).with_name("lines_process.py")


def knows(model: str, endpoint: str) -> Policy | Refusal:
    if model.startswith("no"):
        return Refusal("model_not_found", f"nobody serves {model} at {endpoint}")
    return USUAL_POLICY


def a_line(number: int = 1, **changes: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": f"question {number}"}]
    line = {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": CHAT,
        "body": {"model": "gpt-4o", "messages": said},
    }
    line |= changes
    return {name: value for name, value in line.items() if value is not ...}


def a_body(**changes: Any) -> dict[str, Any]:
    body = {**a_line()["body"], **changes}
    return {name: value for name, value in body.items() if value is not ...}


def spelt(*lines: Any) -> bytes:
    texts = (one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines)
    return b"".join(text + b"\n" for text in texts)


def checked(content: bytes, settings: JobsConfig = JobsConfig(), endpoint: str = "") -> Checked:
    return check(io.BytesIO(content), knows, settings, endpoint)


def codes(found: Checked) -> list[tuple[int, str, str]]:
    return [(problem.line, problem.code, problem.param) for problem in found.problems]


# What is taken.


def test_good_lines_are_where_they_stand_in_the_file() -> None:
    content = spelt(a_line(1), a_line(2), a_line(3))
    found = checked(content)
    assert (found.endpoint, found.problems, found.problem_count) == (CHAT, [], 0)
    assert [(line.custom_id, line.line_no, line.model) for line in found.lines] == [
        (f"line-{number}", number, "gpt-4o") for number in (1, 2, 3)
    ]
    for number, line in enumerate(found.lines, 1):
        text = content[line.offset : line.offset + line.length]
        assert json.loads(text) == a_line(number)
    assert len({line.request_digest for line in found.lines}) == 3


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["", "bom"])
@pytest.mark.parametrize("more", [b"", b"\n", b"\r\n\r\n", b"  \n\t\n\n"])
def test_ends_of_lines_and_empty_ones_at_the_end_do_not_count(
    start: bytes, end: bytes, more: bytes
) -> None:
    first, second = (json.dumps(a_line(number)).encode() for number in (1, 2))
    content = start + first + (end or b"\n") + second + end + (more if end else b"")
    found = checked(content)
    assert found.problems == []
    assert [content[line.offset : line.offset + line.length] for line in found.lines] == [
        first, second,
    ]  # fmt: skip


@pytest.mark.parametrize("url", list(OPERATIONS))
def test_every_endpoint_is_taken_and_one_in_a_file(url: str) -> None:
    found = checked(spelt(a_line(1, url=url), a_line(2, url=url)))
    assert (found.endpoint, len(found.lines)) == (url, 2)
    other = "/v1/embeddings" if url != "/v1/embeddings" else CHAT
    assert codes(checked(spelt(a_line(1, url=url), a_line(2, url=other)))) == [
        (2, "mismatched_endpoint", "url")
    ]
    assert codes(checked(spelt(a_line(1, url=url)), endpoint=other)) == [
        (1, "mismatched_endpoint", "url")
    ]


def test_what_else_a_line_says_is_not_our_business() -> None:
    line = a_line(1, comment="mine", body=a_body(unknown={"a": [1, None, 1.5]}, stream=False))
    assert checked(spelt(line)).problems == []


def test_equal_requests_have_equal_digests_however_they_are_spelt() -> None:
    first = a_line(1)
    second = b'{"body": {"messages": [{"content":"question 1","role":"user"}],"model":"gpt-4o"},'
    second += b'"url":"/v1/chat/completions","method":"POST","custom_id":"x"}'
    found = checked(spelt(first, second, a_line(3)))
    digests = [line.request_digest for line in found.lines]
    assert digests[0] == digests[1] != digests[2]
    assert found.followers == 1
    assert found.loads["gpt-4o"].lines == 2


def test_what_the_cache_may_not_keep_is_asked_for_each_line() -> None:
    def hot(model: str, endpoint: str) -> Policy:
        return Policy(temperature_max=0.5)

    bodies = [a_body(temperature=0.2), a_body(temperature=0.2), a_body(), a_body()]
    content = spelt(*(a_line(number, body=body) for number, body in enumerate(bodies, 1)))
    found = check(io.BytesIO(content), hot)
    digests = [line.request_digest for line in found.lines]
    assert digests[0] == digests[1]
    assert digests[2] != digests[3]
    assert (found.followers, found.loads["gpt-4o"].lines) == (1, 3)


def test_loads_add_up_by_model() -> None:
    body = a_body(max_tokens=100)
    found = checked(spelt(
        a_line(1, body=body), a_line(2, body=a_body(max_tokens=7)),
        a_line(3, body=a_body(model="small", n=2, max_tokens=10)),
    ))  # fmt: skip
    assert {model: (load.lines, load.tokens_out) for model, load in found.loads.items()} == {
        "gpt-4o": (2, 107), "small": (1, 20),
    }  # fmt: skip
    total = sum(load.tokens_in + load.tokens_out for load in found.loads.values())
    assert total == sum(line.tokens_estimated for line in found.lines)
    assert sum(load.size_bytes for load in found.loads.values()) == sum(
        line.length + 1 for line in found.lines
    )
    embedded = checked(spelt(a_line(1, url="/v1/embeddings", body={"model": "e", "input": "a"})))
    assert embedded.loads["e"].tokens_out == 0


# What is refused.

WRONG: list[tuple[Any, str, str]] = [
    (b"{", "invalid_json_line", ""),
    (b"nonsense", "invalid_json_line", ""),
    (b"[]", "invalid_json_line", ""),
    (b'{"custom_id": NaN}', "invalid_json_line", ""),
    (b'{"custom_id": 1} {}', "invalid_json_line", ""),
    (json.dumps(a_line()).replace("question", "\\ud800").encode(), "invalid_json_line", ""),
    (json.dumps(a_line()).encode()[:-1] + b', "url": "x"}', "invalid_json_line", ""),
    (b"[" * 10_000 + b"]" * 10_000, "invalid_json_line", ""),
    (json.dumps(a_line()).encode().replace(b"question", b"\xff\xfe"), "invalid_encoding", ""),
    (json.dumps(a_line()).encode().replace(b"question", b"\xed\xa0\x80"), "invalid_encoding", ""),
    (a_line(custom_id=...), "missing_required_parameter", "custom_id"),
    (a_line(custom_id=None), "missing_required_parameter", "custom_id"),
    (a_line(custom_id=7), "invalid_type", "custom_id"),
    (a_line(custom_id=""), "invalid_custom_id", "custom_id"),
    (a_line(custom_id="x" * 513), "invalid_custom_id", "custom_id"),
    (a_line(method=...), "missing_required_parameter", "method"),
    (a_line(method="GET"), "invalid_method", "method"),
    (a_line(url=...), "missing_required_parameter", "url"),
    (a_line(url=["x"]), "invalid_type", "url"),
    (a_line(url="/v1/bad_endpoint"), "invalid_url", "url"),
    (a_line(url="https://evil.example/v1/chat/completions"), "invalid_url", "url"),
    (a_line(body=...), "missing_required_parameter", "body"),
    (a_line(body="text"), "invalid_type", "body"),
    (a_line(body=a_body(model=...)), "missing_required_parameter", "body.model"),
    (a_line(body=a_body(model=4)), "invalid_type", "body.model"),
    (a_line(body=a_body(model="")), "invalid_model", "body.model"),
    (a_line(body=a_body(model="m" * 257)), "invalid_model", "body.model"),
    (a_line(body=a_body(model="nonexistent")), "model_not_found", "body.model"),
    (a_line(body=a_body(stream=True)), "stream_not_supported", "body.stream"),
    (a_line(body=a_body(stream="yes")), "stream_not_supported", "body.stream"),
    (a_line(body=a_body(seed=2**64)), "invalid_json_line", ""),
]


@pytest.mark.parametrize(("wrong", "code", "param"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_line_is_named_and_nothing_is_taken(wrong: Any, code: str, param: str) -> None:
    found = checked(spelt(a_line(2), wrong, a_line(3)))
    assert codes(found) == [(2, code, param)]
    assert (found.lines, found.loads, found.problem_count) == ([], {}, 1)
    assert len(found.problems[0].message) < 400


def test_names_of_512_characters_are_taken() -> None:
    assert checked(spelt(a_line(custom_id="é" * 512))).problems == []


def test_a_name_that_comes_twice_says_where_it_stood_first() -> None:
    found = checked(spelt(a_line(1), a_line(2), a_line(1), a_line(1, body="bad")))
    assert codes(found) == [
        (3, "duplicate_custom_id", "custom_id"), (4, "duplicate_custom_id", "custom_id"),
    ]  # fmt: skip
    assert found.problems[0].message == "custom_id 'line-1' stands in line 1 already"


def test_every_offending_line_is_counted_and_the_first_hundred_named() -> None:
    lines = [a_line(number, method="GET" if number % 2 else "POST") for number in range(1, 402)]
    found = checked(spelt(*lines))
    assert [problem.line for problem in found.problems] == list(range(1, 2 * PROBLEMS_MAX, 2))
    assert found.problem_count == 201


def test_a_model_is_judged_once() -> None:
    asked: list[tuple[str, str]] = []

    def judge(model: str, endpoint: str) -> Policy | Refusal:
        asked.append((model, endpoint))
        return knows(model, endpoint)

    bodies = [a_body(model=model) for model in ("a", "none", "a", "none")]
    content = spelt(*(a_line(number, body=body) for number, body in enumerate(bodies)))
    found = check(io.BytesIO(content), judge)
    assert asked == [("a", CHAT), ("none", CHAT)]
    assert [problem.line for problem in found.problems] == [2, 4]


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_is_refused(content: bytes) -> None:
    assert codes(checked(content)) == [(0, "empty_file", "")]


def test_an_empty_line_between_others_is_refused() -> None:
    assert codes(checked(spelt(a_line(1), b"", b"  ", a_line(2)))) == [
        (2, "empty_line", ""), (3, "empty_line", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_another_encoding_is_named_once(encoding: str) -> None:
    content = spelt(a_line(1), a_line(2)).decode().encode(encoding)
    found = checked(content)
    assert codes(found) == [(0, "invalid_encoding", "")]
    assert "UTF-16" in found.problems[0].message


def test_a_file_that_is_too_large_is_not_read() -> None:
    content = spelt(*(a_line(number) for number in range(1, 40)))
    found = checked(content, SMALL)
    assert codes(found) == [(0, "file_too_large", "")]
    assert str(len(content)) in found.problems[0].message


def test_too_many_lines_are_refused() -> None:
    assert checked(spelt(*(a_line(number) for number in range(1, 6))), SMALL).problems == []
    found = checked(spelt(*(a_line(number) for number in range(1, 7))), SMALL)
    assert codes(found) == [(0, "too_many_lines", "")]
    assert found.lines == []


def padded(size_bytes: int) -> bytes:
    bare = json.dumps(a_line()).encode()
    return bare.replace(b"question", b"q" * (size_bytes - len(bare) + 8))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_may_be_as_long_as_it_may_be(end: bytes) -> None:
    assert checked(padded(1024) + end, SMALL).problems == []
    for more in (1, 2, 3, 700):
        found = checked(padded(1024 + more) + end + spelt(a_line(2)) * bool(end), SMALL)
        assert codes(found) == [(1, "line_too_long", "")]


@pytest.mark.parametrize("inside", [b"\r", b"\r\r", b"\r\r\r"])
def test_what_looks_like_an_end_inside_a_long_line_is_none(inside: bytes) -> None:
    for at in range(1020, 1030):
        content = b"x" * at + inside + b"y" * 100 + b"\n" + spelt(a_line(2))
        assert [problem.line for problem in checked(content, SMALL).problems] == [1]


@given(st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"")), max_size=8))
def test_whatever_stands_in_a_line_costs_that_line_only(rubbish: list[bytes]) -> None:
    content = spelt(a_line(1), *rubbish, a_line(2))
    found = checked(content)
    wanted = set(range(2, 2 + len(rubbish)))
    assert {problem.line for problem in found.problems} == wanted
    assert found.problem_count == len(wanted)
    assert len(found.lines) == (0 if rubbish else 2)


def test_200_mb_and_50_000_lines_stay_below_300_mb_of_memory(tmp_path: Path) -> None:
    """In a process of its own, whose memory nobody else uses."""
    done = subprocess.run(
        [sys.executable, str(PROCESS), str(tmp_path / "in.jsonl")],
        env={**os.environ}, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["size_mb"] >= 199
    assert told["lines"] == 50_000
    assert told["rss_mb"] < 150
