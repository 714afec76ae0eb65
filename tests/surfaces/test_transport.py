"""The transport as a client of either library sees it: what passes, what does not, and its life."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from headgate.admission_relay import Address
from headgate.runtime import Runtime
from headgate.surfaces.transport import ADDRESSES_MAX, Sdks
from headgate.surfaces.transport_library import LIBRARIES
from headgate.testing import Answer, FakeProvider

SRC = Path(__file__).parents[2] / "src"
MODULES: dict[str, Any] = {"httpx2": httpx2, "httpx": httpx}
BODY = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime() as one:
        yield one


def chat_url(provider: FakeProvider) -> str:
    return provider.base_url + "/chat/completions"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_second_equal_request_is_answered_by_a_response_of_the_same_library(
    library: str, runtime: Runtime, provider: FakeProvider
) -> None:
    with runtime.http_client(library=library) as client:
        first, second = (client.post(chat_url(provider), json=BODY) for _ in range(2))
    assert isinstance(second, MODULES[library].Response)
    assert first.content == second.content
    assert second.headers["cache-status"].startswith("headgate; hit")
    assert len(provider.calls) == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_async_client_does_as_a_sync_one_does(
    library: str, runtime: Runtime, provider: FakeProvider
) -> None:
    async def ask() -> list[Any]:
        async with runtime.http_client(True, library) as client:
            assert isinstance(client, MODULES[library].AsyncClient)
            assert (await client.get(provider.base_url + "/models")).status_code == 200
            return [await client.post(chat_url(provider), json=BODY) for _ in range(2)]

    first, second = asyncio.run(ask())
    assert first.content == second.content
    assert [call.method for call in provider.calls] == ["GET", "POST"]


def test_one_transport_serves_every_kind_of_client(
    runtime: Runtime, provider: FakeProvider
) -> None:
    transport = runtime.transport()

    async def ask(module: Any) -> Any:
        async with module.AsyncClient(transport=transport) as client:
            return await client.post(chat_url(provider), json=BODY)

    bodies = []
    for module in MODULES.values():
        with module.Client(transport=transport) as client:
            bodies.append(client.post(chat_url(provider), json=BODY).content)
        bodies.append(asyncio.run(ask(module)).content)
    assert len(set(bodies)) == 1
    assert len(provider.calls) == 1


def test_a_body_that_is_made_while_it_is_sent_is_read_once(
    runtime: Runtime, provider: FakeProvider
) -> None:
    content = json.dumps(BODY).encode()

    def pieces() -> Iterator[bytes]:
        yield content[:10]
        yield content[10:]

    headers = {"content-type": "application/json"}
    with runtime.http_client() as client:
        for _ in range(2):
            reply = client.post(chat_url(provider), content=pieces(), headers=headers)
            assert reply.status_code == 200
    (call,) = provider.calls
    assert call.raw == content
    assert call.headers["transfer-encoding"] == "chunked"


def test_what_passes_does_not_touch_the_stack_or_its_loop(provider: FakeProvider) -> None:
    # Runtimes of modules, as N3's names have one, are there for good.
    before = set(threading.enumerate())
    with Runtime() as runtime, runtime.http_client() as client:
        assert client.get(provider.base_url + "/models").status_code == 200
        assert client.post(provider.base_url + "/files", files={"a": b"b"}).status_code == 404
        assert "headgate" not in {thread.name for thread in {*threading.enumerate()} - before}
        client.post(chat_url(provider), json=BODY)
        assert "headgate" in {thread.name for thread in {*threading.enumerate()} - before}


def test_a_sync_client_on_the_home_loop_passes_instead_of_waiting_for_itself(
    runtime: Runtime, provider: FakeProvider
) -> None:
    async def at_home() -> list[Any]:
        with runtime.http_client() as client:
            return [client.post(chat_url(provider), json=BODY) for _ in range(2)]

    replies = runtime.portal.spawn(at_home).result(60)
    assert [reply.status_code for reply in replies] == [200, 200]
    assert not [reply for reply in replies if "cache-status" in reply.headers]
    assert len(provider.calls) == 2


def test_an_async_client_on_the_home_loop_is_a_call_like_any_other(
    runtime: Runtime, provider: FakeProvider
) -> None:
    async def at_home() -> list[Any]:
        async with runtime.http_client(True) as client:
            return [await client.post(chat_url(provider), json=BODY) for _ in range(2)]

    runtime.portal.spawn(at_home).result(60)
    assert len(provider.calls) == 1


def test_closing_a_client_closes_what_passed_and_leaves_the_runtime_open(
    runtime: Runtime, provider: FakeProvider
) -> None:
    client = runtime.http_client()
    client.get(provider.base_url + "/models")
    client.post(chat_url(provider), json=BODY)
    (direct,) = [sender for routes in client._transport._direct.values() for sender in routes]
    assert direct._pool.connections
    client.close()
    client.close()
    assert not direct._pool.connections
    with runtime.http_client() as other:
        assert other.post(chat_url(provider), json=BODY).headers["age"]


def test_connections_to_the_provider_are_shared_and_closed_with_the_runtime(
    provider: FakeProvider,
) -> None:
    with Runtime() as runtime:
        for number in range(3):
            with runtime.http_client() as client:
                client.post(chat_url(provider), json={**BODY, "model": str(number)})
        (sender,) = runtime._sdk_side().side("httpx2").home
        assert len(sender._pool.connections) == 1
    assert not sender._pool.connections


def test_a_transport_is_not_pickled(runtime: Runtime) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(runtime.transport())


FORKED = """
import os, sys, traceback
from headgate import Runtime
client = Runtime().http_client()
child = os.fork()
if not child:
    try:
        client.get(sys.argv[1])
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_client_does_not_survive_a_fork(provider: FakeProvider) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, provider.base_url], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(SRC)}, timeout=60,
    )  # fmt: skip
    assert "made before a fork" in done.stdout, done.stderr
    assert provider.calls == []


def test_a_request_of_another_library_is_refused(runtime: Runtime) -> None:
    with pytest.raises(TypeError, match="a request of httpx2 or httpx"):
        runtime.transport().handle_request(object())


def test_outside_of_asyncio_an_async_request_passes(
    runtime: Runtime, provider: FakeProvider
) -> None:
    request = httpx2.Request("POST", chat_url(provider), json=BODY)
    asking = runtime.transport().handle_async_request(request)
    # The first step reaches the library's own pool, which looks for an event loop in vain.
    with pytest.raises(RuntimeError, match=r"(?i)async"):
        asking.send(None)
    assert runtime.stats()["metrics"]["total_calls"] == 0


def test_addresses_that_are_remembered_are_bounded(runtime: Runtime) -> None:
    sdks = Sdks(runtime)
    addresses = [
        Address("chat", "openai", f"https://{number}.example", "/chat/completions", b"")
        for number in range(ADDRESSES_MAX + 1)
    ]
    made = [sdks.admission(address) for address in addresses]
    assert sdks.admission(addresses[-1]) is made[-1]
    assert sdks.admission(addresses[0]) is not made[0]
    assert len(sdks._admissions) == ADDRESSES_MAX


def test_neither_library_is_loaded_before_it_is_asked_for() -> None:
    program = (
        "import sys, headgate; r = headgate.Runtime(); r.transport();"
        "print([n for n in ('httpx', 'httpx2') if n in sys.modules]); r.http_client();"
        "print([n for n in ('httpx', 'httpx2') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(SRC)}, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["[]", "['httpx2']"], done.stderr


def test_many_threads_ask_through_one_client(runtime: Runtime, provider: FakeProvider) -> None:
    provider.script(*[Answer()] * 3)
    with runtime.http_client() as client:
        failed: list[BaseException] = []

        def ask(number: int) -> None:
            try:
                for turn in range(20):
                    body = {**BODY, "model": str((number + turn) % 3)}
                    assert client.post(chat_url(provider), json=body).status_code == 200
            except AssertionError as error:
                failed.append(error)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert len(provider.calls) == 3
