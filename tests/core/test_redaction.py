"""Text for logs: no credential, one line, not too long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.redaction import MASK, TEXT_MAX_CHARS, Redactor, one_line

SECRETS = ("hunter2-hunter2", "hunter2", "pass word", "a.b*c$d")
REDACTOR = Redactor(SECRETS)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_known_secret_is_masked_wherever_it_stands(secret: str) -> None:
    assert REDACTOR.redacted(f"x{secret}y {secret}") == f"x{MASK}y {MASK}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key sk-proj-abcdefgh12345678", "key sk-***"),
        ("sk-ant-api03-AAAABBBBCCCC", "sk-***"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("header x-api-key: 1234567890", "header x-api-key: ***"),
        ('{"api_key": "abcdef-ghi"}', '{"api_key": "***"}'),
        ("password=correct-horse", "password=***"),
        ("redis://user:letmein@host:6379/0", "redis://***@host:6379/0"),
        ("AIzaSyA1234567890abcdefghijkl", "AIza***"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, expected: str) -> None:
    assert Redactor().redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    ["12 tokens: 1,200 in all", "GET http://127.0.0.1:4000/v1/models", "the key is unknown",
     "model task-force-list", "basic facts"],
)  # fmt: skip
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor().redacted(text) == text


def test_a_short_secret_is_none() -> None:
    assert Redactor(["", "abc"]).redacted("abc of abc") == "abc of abc"


def test_a_megabyte_is_cut_and_says_so() -> None:
    cut = Redactor().redacted("x" * 1_000_000)
    assert cut == "x" * TEXT_MAX_CHARS + "... (cut)"


@pytest.mark.parametrize("shift", range(0, 60, 7))
def test_no_half_of_a_secret_stays_at_the_cut(shift: int) -> None:
    secret = "s3cret-" + "z" * 40
    for at in (TEXT_MAX_CHARS - shift, TEXT_MAX_CHARS + 2_000 - shift):
        for before in ("y", "token=" + "q" * 500 + " "):
            text = (before * (at // len(before) + 1))[:at] + secret + "tail" * 10_000
            assert "s3c" not in Redactor([secret]).redacted(text)


@given(st.text())
def test_a_line_is_one_line_of_plain_characters(text: str) -> None:
    assert re.fullmatch(r"[\x20-\x7e]*", one_line(text))


def test_what_could_begin_a_line_or_steer_a_terminal_is_spelled_out() -> None:
    assert one_line("a\nb\r\x1b[2J\x9b\u2028é") == r"a\nb\r\x1b[2J\x9b\u2028\xe9"
