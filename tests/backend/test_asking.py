"""One question through the runtime."""

from __future__ import annotations

import asyncio

import pytest
from backends import FAST, user
from gates import providers_at

from headgate.backend.asking import Asker
from headgate.backend.dialects import question
from headgate.config import Config
from headgate.errors import UpstreamGarbled
from headgate.runtime import Runtime
from headgate.testing import Chunk, FakeProvider, FaultServer, Head


def test_a_miss_outside_the_home_loop_is_refused_before_anything_is_sent() -> None:
    with FakeProvider() as provider, Runtime(Config(providers=providers_at(provider))) as runtime:
        with pytest.raises(RuntimeError, match="event loop in which it was opened"):
            asyncio.run(Asker(runtime).ask(question(FAST, user("x")), ()))
        assert provider.calls == []


def test_a_stream_that_nobody_asked_for_is_an_error() -> None:
    async def ask(runtime: Runtime) -> None:
        runtime.adopt(asyncio.get_running_loop())
        try:
            await Asker(runtime).ask(question(FAST, user("x")), ())
        finally:
            await runtime.aclose()

    with FaultServer() as server:
        server.script(Head(), Chunk(b'data: {"choices": []}\n\ndata: [DONE]\n\n'))
        with pytest.raises(UpstreamGarbled):
            asyncio.run(ask(Runtime(Config(providers=providers_at(server)))))


def test_forgetting_removes_what_was_named_and_nothing_else() -> None:
    async def ask(runtime: Runtime) -> list[bool]:
        runtime.adopt(asyncio.get_running_loop())
        asker = Asker(runtime)
        asked = [question(FAST, user(text)) for text in ("a", "b")]
        answers = [await asker.ask(one, ()) for one in asked]
        await asker.forget([answers[0].key, b""])
        cached = [(await asker.ask(one, ())).cached for one in asked]
        await runtime.aclose()
        return cached

    with FakeProvider() as provider:
        assert asyncio.run(ask(Runtime(Config(providers=providers_at(provider))))) == [False, True]
