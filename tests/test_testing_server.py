"""The loopback server below the fake provider: HTTP on the wire, cuts, silence, leaving clients."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from headgate.testing_server import Journal, LoopbackServer, Plan, Recorded

JSON = (b"content-type", b"application/json")
WHOLE = Plan(headers=(JSON,), pieces=(b'{"a":', b"1}"))
STREAM = Plan(headers=((b"content-type", b"text/event-stream"),), pieces=(b"one", b"", b"three"),
              streamed=True)  # fmt: skip
GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n"


class Wire:
    """A server, what it was asked, and plain sockets to ask it with."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.requests: Journal[Recorded] = Journal()
        self.left: Journal[None] = Journal()
        self.server = LoopbackServer(self._plan_for, lambda: self.left.add(None))

    def _plan_for(self, request: Recorded) -> Plan:
        self.requests.add(request)
        return self.plans.pop(0) if self.plans else WHOLE

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=60)

    def ask(self, sent: bytes) -> bytes:
        """Everything the server says until it closes the connection."""
        with self.connect() as connection:
            connection.sendall(sent)
            return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    said = b""
    while piece := connection.recv(65_536):
        said += piece
    return said


def read(connection: socket.socket, count: int) -> bytes:
    said = b""
    while len(said) < count:
        said += connection.recv(count - len(said))
    return said


@pytest.fixture
def wire() -> Iterator[Wire]:
    running = Wire()
    yield running
    running.server.close()


def post(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /p HTTP/1.1", b"Host: x", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_a_whole_answer_has_its_length_declared(wire: Wire) -> None:
    assert wire.ask(LAST) == HEAD + b'{"a":1}'


def test_a_stream_is_one_chunk_per_piece_and_ends_with_an_empty_one(wire: Wire) -> None:
    wire.plans = [STREAM]
    head, _, body = wire.ask(LAST).partition(b"\r\n\r\n")
    assert head.endswith(b"transfer-encoding: chunked")
    assert body == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"


def test_a_status_that_has_no_phrase_is_sent_all_the_same(wire: Wire) -> None:
    wire.plans = [Plan(529), Plan(404)]
    assert wire.ask(LAST).startswith(b"HTTP/1.1 529 Unknown\r\n")
    assert wire.ask(LAST).startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_a_request_is_recorded_as_it_arrived(wire: Wire) -> None:
    wire.ask(post(b'{"b":[1]}', b"X-Name:  Value ", b"Content-Length: 9"))
    (request,) = wire.requests.items()
    assert (request.method, request.path, request.raw) == ("POST", "/p", b'{"b":[1]}')
    assert request.body == {"b": [1]}
    assert request.headers["x-name"] == "Value"


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_is_recorded_as_bytes(wire: Wire, raw: bytes) -> None:
    wire.ask(post(raw, b"Content-Length: %d" % len(raw)))
    (request,) = wire.requests.items()
    assert (request.body, request.raw) == (None, raw)


def test_a_chunked_request_body_is_put_together(wire: Wire) -> None:
    body = b'5;ext=1\r\n{"b":\r\n3\r\n[1]\r\n1\r\n}\r\n0\r\n\r\n'
    assert wire.ask(post(body, b"Transfer-Encoding: chunked")).endswith(b'{"a":1}')
    assert wire.requests.items()[0].body == {"b": [1]}


def test_a_client_that_waits_for_permission_to_send_gets_it(wire: Wire) -> None:
    with wire.connect() as connection:
        connection.sendall(post(b"", b"Content-Length: 2", b"Expect: 100-continue"))
        assert read(connection, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert rest_of(connection).endswith(b'{"a":1}')


def test_one_connection_carries_many_requests(wire: Wire) -> None:
    with wire.connect() as connection:
        for _ in range(3):
            connection.sendall(GET)
            assert read(connection, len(HEAD) + 7) == HEAD + b'{"a":1}'
    assert [request.path for request in wire.requests.items()] == ["/a?b=c"] * 3
    assert wire.left.items() == []


def test_no_piece_waits_for_an_acknowledgement_of_the_one_before(wire: Wire) -> None:
    with wire.connect() as connection:
        connection.sendall(GET)
        read(connection, len(HEAD) + 7)
        with other_end_of(connection) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def other_end_of(connection: socket.socket) -> socket.socket:
    """The server's socket of a connection within this process."""
    for number in map(int, os.listdir("/dev/fd")):
        if not is_socket(number):
            continue
        found = socket.socket(fileno=os.dup(number))
        if found.family == socket.AF_INET and is_peer(found, connection):
            return found
        found.close()
    raise AssertionError("the connection ends elsewhere")


def is_socket(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False  # the listing's own, closed by now


def is_peer(one: socket.socket, other: socket.socket) -> bool:
    try:
        return one.getpeername() == other.getsockname()
    except OSError:
        return False


def test_requests_sent_before_the_answer_are_answered_in_order(wire: Wire) -> None:
    wire.plans = [Plan(201), Plan(202), Plan(203)]
    wire.server.hold()
    with wire.connect() as connection:
        connection.sendall(GET + GET + LAST)
        wire.requests.wait_for(1, 10, "requests")
        wire.server.release()
        said = rest_of(connection)
    places = [said.index(b"HTTP/1.1 20%d" % number) for number in (1, 2, 3)]
    assert places == sorted(places)
    assert [request.method for request in wire.requests.items()] == ["GET"] * 3


NOT_HTTP = [
    b"hello\r\n\r\n",
    b"\r\n\r\n",
    b"GET /\r\n\r\n",
    b"POST /p HTTP/1.1\r\nContent-Length: many\r\n\r\n",
    b"POST /p HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /p HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("sent", NOT_HTTP, ids=lambda sent: repr(sent[:40]))
def test_what_is_no_http_closes_the_connection_and_nothing_else(wire: Wire, sent: bytes) -> None:
    with wire.connect() as connection:
        connection.sendall(sent)
        assert silence_of(connection)
    assert wire.requests.items() == []
    assert wire.ask(LAST).endswith(b'{"a":1}')


def silence_of(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, gently or not, without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_request_that_breaks_off_is_not_recorded(wire: Wire) -> None:
    with wire.connect() as connection:
        connection.sendall(b"POST /p HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        connection.shutdown(socket.SHUT_WR)
        assert silence_of(connection)
    assert wire.requests.items() == []


CUTS: list[tuple[Plan, int | None, bytes]] = [
    (WHOLE, None, b""),
    (WHOLE, 0, HEAD),
    (WHOLE, 6, HEAD + b'{"a":1'),
    (STREAM, 4, b"3\r\none\r\n1\r\nt\r\n"),
]


@pytest.mark.parametrize(("plan", "after", "said"), CUTS)
def test_a_cut_closes_the_connection_at_the_very_byte(
    wire: Wire, plan: Plan, after: int | None, said: bytes
) -> None:
    wire.plans = [stopping(plan, "cut", after)]
    answer = wire.ask(GET)
    assert answer.endswith(said)
    assert bool(answer) == bool(said)
    assert wire.left.items() == []


@pytest.mark.parametrize(("plan", "after", "said"), CUTS)
def test_after_a_hang_nothing_comes_until_the_client_leaves(
    wire: Wire, plan: Plan, after: int | None, said: bytes
) -> None:
    wire.plans = [stopping(plan, "hang", after)]
    with wire.connect() as connection:
        connection.sendall(GET)
        wire.requests.wait_for(1, 10, "requests")
        answer = b""
        while not answer.endswith(said):
            answer += connection.recv(65_536)
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
    wire.left.wait_for(1, 10, "clients")


def stopping(plan: Plan, stops: str, after: int | None) -> Plan:
    return Plan(plan.status, plan.headers, plan.pieces, plan.streamed, 0.0, 0.0, stops, after)


def test_a_client_that_leaves_before_its_answer_is_noticed(wire: Wire) -> None:
    wire.server.hold()
    with wire.connect() as connection:
        connection.sendall(GET)
        wire.requests.wait_for(1, 10, "requests")
    wire.left.wait_for(1, 10, "clients")
    wire.server.release()
    assert wire.ask(LAST).endswith(b'{"a":1}')


def test_held_answers_go_out_on_release(wire: Wire) -> None:
    wire.server.hold()
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(wire.ask, LAST) for _ in range(3)]
        wire.requests.wait_for(3, 10, "requests")
        assert not any(answer.done() for answer in asked)
        wire.server.release()
        assert all(answer.result().endswith(b'{"a":1}') for answer in asked)


def test_close_cuts_what_is_under_way_frees_the_port_and_ends_the_thread() -> None:
    before = set(threading.enumerate())
    wire = Wire()
    (thread,) = [one for one in {*threading.enumerate()} - before if one.name == "headgate-fake"]
    wire.server.hold()
    with wire.connect() as connection:
        connection.sendall(GET)
        wire.requests.wait_for(1, 10, "requests")
        wire.server.close()
        assert silence_of(connection)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        wire.connect()
    assert wire.left.items() == []
    wire.server.close()


def test_a_journal_keeps_the_order_and_hands_out_lists_of_their_own() -> None:
    journal: Journal[int] = Journal()
    journal.add(1)
    journal.items().append(5)
    journal.add(2)
    assert journal.items() == [1, 2]
    assert journal.wait_for(2, 0, "numbers") == [1, 2]


def test_a_journal_wakes_those_who_wait_and_says_what_did_not_come() -> None:
    journal: Journal[int] = Journal()
    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(journal.wait_for, 2, 10, "numbers") for _ in range(2)]
        journal.add(1)
        journal.add(2)
        assert [done.result() for done in waiting] == [[1, 2]] * 2
    with pytest.raises(TimeoutError, match=r"^2 of 3 numbers in 0\.01 s$"):
        journal.wait_for(3, 0.01, "numbers")
