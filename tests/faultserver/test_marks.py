"""Marks: whose answer it is, found in any bytes, without the credential in any record."""

from __future__ import annotations

import pytest

from headgate.faultserver.marks import credential_in, without_credentials
from headgate.testing import Mark, alias_of, marks_in, tenant_of

ONE, TWO = Mark(tenant_of("sk-a"), 1), Mark(tenant_of("sk-b"), 22)


def test_every_mark_in_an_answer_is_found() -> None:
    text = f'{{"id": "chatcmpl-{ONE}ff0", "content": "{ONE} words {TWO}"}}'
    assert marks_in(text) == marks_in(text.encode()) == {ONE, TWO}


@pytest.mark.parametrize("text", ["", "hgt", "hgt12345678", "hgtxyz45678s1z", "hgt12345678sz"])
def test_what_only_looks_like_a_mark_is_none(text: str) -> None:
    assert marks_in(text) == set()


def test_a_serial_is_read_to_its_end_even_before_digits() -> None:
    assert marks_in(f"{Mark(ONE.tenant, 1)}234") == {ONE}


def test_bytes_that_are_no_text_are_searched_too() -> None:
    assert marks_in(b"\xff\x00" + str(ONE).encode() + b"\xfe") == {ONE}


def test_a_tenant_is_told_by_its_credential_alone() -> None:
    assert tenant_of("sk-a") == tenant_of("sk-a") != tenant_of("sk-b")
    assert tenant_of("") not in (tenant_of("sk-a"), tenant_of("sk-b"))
    assert alias_of("") == ""


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ({"authorization": "Bearer sk-a"}, "sk-a"),
        ({"x-api-key": "sk-a"}, "sk-a"),
        ({"authorization": "Bearer "}, ""),
        ({"host": "sk-a"}, ""),
    ],
)
def test_the_credential_is_found_where_the_sdks_put_it(
    headers: dict[str, str], credential: str
) -> None:
    assert credential_in(headers) == credential


def test_headers_are_written_down_without_credentials() -> None:
    headers = {"authorization": "Bearer sk-a", "x-api-key": "sk-b", "host": "x"}
    written = without_credentials(headers)
    assert "sk-" not in str(written)
    assert written == {
        "authorization": alias_of("sk-a"),
        "x-api-key": alias_of("sk-b"),
        "host": "x",
    }
