"""The headers of a request: what goes upstream, who asks, and what is too much."""

from __future__ import annotations

import pytest
from plans import head_of

from headgate.admission_head import (
    CREDENTIAL_HEADERS,
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    IDENTITY,
    read_head,
)
from headgate.errors import BadRequest


def test_only_headers_on_the_list_go_upstream() -> None:
    head = head_of(
        content_type="application/json", accept="*/*", traceparent="00-x", openai_beta="a=1",
        anthropic_version="2023-06-01", anthropic_beta="b", openai_organization="org",
        host="gate", user_agent="sdk", cookie="a=b", connection="close", x_stainless_lang="python",
        cache_control="no-cache", headgate_ttl="5m", accept_encoding="gzip", te="trailers",
        x_forwarded_for="1.2.3.4", idempotency_key="k", content_length="5", api_base="https://evil",
    )  # fmt: skip
    assert {name for name, _ in head.forwarded} == {
        b"content-type", b"accept", b"traceparent", b"openai-beta", b"anthropic-version",
        b"anthropic-beta", b"openai-organization", b"accept-encoding",
    }  # fmt: skip
    assert IDENTITY in head.forwarded
    assert head.credential == ()
    assert head.name == b"k", "for one target only: not with what each of them gets"


def test_a_credential_is_kept_apart_from_what_is_forwarded() -> None:
    head = head_of(authorization="Bearer a", x_api_key="b", api_key="c", x_goog_api_key="d")
    assert head.credential == (
        (b"authorization", b"Bearer a"), (b"x-api-key", b"b"), (b"api-key", b"c"),
        (b"x-goog-api-key", b"d"),
    )  # fmt: skip
    assert not CREDENTIAL_HEADERS & {name for name, _ in head.forwarded}


def test_a_compressed_body_is_415() -> None:
    with pytest.raises(BadRequest, match="compressed") as caught:
        head_of(content_encoding="gzip")
    assert caught.value.status_hint == 415
    assert head_of(content_encoding="identity").announced_bytes == 0


def test_a_body_that_is_compressed_on_its_way_is_415_too() -> None:
    assert head_of(transfer_encoding="Chunked").announced_bytes == 0
    with pytest.raises(BadRequest, match="compressed") as caught:
        head_of(transfer_encoding="gzip, chunked")
    assert caught.value.status_hint == 415


@pytest.mark.parametrize("name", [b"host", b"authorization", b"x-api-key", b"content-encoding"])
def test_what_may_be_there_once_is_refused_when_it_is_there_twice(name: bytes) -> None:
    assert read_head([(name, b"identity")])
    with pytest.raises(BadRequest, match=f"{name.decode()} was sent twice"):
        read_head([(name, b"identity"), (b"accept", b"*/*"), (name, b"identity")])


def test_the_size_of_a_body_is_what_it_says_where_that_is_a_number() -> None:
    assert head_of(content_length="17").announced_bytes == 17
    assert head_of(content_length="-1").announced_bytes == 0


def test_headers_at_the_limit_are_read_and_one_more_is_431() -> None:
    few = [(b"a", b"x")] * HEADERS_MAX
    assert read_head(few).credential == ()
    for headers in ([*few, (b"a", b"x")], [(b"a", b"x" * HEADER_BYTES_MAX)]):
        with pytest.raises(BadRequest) as caught:
            read_head(headers)
        assert caught.value.status_hint == 431
