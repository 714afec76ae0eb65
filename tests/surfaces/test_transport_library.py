"""Both client libraries behind one face: clients, requests, responses, exceptions."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import httpx
import httpx2
import pytest

from headgate.errors import (
    BadRequest,
    HeadgateError,
    StreamBroken,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from headgate.surfaces.transport_library import LIBRARIES, Library, Routes, library_of

MODULES = {"httpx2": httpx2, "httpx": httpx}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    return Library(request.param)


def other_than(library: Library) -> Library:
    return Library({"httpx2": "httpx", "httpx": "httpx2"}[library.name])


def test_another_library_is_refused_by_the_name_of_the_argument() -> None:
    with pytest.raises(ValueError, match=r"library='requests': expected \"httpx2\" or \"httpx\""):
        Library("requests")


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_is_not_installed_is_told_with_what_to_do(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    other = {"httpx2": "httpx", "httpx": "httpx2"}[name]
    with pytest.raises(ModuleNotFoundError) as caught:
        Library(name)
    assert f"pip install 'headgate[{name}]'" in str(caught.value)
    assert f'library="{other}"' in str(caught.value)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_client_is_one_of_the_library_with_the_settings_of_the_sdks(
    library: Library, asynchronous: bool
) -> None:
    module = MODULES[library.name]
    client = library.client(object(), asynchronous=asynchronous)
    assert isinstance(client, module.AsyncClient if asynchronous else module.Client)
    assert client.follow_redirects
    assert client.timeout == module.Timeout(600, connect=5)
    wanted = f'headgate.Runtime.http_client(asynchronous={asynchronous}, library="{library.name}")'
    assert str(type(client)) == f"<class '{wanted}'>"


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_these_are_the_settings_of_the_sdks(sdk: str) -> None:
    constants = importlib.import_module(f"{sdk}._constants")
    library = Library("httpx2")
    client = library.client(object(), asynchronous=False)
    assert client.timeout == constants.DEFAULT_TIMEOUT
    limits = constants.DEFAULT_CONNECTION_LIMITS
    sender = library.sender(None, asynchronous=False)
    assert sender._pool._max_connections == limits.max_connections
    assert sender._pool._max_keepalive_connections == limits.max_keepalive_connections
    sender.close()


def test_the_keep_alive_is_that_of_anthropics_own_client() -> None:
    anthropic = importlib.import_module("anthropic")
    with anthropic.DefaultHttpxClient() as theirs:
        ours = Library("httpx2").sender(None, asynchronous=False)
        assert sorted(ours._pool._socket_options) == sorted(
            tuple(map(int, option)) for option in theirs._transport._pool._socket_options
        )


def test_a_request_keeps_all_but_headers_body_and_tracing(library: Library) -> None:
    module = MODULES[library.name]
    extensions: Any = {"timeout": {"read": 3.0}, "trace": print, "sni_hostname": "a"}
    url = "https://a.example/v1?x=%20y"
    asked = module.Request("POST", url, content=b"abc", extensions=extensions)
    headers = ((b"X-Mine", b"1"), (b"x-mine", b"2"))
    made = library.request(asked, headers, b"body")
    assert (made.method, made.url, made.read()) == ("POST", asked.url, b"body")
    assert tuple(made.headers.raw) == headers
    assert made.extensions == {"timeout": {"read": 3.0}, "sni_hostname": "a"}


def test_a_response_adds_no_headers(library: Library) -> None:
    response = library.response(200, ((b"x-a", b"1"),), b"body")
    assert isinstance(response, MODULES[library.name].Response)
    assert response.headers.raw == [(b"x-a", b"1")]
    assert (response.status_code, response.read(), response.http_version) == (
        200, b"body", "HTTP/1.1",
    )  # fmt: skip


KINDS: list[tuple[str, type[HeadgateError], bool, str]] = [
    ("ConnectError", UpstreamUnreachable, False, ""),
    ("ProxyError", UpstreamUnreachable, False, ""),
    ("UnsupportedProtocol", UpstreamUnreachable, False, ""),
    ("ConnectTimeout", UpstreamTimeout, False, "connect"),
    ("PoolTimeout", UpstreamTimeout, False, "connect"),
    ("ReadTimeout", UpstreamTimeout, True, "idle"),
    ("WriteTimeout", UpstreamTimeout, True, "idle"),
    ("LocalProtocolError", BadRequest, False, ""),
    ("DecodingError", UpstreamGarbled, True, ""),
    ("ReadError", StreamBroken, True, ""),
    ("WriteError", StreamBroken, True, ""),
    ("CloseError", StreamBroken, True, ""),
    ("RemoteProtocolError", StreamBroken, True, ""),
]


@pytest.mark.parametrize(("name", "kind", "sent", "stage"), KINDS)
def test_each_exception_becomes_ours_and_back_in_either_library(
    library: Library, name: str, kind: type[HeadgateError], sent: bool, stage: str
) -> None:
    raised = getattr(library.module, name)("why it failed")
    error = library.ours(raised)
    assert type(error) is kind
    assert (error.sent, error.message) == (sent, "why it failed")
    assert getattr(error, "stage", "") == stage
    error.__cause__ = raised
    for back in (library, other_than(library)):
        theirs = back.theirs(error)
        assert type(theirs) is getattr(back.module, name)
        assert str(theirs) == "why it failed"
        assert theirs is not raised


def test_every_exception_of_a_request_has_a_kind(library: Library) -> None:
    module = library.module
    names = [name for name in dir(module) if name.endswith(("Error", "Timeout", "Protocol"))]
    raised = [getattr(module, name) for name in names]
    kinds = {kind.__name__ for kind in raised if issubclass(kind, module.RequestError)}
    assert kinds - {name for name, *_ in KINDS} <= {
        "RequestError", "TransportError", "NetworkError", "ProtocolError", "SSEError",
    }  # fmt: skip
    assert isinstance(library.ours(module.NetworkError("x")), UpstreamFailed)


def test_an_error_of_ours_alone_has_no_exception_of_a_library(library: Library) -> None:
    error = StreamBroken("too slow")
    assert library.theirs(error) is None
    error.__cause__ = ValueError("x")
    assert library.theirs(error) is None
    module = library.module
    assert isinstance(library.broken(error), module.ReadError)
    assert isinstance(library.broken(UpstreamTimeout("x", stage="idle")), module.ReadTimeout)
    assert isinstance(library.late(), module.ReadTimeout)


def test_a_message_that_is_empty_is_told_by_its_class(library: Library) -> None:
    assert library.ours(library.module.ReadTimeout("")).message == "ReadTimeout"


def test_the_library_of_a_request_is_that_of_its_class() -> None:
    class Mine(httpx.Request):
        """A class of a user's own."""

    assert library_of(httpx2.Request("GET", "http://a")) == "httpx2"
    assert library_of(Mine("GET", "http://a")) == "httpx"
    with pytest.raises(TypeError, match="a request of httpx2 or httpx"):
        library_of(object())


def test_each_proxy_has_one_sender() -> None:
    made: list[str | None] = []

    def make(proxy: str | None) -> str:
        made.append(proxy)
        return f"by {proxy}"

    routes = Routes(make)
    url = httpx2.URL("https://a.example/v1")
    for _ in range(2):
        assert routes.to(url, {"https": "http://p:1", "no": "b.example"}) == "by http://p:1"
        assert routes.to(
            httpx2.URL("https://b.example"), {"https": "http://p:1", "no": "b.example"}
        )
        assert routes.to(url, {}) == "by None"
    assert made == ["http://p:1", None]
    assert list(routes) == ["by http://p:1", "by None"]
