"""Row 35: requests that two readers could cut differently, headers that carry other headers, hosts
that pose as paths. What is ambiguous is refused and its connection closed; nothing of it, nor of
what hides behind it, reaches the provider or an administrator's route.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress

import pytest
from lab import KEY, Lab, fields_for
from rawclient import CHAT, RawClient

from headgate.testing import Close, Raw

BODY = json.dumps(fields_for(CHAT)).encode()
LENGTH, CHUNKED = f"content-length: {len(BODY)}", "transfer-encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
START = f"POST {CHAT} HTTP/1.1"
LOCAL = "host: localhost"
OPERATIONS = ("/api/metrics/llm", "/api/admin/cache", "/api/admin/clear-cache")


def sent(
    *lines: str, body: bytes = BODY, start: str = START, host: str = "host: x", eol: str = "\r\n"
) -> bytes:
    head = eol.join([start, host, f"authorization: Bearer {KEY}", *lines])
    return head.encode("latin-1") + 2 * eol.encode() + body


INNER = sent(LENGTH)
LENGTHS = {
    name: sent(f"content-length:{value}", body=BODY + INNER)
    for name, value in {
        "negative": " -1", "signed": f" +{len(BODY)}", "hexadecimal": " 0x10", "empty": "",
        "with an underscore": " 1_0", "two words": " 5 5", "a list": f" {len(BODY)}, {len(BODY)}",
        "of thirty digits": " " + "9" * 30, "behind a tab of another kind": f" \x0b{len(BODY)}",
        "before a NUL": f" {len(BODY)}\x00",
    }.items()
}  # fmt: skip
CODINGS = {
    name: sent(f"transfer-encoding{value}", body=CHUNKS + INNER)
    for name, value in {
        "unknown": ": xchunked", "quoted": ': "chunked"', "behind a vertical tab": ": \x0bchunked",
        "chunked not last": ": chunked, identity", "chunked twice": ": chunked, chunked",
        "with a parameter": ": chunked;a=b", "before a space": " : chunked",
        "identity": ": identity", "folded": ":\r\n chunked",
        "in two lines": ": chunked\r\ntransfer-encoding: chunked",
    }.items()
}  # fmt: skip
CHUNKINGS = {
    name: sent(CHUNKED, body=body + INNER)
    for name, body in {
        "no number": b"zz\r\n" + CHUNKS, "negative": b"-1\r\n" + CHUNKS, "signed": b"+" + CHUNKS,
        "hexadecimal": b"0x5\r\nhello\r\n0\r\n\r\n", "behind a space": b" " + CHUNKS,
        "with an underscore": b"1_0\r\n" + BODY, "too large": b"f" * 20 + b"\r\n" + BODY,
        "shorter than its data": b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY) - 1, BODY),
        "ended by line feeds": CHUNKS.replace(b"\r\n", b"\n"),
        "ended by carriage returns": CHUNKS.replace(b"\r\n", b"\r"),
        "a line feed in an extension": CHUNKS.replace(b"\r\n", b";a=\nb\r\n", 1),
        "a length in the trailer": CHUNKS[:-2] + b"content-length: 5\r\n\r\n",
        "a coding in the trailer": CHUNKS[:-2] + b"transfer-encoding: chunked\r\n\r\n",
    }.items()
}  # fmt: skip
LINES = {
    name: sent(LENGTH, line)
    for name, line in {
        "NUL": "x-a: 1\x00", "bare CR": "x-a: 1\rx-b: 2", "bare LF": "x-a: 1\nx-b: 2",
        "control character": "x-a: \x01", "DEL": "x-a: \x7f", "folded": "x-a: 1\r\n 2",
        "no colon": "x-a", "no name": ": x", "space in the name": "x a: 1",
        "space before the colon": "x-a : 1", "NUL in the name": "x\x00a: 1",
        "bracket in the name": "x(a): 1", "umlaut in the name": "x\xe4: 1",
    }.items()
}  # fmt: skip
STARTS = {
    "unknown method": sent(LENGTH, start=f"SMUGGLE {CHAT} HTTP/1.1"),
    "method in lower case": sent(LENGTH, start=f"post {CHAT} HTTP/1.1"),
    "tabs": sent(LENGTH, start=f"POST\t{CHAT}\tHTTP/1.1"),
    "NUL in the target": sent(LENGTH, start=f"POST {CHAT}\x00 HTTP/1.1"),
    "space in the target": sent(LENGTH, start=f"POST {CHAT}?a b HTTP/1.1"),
    "umlaut in the target": sent(LENGTH, start=f"POST {CHAT}?\xe4 HTTP/1.1"),
    "a version of the future": sent(LENGTH, start=f"POST {CHAT} HTTP/1.2"),
    "a version of two digits": sent(LENGTH, start=f"POST {CHAT} HTTP/1.10"),
    "space before it": b" " + sent(LENGTH),
    "line feeds for line ends": sent(LENGTH, eol="\n"),
    "carriage returns for line ends": sent(LENGTH, eol="\r"),
    "CONNECT": b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: 127.0.0.1:1\r\n\r\n" + INNER,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + INNER,
}
BOTH = {
    "length, then coding": sent(LENGTH, CHUNKED, body=CHUNKS + INNER),
    "coding, then length": sent(CHUNKED, LENGTH, body=CHUNKS + INNER),
    "no length, then coding": sent("content-length: 0", CHUNKED, body=CHUNKS + INNER),
    "two lengths": sent("content-length: 0", LENGTH, body=BODY + INNER),
    "two equal lengths": sent(LENGTH, LENGTH, body=BODY + INNER),
}
CORPUS = {
    f"{kind}: {name}": content
    for kind, all_ in {"both": BOTH, "length": LENGTHS, "coding": CODINGS, "chunk": CHUNKINGS,
                       "header": LINES, "start": STARTS}.items()
    for name, content in all_.items()
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """uvicorn says of each of them that it is no request; the oracle wants no line of its own."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    yield
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)


def heard(lab: Lab, content: bytes) -> bytes:
    """All that comes back until the server closes; TimeoutError where it does not."""
    with RawClient(lab.gate.port) as client, suppress(ConnectionError):
        client.send(content)
        client.rest()
    return bytes(client.heard)


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_ambiguous_is_400_and_the_last_of_its_connection(lab: Lab, name: str) -> None:
    said = heard(lab, CORPUS[name])
    assert said.count(b"HTTP/1.") == 1, "nothing behind it is taken for a request"
    assert said.startswith(b"HTTP/1.1 400 ")
    assert (lab.server.calls, lab.server.connections) == ([], [])


def test_it_is_refused_on_a_connection_that_was_good_so_far_as_well(lab: Lab) -> None:
    for content in CORPUS.values():
        with RawClient(lab.gate.port) as client:
            client.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").until(b'"ok"}')
            with suppress(ConnectionError):
                client.send(content).rest()
        assert client.heard.startswith(b"HTTP/1.1 200 ")
        assert client.heard.count(b"HTTP/1.1 ") == client.heard.count(b"HTTP/1.1 400 ") + 1 == 2
    assert (lab.server.calls, lab.server.connections) == ([], [])
    lab.is_healthy()


def test_others_notice_nothing_of_what_is_refused(lab: Lab) -> None:
    with lab.healthy_meanwhile("m"):
        for content in CORPUS.values():
            assert heard(lab, content).startswith(b"HTTP/1.1 400 ")


VERSIONS = {"none": f"POST {CHAT}", "2.0": f"POST {CHAT} HTTP/2.0"}


@pytest.mark.parametrize("name", VERSIONS)
def test_a_version_that_is_not_spoken_is_505(lab: Lab, name: str) -> None:
    for start in (VERSIONS[name], VERSIONS[name].replace(CHAT, "/healthz").replace("POST", "GET")):
        assert heard(lab, sent(LENGTH, start=start)).startswith(b"HTTP/1.1 505 ")
    assert lab.server.calls == []


TWICE = {
    "hosts": ("host: y",),
    "credentials": ("authorization: Bearer sk-other",),
    "a coding that nobody undoes": ("transfer-encoding: gzip, chunked",),
}


@pytest.mark.parametrize("name", TWICE)
def test_two_answers_to_one_question_are_refused(lab: Lab, name: str) -> None:
    framing, body = ((), CHUNKS) if name.startswith("a coding") else ((LENGTH,), BODY)
    said = heard(lab, sent(*TWICE[name], *framing, "connection: close", body=body))
    assert said[9:12] in (b"400", b"415")
    assert lab.server.calls == []


TAKEN = {
    "a coding in capitals": sent("Transfer-Encoding: CHUNKED", body=CHUNKS),
    "an extension of a chunk": sent(CHUNKED, body=CHUNKS.replace(b"\r\n", b";a=b\r\n", 1)),
    "a harmless trailer": sent(CHUNKED, body=CHUNKS[:-2] + b"x-a: 1\r\n\r\n"),
    "zeros before the length": sent(f"content-length: 000{len(BODY)}"),
    "the address of another machine": sent(LENGTH, start=f"POST http://evil.test{CHAT} HTTP/1.1"),
    "another host": sent(LENGTH, host="host: evil.test"),
    "a host that poses as a path": sent(LENGTH, host="host: a/../../v1/models?x="),
    "a length that the next one must not see": sent(LENGTH, "connection: content-length"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_odd_and_clear_reaches_the_provider_once_in_plain_words(
    lab: Lab, name: str
) -> None:
    last = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    said = heard(lab, TAKEN[name] + last)
    assert said.count(b"HTTP/1.1 200 ") == said.count(b"HTTP/1.1 ") == 2
    (call,) = lab.server.calls
    assert (call.method, call.path, call.raw) == ("POST", CHAT, BODY)
    assert call.headers["content-length"] == str(len(BODY))
    assert call.headers["host"] == f"127.0.0.1:{lab.server.port}"
    assert call.credential == lab_alias(lab)
    assert not {"transfer-encoding", "upgrade", "http2-settings", "x-a"} & set(call.headers)


UPGRADE = (
    "connection: upgrade, http2-settings",
    "upgrade: h2c",
    "http2-settings: AAMAAABkAAQAAP__",
)


def test_neither_a_trailer_nor_an_upgrade_brings_another_credential_in(lab: Lab) -> None:
    trailer = CHUNKS[:-2] + b"authorization: Bearer sk-other\r\n\r\n"
    meant = lab_alias(lab)
    for content in (
        sent(CHUNKED, "connection: close", body=trailer),
        sent(CHUNKED, "connection: close", body=CHUNKS[:-2] + b"headgate-namespace: b\r\n\r\n"),
        sent(*UPGRADE, LENGTH, body=BODY.replace(b"France", b"Spain") + INNER),
    ):
        with RawClient(lab.gate.port) as client:
            assert client.send(content).until(b" ") == b"HTTP/1.1 "
            assert client.until(b" ") in (b"200 ", b"400 ")
    assert {call.credential for call in lab.server.calls} == {meant}


def lab_alias(lab: Lab) -> str:
    """The alias of the credential that is meant."""
    lab.ask(about="its alias")
    return lab.server.calls[-1].credential


@pytest.mark.parametrize("query", ["a=%0d%0ax-evil:%201", "a=%00", "a=%20HTTP/1.1%0d%0a%0d%0aGET"])
def test_line_ends_in_a_query_stay_encoded(lab: Lab, query: str) -> None:
    last = ("connection: close", LENGTH)
    said = heard(lab, sent(*last, start=f"POST {CHAT}?{query} HTTP/1.1"))
    assert said.startswith(b"HTTP/1.1 200 ")
    (call,) = lab.server.calls
    assert call.path == f"{CHAT}?{query}"
    assert "x-evil" not in call.headers


@pytest.mark.parametrize("value", ["\xe4\xff", "\xe2\x80\xa8", "a\tb"])
def test_a_value_beyond_ascii_is_sent_as_it_is_or_refused(lab: Lab, value: str) -> None:
    for name in ("openai-beta", "traceparent"):
        said = heard(lab, sent(LENGTH, f"{name}: {value}", "connection: close"))
        assert said[9:12] in (b"200", b"400")
    for call in lab.server.calls:
        assert not {"x-evil", "\xe4\xff"} & set(call.headers)


def test_names_in_a_body_make_no_header(lab: Lab) -> None:
    name = "m\r\nx-evil: 1\r\n\r\n"
    for path in (CHAT, "/v1/messages"):
        for _ in range(2):
            reply = lab.ask(path, model=name)
            assert "x-evil" not in reply.headers
            assert b"\r\nx-evil" not in lab.heard[-1].reply


INJECTED = {
    "NUL": b"x-request-id: a\x00b\r\n",
    "bare CR": b"x-request-id: a\rset-cookie: a=b\r\n",
    "bare LF": b"x-request-id: a\nset-cookie: a=b\r\n",
    "folded": b"x-request-id: a\r\n set-cookie: a=b\r\n",
    "no colon": b"x-request-id\r\n",
    "two lengths": b"content-length: 3\r\ncontent-length: 2\r\n",
    "length and coding": b"content-length: 2\r\ntransfer-encoding: chunked\r\n",
}


@pytest.mark.parametrize("name", INJECTED)
def test_a_head_of_the_provider_makes_no_header_of_ours(lab: Lab, name: str) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + INJECTED[name]
    lab.server.script(Raw(head + b"\r\n2\r\n{}\r\n0\r\n\r\n"), Close(), times=None)
    reply = lab.ask()
    assert reply.status in (200, 502)
    raw = bytes(lab.heard[-1].reply)
    assert not [line for line in raw.split(b"\n") if line.lower().startswith(b"set-cookie")]
    assert b"\x00" not in raw.partition(b"\r\n\r\n")[0]
    assert lab.stored() == 0
    lab.server.drop()
    lab.is_healthy()


HOSTS = (
    "a/?x=", "a/../../", "127.0.0.1:4000/api/admin", "127.0.0.1/", "127.0.0.1?", "127.0.0.1#",
    "evil.test@127.0.0.1:80@evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "x" * 300,
    "evil.test", "evil.test:127", "0.0.0.0", "[::]", "[::1", "::ffff:127.0.0.1", "2130706433",
    "0x7f000001", "127.1", "\\127.0.0.1", "127.0.0.1\\@evil.test", "localhost,evil.test", "",
    "lo\xe7alhost", "%6cocalhost", "localhost%00", "evil.test/localhost", "http://localhost",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_of_a_host_opens_an_administrators_route(lab: Lab, host: str) -> None:
    """From this very machine, whose own pages may ask: a name that is not ours is someone's who
    made it point here."""
    lab.ask()
    for path in OPERATIONS:
        method = "POST" if "clear" in path else "GET"
        for target in (path, f"http://{host or 'x'}{path}".replace(" ", "")):
            start = f"{method} {target.encode('ascii', 'ignore').decode()} HTTP/1.1"
            said = heard(
                lab, sent("connection: close", start=start, host=f"host: {host}", body=b"")
            )
            assert said[9:12] in (b"400", b"401", b"403", b"404"), said
    assert lab.stored() == 1


PATHS = (
    "/api/admin/../admin/cache", "/healthz/../api/admin/cache", "//api/admin/cache",
    "/./api/admin/cache", "/api/admin/cache/", "/api/admin/cache;x", "/API/ADMIN/CACHE",
    "/v1/models/../../api/admin/cache", "/api/admin/cache%00", "/api\\admin\\cache",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_is_a_route(lab: Lab, path: str) -> None:
    said = heard(lab, sent("connection: close", start=f"GET {path} HTTP/1.1", body=b""))
    assert said[9:12] in (b"400", b"404")


@pytest.mark.parametrize("line", ["x-forwarded-for: 127.0.0.1", "forwarded: for=::1", "via: 1 x"])
def test_behind_a_proxy_nobody_is_local(lab: Lab, line: str) -> None:
    for path in OPERATIONS:
        start = f"{'POST' if 'clear' in path else 'GET'} {path} HTTP/1.1"
        said = heard(lab, sent(line, "connection: close", start=start, host=LOCAL, body=b""))
        assert said.startswith(b"HTTP/1.1 401 ")
