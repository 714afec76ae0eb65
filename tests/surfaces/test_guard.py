"""Who may use the admin routes."""

from __future__ import annotations

import pytest

from headgate.errors import BadRequest
from headgate.surfaces.guard import is_loopback, refuse_web_pages, require_admin
from headgate.types import Secret

TOKEN = Secret("s3cret-token")
NO_TOKEN = Secret("")


def status_of(
    headers: dict[str, str], *, client: str = "127.0.0.1", bound: str = "127.0.0.1",
    token: Secret = NO_TOKEN,
) -> int:  # fmt: skip
    """200 if the caller may in, else the status of the refusal."""
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    try:
        require_admin(fields, client, bound, token)
    except BadRequest as refused:
        return refused.status_hint
    return 200


@pytest.mark.parametrize("host", ["127.0.0.1:4000", "localhost:4000", "localhost", "[::1]:4000",
                                  "LOCALHOST:1"])  # fmt: skip
@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "127.8.9.1"])
def test_the_machine_itself_is_let_in(host: str, client: str) -> None:
    assert status_of({"host": host}, client=client) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4000", "127.0.0.1.evil.example", "localhost.evil.example",
     "127.0.0.1@evil.example", "evil.example#127.0.0.1", "2130706433", "0x7f.1", "0.0.0.0",
     "localhost.", "", " ", "[::1", "127.0.0.1:4000/x", "l\xf6calhost", "169.254.169.254"],
)  # fmt: skip
def test_a_foreign_host_name_is_refused(host: str) -> None:
    assert status_of({"host": host}) == 403


def test_a_request_without_a_host_is_refused() -> None:
    assert status_of({}) == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1", "file://",
     "http://127.0.0.1:40000", "127.0.0.1:4000", ""],
)  # fmt: skip
def test_a_foreign_origin_is_refused(origin: str) -> None:
    assert status_of({"host": "127.0.0.1:4000", "origin": origin}) == 403


def test_the_own_origin_is_let_in() -> None:
    assert status_of({"host": "127.0.0.1:4000", "origin": "http://127.0.0.1:4000"}) == 200


@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200), ("x", 403)],
)
def test_a_browser_is_let_in_only_from_our_own_pages(site: str, status: int) -> None:
    assert status_of({"host": "localhost:4000", "sec-fetch-site": site}) == status


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-forwarded-host",
                                  "x-forwarded-proto", "x-real-ip", "via"])  # fmt: skip
def test_a_reverse_proxy_ends_the_trust_in_loopback(name: str) -> None:
    assert status_of({"host": "127.0.0.1:4000", name: "127.0.0.1"}) == 401


@pytest.mark.parametrize(
    ("client", "bound"),
    [("10.0.0.5", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("127.0.0.1", "10.0.0.5"), ("", "::1"),
     ("unix", "127.0.0.1"), ("::ffff:10.0.0.5", "127.0.0.1")],
)  # fmt: skip
def test_anywhere_but_on_loopback_the_token_is_needed(client: str, bound: str) -> None:
    local = {"host": "127.0.0.1:4000"}
    assert status_of(local, client=client, bound=bound, token=TOKEN) == 401
    told = {**local, "authorization": "Bearer s3cret-token"}
    assert status_of(told, client=client, bound=bound, token=TOKEN) == 200


def test_the_token_opens_from_anywhere_and_through_a_proxy() -> None:
    headers = {"host": "gate.example", "x-forwarded-for": "1.2.3.4", "origin": "http://x",
               "authorization": "Bearer s3cret-token"}  # fmt: skip
    assert status_of(headers, client="10.0.0.5", bound="0.0.0.0", token=TOKEN) == 200


@pytest.mark.parametrize("sent", ["Bearer ", "Bearer", "", "Bearer s3cret-toke", "s3cret-token",
                                  "Bearer s3cret-token ", "bearer s3cret-token", "Basic x",
                                  "Bearer \xe4"])  # fmt: skip
def test_a_wrong_token_opens_nothing(sent: str) -> None:
    headers = {"host": "x", "authorization": sent}
    assert status_of(headers, client="10.0.0.5", bound="0.0.0.0", token=TOKEN) == 401


def test_an_empty_token_is_no_token() -> None:
    headers = {"host": "x", "authorization": "Bearer "}
    assert status_of(headers, client="10.0.0.5", bound="0.0.0.0", token=NO_TOKEN) == 401


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("LocalHost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("", False),
     ("example.org", False), ("localhost.example", False), ("127.0.0.1.example", False)],
)  # fmt: skip
def test_loopback_is_an_address_or_localhost(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("bound", "headers", "is_let_in"),
    [
        ("127.0.0.1", {"host": "127.0.0.1:4000"}, True),
        ("127.0.0.1", {"host": "localhost:4000", "origin": "http://localhost:4000"}, True),
        ("127.0.0.1", {"host": "localhost:4000", "sec-fetch-site": "none"}, True),
        ("127.0.0.1", {"host": "localhost:4000", "sec-fetch-site": "cross-site"}, False),
        ("127.0.0.1", {"host": "localhost:4000", "sec-fetch-site": "same-site"}, False),
        ("127.0.0.1", {"host": "localhost:4000", "origin": "http://localhost:3000"}, False),
        ("127.0.0.1", {"host": "localhost:4000", "origin": "null"}, False),
        # A name of theirs that points at this machine: to the browser it is one origin.
        ("127.0.0.1", {"host": "evil.example:4000"}, False),
        ("::1", {"host": "evil.example"}, False),
        ("127.0.0.1", {}, False),
        ("0.0.0.0", {"host": "gateway.internal"}, True),
        ("0.0.0.0", {"host": "gateway.internal", "origin": "https://evil.example"}, False),
    ],
)  # fmt: skip
def test_web_pages_of_other_origins_are_refused(
    bound: str, headers: dict[str, str], is_let_in: bool
) -> None:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    if is_let_in:
        refuse_web_pages(fields, bound)
        return
    with pytest.raises(BadRequest) as caught:
        refuse_web_pages(fields, bound)
    assert (caught.value.status_hint, caught.value.code) == (403, "wrong_origin")
