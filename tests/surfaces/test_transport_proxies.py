"""Which proxy the environment names: as httpx2 itself reads it, and the rules one by one."""

from __future__ import annotations

import itertools
from urllib.request import getproxies

import httpx2
import pytest

from headgate.surfaces.transport_proxies import proxy_for

PROXY = "http://proxy.example:3128"


def through(url: str, **proxies: str) -> str | None:
    parts = httpx2.URL(url)
    return proxy_for(parts.scheme, parts.host, parts.port, proxies)


def test_without_settings_there_is_no_proxy() -> None:
    assert through("https://api.example/v1") is None
    assert through("https://api.example/v1", no="*", https="") is None


def test_each_scheme_has_a_proxy_and_all_of_them_one() -> None:
    assert through("http://a.example", http=PROXY) == PROXY
    assert through("https://a.example", http=PROXY) is None
    assert through("https://a.example", all=PROXY, http="http://b") == PROXY
    assert through("https://a.example", https="proxy.example:1") == "http://proxy.example:1"
    assert through("https://a.example", all="socks5://p:1") == "socks5://p:1"


@pytest.mark.parametrize(
    ("no", "excepted", "others"),
    [
        ("*", ["a.example", "10.0.0.1"], []),
        ("example", ["example", "a.example"], ["notexample", "example.org"]),
        (".example", ["a.example"], ["example"]),
        ("*.example", ["a.example"], ["example"]),
        ("localhost", ["localhost"], ["a.localhost"]),
        ("10.0.0.0/8", ["10.1.2.3"], ["11.1.2.3", "a.10.0.0.0"]),
        ("10.1.2.3", ["10.1.2.3"], ["10.1.2.4"]),
        ("::1", ["[::1]"], ["[::2]", "10.0.0.1"]),
        ("[fe80::]/10", ["[fe80::1]"], ["[::1]"]),
        ("a.example:8443", ["a.example:8443"], ["a.example", "a.example:1"]),
        ("http://a.example", [], ["a.example"]),
        ("https://a.example", ["a.example"], ["b.a.example"]),
        ("x, a.example ,y", ["a.example", "x", "y"], ["z"]),
    ],
)
def test_exceptions_are_names_addresses_networks_and_ports(
    no: str, excepted: list[str], others: list[str]
) -> None:
    assert [host for host in excepted if through(f"https://{host}", https=PROXY, no=no)] == []
    assert [host for host in others if not through(f"https://{host}", https=PROXY, no=no)] == []


SETTINGS = [{"HTTP_PROXY": "http://p:1"}, {"HTTPS_PROXY": "p:2", "ALL_PROXY": "http://p:3"}]
EXCEPTIONS = [
    "", "*", "openai.com", ".openai.com", "*.openai.com", "localhost", "127.0.0.1", "10.0.0.0/8",
    "::1", "[::1]", "fe80::/10", "openai.com:443", "openai.com:8443", "http://openai.com",
    "https://api.openai.com", "all://openai.com", "internal, localhost", "API.openai.com", "http://",
    ":80", "10.1.2.3:443", "foo bar",
]  # fmt: skip
HOSTS = ["api.openai.com", "openai.com", "notopenai.com", "localhost", "127.0.0.1", "10.1.2.3",
         "[::1]", "[fe80::1]", "x.internal"]  # fmt: skip


@pytest.mark.parametrize("no", EXCEPTIONS)
@pytest.mark.parametrize("proxies", SETTINGS, ids=str)
def test_the_library_itself_would_take_the_same_proxy(
    no: str, proxies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name, value in {**proxies, "NO_PROXY": no}.items():
        monkeypatch.setenv(name, value)
    places = itertools.product(("http", "https"), HOSTS, ("", ":8443"))
    with httpx2.Client() as client:
        for scheme, host, port in places:
            url = httpx2.URL(f"{scheme}://{host}{port}/v1")
            ours = proxy_for(url.scheme, url.host, url.port, getproxies())
            assert ours == proxy_of(client, url), url


def proxy_of(client: httpx2.Client, url: httpx2.URL) -> str | None:
    """What a client of the library's own does; it keeps that to itself."""
    pool = client._transport_for_url(url)._pool  # type: ignore[attr-defined]
    proxy = getattr(pool, "_proxy_url", None)
    return None if proxy is None else f"http://{proxy.host.decode()}:{proxy.port}"
