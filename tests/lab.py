"""The fault laboratory: official SDKs and raw clients, a gateway in a thread, a fault server behind
it, and the oracle over all of it.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anthropic
import billing
import borrowed
import httpx2
import neighbours
import openai
import oracle
import pytest
import uvloop
from billing import Books
from gates import ONE_ATTEMPT, Gate
from oracle import Heard, bounded_memory, until
from rawclient import CHAT, MESSAGES, RawClient, body_of, request
from stores.ledgers import written

from headgate.clock import Clock
from headgate.config import Config, ProviderConfig
from headgate.layers.settings import LedgerConfig
from headgate.testing import FaultServer, tenant_of

KEY = "sk-canary-one"
OTHER_KEY = "sk-canary-two"
CLOSING = (f"authorization: Bearer {KEY}", "connection: close")
"""Headers of a request that is the last on its connection."""
PATHS = (CHAT, MESSAGES, "/v1/responses", "/v1/completions")


def fields_for(path: str, about: object = "France", **more: Any) -> dict[str, Any]:
    """The body of a question to `path`; another one for another country."""
    text = f"Capital of {about}?"
    messages = [{"role": "user", "content": text}]
    asked: dict[str, Any] = {
        CHAT: {"messages": messages},
        MESSAGES: {"messages": messages, "max_tokens": 300},
        "/v1/responses": {"input": text},
        "/v1/completions": {"prompt": text},
        "/v1/embeddings": {"input": text, "dimensions": 4},
    }[path]
    return {"model": "m", **asked, **more}


class Reply:
    """One reply, read to its end."""

    def __init__(self, reply: bytes) -> None:
        head, _, self.rest = reply.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1]) if reply else 0
        pairs = (line.partition(":") for line in lines[1:])
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.is_whole = oracle.is_whole(reply)
        self.body = body_of(reply) if self.is_whole else self.rest

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error in any dialect."""
        return str(self.json["error"]["code"])


class Lab:
    """One gateway in front of one fault server, and everything that clients heard."""

    def __init__(self, server: FaultServer, config: Config, clock: Clock | None = None) -> None:
        self.server = server
        self.ledger_path = Path(config.ledger.path)
        self.gate = Gate(config, clock)
        self.others: list[tuple[dict[str, Any], int]] = []
        """Sums and attempts of gateways that have ended, and wrote into the same ledger."""
        self.servers = [server]
        """All that they ask."""
        self.heard: list[Heard] = []
        self.credentials = {KEY, OTHER_KEY}
        self.memory_growth_max_bytes = 100_000_000
        self._clients: list[Any] = []

    def ask(
        self, path: str = CHAT, *lines: str, key: str = KEY, about: object = "France", **fields: Any
    ) -> Reply:
        """One question on a connection of its own, read to the end; `lines` are headers."""
        asked = fields_for(path, about, **fields)
        with self.raw(key, asked) as client:
            with suppress(ConnectionResetError):
                client.send(asking(path, asked, key, *lines)).rest()
            return Reply(bytes(client.heard))

    def tell(self, path: str, content: bytes, *lines: str, asked: Any = None) -> Reply:
        """A body that is sent as it is; `asked` is what it says, if it says anything."""
        with self.raw(KEY, asked) as client:
            with suppress(ConnectionError):
                client.send(request(path, *CLOSING, *lines, body=content)).rest()
            return Reply(bytes(client.heard))

    @contextmanager
    def raw(self, key: str = KEY, asked: Any = None) -> Iterator[RawClient]:
        """A client that sends what it is told; its reply is judged at the end."""
        with self._noted(Heard(tenant_of(key), asked)) as client:
            yield client

    @contextmanager
    def _noted(self, heard: Heard) -> Iterator[RawClient]:
        self.heard.append(heard)
        with RawClient(self.gate.port) as client:
            try:
                yield client
            finally:
                heard.reply += client.heard

    @contextmanager
    def leaving(
        self, path: str = CHAT, *lines: str, key: str = KEY, about: object = "France", **fields: Any
    ) -> Iterator[RawClient]:
        """A client that has asked and does not stay to the end."""
        asked = fields_for(path, about, **fields)
        heard = Heard(tenant_of(key), asked)
        heard.has_left = True
        with self._noted(heard) as client:
            yield client.send(asking(path, asked, key, *lines))

    def openai(self, key: str = KEY, **more: Any) -> openai.OpenAI:
        """The official client at the gateway; closed at the end."""
        settings = {"base_url": self.gate.openai_url, "api_key": key, "max_retries": 0, **more}
        settings.setdefault("http_client", self._listening(key))
        self._clients.append(openai.OpenAI(**settings))
        return self._clients[-1]

    def anthropic(self, key: str = KEY, **more: Any) -> anthropic.Anthropic:
        """The official client at the gateway; closed at the end."""
        settings = {"base_url": self.gate.url, "api_key": key, "max_retries": 0, **more}
        settings.setdefault("http_client", self._listening(key))
        self._clients.append(anthropic.Anthropic(**settings))
        return self._clients[-1]

    def is_healthy(self) -> None:
        """The gateway serves as if nothing had happened."""
        self.server.clear()
        for path in (CHAT, MESSAGES, "/v1/embeddings"):
            fresh = self.ask(path, about=f"after {len(self.heard)}")
            assert (fresh.status, fresh.is_whole) == (200, True)

    def healthy_meanwhile(
        self, model: str = neighbours.BESIDE
    ) -> AbstractContextManager[Callable[[], None]]:
        """Point 8 over a block that begins a fault and lets it go on; see `neighbours`. `model` is
        that of the healthy provider of a laboratory that was opened with one, or another one that
        the fault is not about."""
        return neighbours.healthy_meanwhile(self.gate, model)

    @contextmanager
    def another_gate(self, config: Config) -> Iterator[Gate]:
        """Another gateway in front of the same provider; it stands in for the usual one."""
        usual, self.gate = self.gate, Gate(furnished(config, self.ledger_path))
        try:
            yield self.gate
            borrowed.everything_is_back(self.gate)
            runtime = self.gate.runtime
            self.others.append((billing.settled(runtime), billing.attempts_of(runtime)))
        finally:
            self.gate.close()
            self.gate = usual

    def close_clients(self) -> None:
        for client in self._clients:
            client.close()

    def stored(self) -> int:
        """How many entries the cache has."""
        return int(self.gate.stats()["cache"]["size"])

    def _listening(self, key: str) -> httpx2.Client:
        return httpx2.Client(transport=_Listening(tenant_of(key), self.heard))


def is_refused(reply: Reply, path: str, status: int) -> None:
    """The reply is a refusal of the caller's request, in the dialect of its route."""
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    error = reply.json["error"]
    assert 0 < len(error["message"]) < 1000
    assert "Traceback" not in error["message"]
    if path.startswith(MESSAGES):
        assert reply.json["type"] == "error"
        assert error["type"] in ("invalid_request_error", "request_too_large", "not_found_error")
    else:
        assert error["type"] == "invalid_request_error"
        assert set(error) == {"message", "type", "param", "code"}


def asking(path: str, asked: Any, key: str = KEY, *lines: str) -> bytes:
    """A request with a credential, after which the connection is closed."""
    sent = (f"authorization: Bearer {key}", "connection: close", *lines)
    return request(path, *sent, body=json.dumps(asked).encode())


class _Listening(httpx2.HTTPTransport):
    """The SDK's own transport; what passes is written down, without HTTP's framing."""

    def __init__(self, tenant: str, heard: list[Heard]) -> None:
        super().__init__()
        self._tenant = tenant
        self._heard = heard

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        heard = Heard(self._tenant, json.loads(request.read() or b"null"))
        # Until it has read to the end, which an SDK may not want to.
        heard.has_left = True
        self._heard.append(heard)
        response = super().handle_request(request)
        kind = response.headers.get("content-type", "")
        head = f"HTTP/1.1 {response.status_code} .\r\ncontent-type: {kind}\r\n\r\n"
        heard.reply += head.encode()
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Noted(response.stream, heard)
        return response


class _Noted(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, heard: Heard) -> None:
        self._stream = stream
        self._heard = heard

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            self._heard.reply += piece
            yield piece
        self._heard.has_left = False

    def close(self) -> None:
        self._stream.close()


def config_for(server: FaultServer, blocks: dict[str, Any] = ONE_ATTEMPT, **more: Any) -> Config:
    """Both dialects of `server`; `more` are settings of both providers."""
    kinds = {"openai": server.base_url, "anthropic": server.anthropic_base_url}
    return Config(
        providers={
            kind: ProviderConfig(kind=kind, base_url=url, **more)  # type: ignore[arg-type]
            for kind, url in kinds.items()
        },
        **blocks,
    )


def furnished(config: Config, path: Path) -> Config:
    """The configuration with a ledger in a file; its own, where it has one."""
    kept = config.ledger if config.ledger.persist else LedgerConfig(persist=True, path=str(path))
    return replace(config, ledger=kept)


@contextmanager
def laboratory(
    caplog: pytest.LogCaptureFixture,
    configure: Callable[[FaultServer], Config],
    tls: ssl.SSLContext | None = None,
    clock: Clock | None = None,
    *,
    beside: bool = False,
) -> Iterator[Lab]:
    """A laboratory, judged by the oracle when it is left in peace; `beside`: with a healthy
    provider, too."""
    # With the first loop of a process libuv opens a pipe for signals, and keeps it.
    uvloop.new_event_loop().close()
    files = oracle.open_files()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory()))
        server = opened.enter_context(FaultServer(tls=tls))
        config = furnished(configure(server), folder / "ledger.db")
        healthy = [opened.enter_context(FaultServer())] if beside else []
        for other in healthy:
            config = neighbours.with_neighbour(config, other)
        lab = Lab(server, config, clock)
        lab.servers += healthy
        gate = lab.gate
        try:
            until(lambda: gate.get("/readyz").status == 200, "the gateway starts")
            tasks = len(gate.tasks())
            with bounded_memory(lambda: lab.memory_growth_max_bytes):
                yield lab
            lab.close_clients()
            until(lambda: len(gate.tasks()) <= tasks, f"still running: {gate.tasks()}")
            judge(lab, caplog.get_records("call"))
        finally:
            lab.close_clients()
            gate.close()
            for each in lab.servers:
                each.drop()
        # Every connection of the gateway was let go, pooled ones too.
    oracle.files_are_closed(files)


def judge(lab: Lab, records: list[logging.LogRecord]) -> None:
    """The oracle over everything that was heard and written down."""
    for server in lab.servers:
        oracle.answered_upstream(server)
    borrowed.everything_is_back(lab.gate)
    calls = {call.serial: call for call in lab.server.calls}
    for heard in lab.heard:
        oracle.one_outcome(heard)
        oracle.no_foreign_bytes(heard, calls)
    billed(lab)
    oracle.only_verified_entries(lab.gate.runtime, calls)
    oracle.attempts_within_budget(lab.heard, calls.values())
    oracle.nothing_was_logged(records)
    told = [record.getMessage() for record in records]
    replies = [bytes(heard.reply).decode("latin-1") for heard in lab.heard]
    oracle.no_credential([*told, *replies], lab.credentials)


def billed(lab: Lab) -> None:
    """Point 2, over every gateway of the laboratory."""
    runtime = lab.gate.runtime
    every = [*lab.others, (billing.settled(runtime), billing.attempts_of(runtime))]
    books = Books(written(lab.ledger_path), [cost for cost, _ in every])
    serials = billing.answers_in(lab.heard)
    answered = [call for call in lab.server.calls if call.serial in serials]
    calls = [call for server in lab.servers for call in server.calls]
    billing.ledger_is_the_bill(books, calls, answered, sum(made for _, made in every))
