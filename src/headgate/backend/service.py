"""The backend: what its routes call. Every call goes through the whole engine; what comes back is
ready to be sent by any web framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from headgate.backend.asking import Answer, Asker, Stream
from headgate.backend.chaining import Walk
from headgate.backend.declared import Chain, Llm, Prompt
from headgate.backend.dialects import Message, question
from headgate.backend.served import (
    Events,
    Served,
    error_event,
    refused,
    streamed,
    texts,
    whole,
)
from headgate.backend.typing_answers import Output, Typed
from headgate.core.sse import spell
from headgate.errors import HeadgateError
from headgate.runtime import Runtime
from headgate.surfaces.operations import Operations
from headgate.surfaces.readiness import Readiness

RawHeaders = Sequence[tuple[bytes, bytes]]


class Backend:
    """Answers for the routes of one app. `async with` it in the event loop that serves: it adopts
    that loop for `runtime`, and closes the runtime at the end.

    `headers` are those of the request, as ASGI gives them: `Accept: text/event-stream` asks for a
    stream, `Cache-Control` and `headgate-*` mean what they mean to the gateway.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._readiness = Readiness()
        self._operations = Operations(runtime, self._readiness)
        self._asker = Asker(runtime)
        self._typed = Typed(self._asker)

    async def __aenter__(self) -> Backend:
        self.runtime.adopt(asyncio.get_running_loop())
        self._readiness.has_started = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runtime.aclose()

    async def llm(self, llm: Llm, messages: Sequence[Message], headers: RawHeaders) -> Served:
        """The model's answer to `messages`; a single text is `[{"role": "user", ...}]`."""
        try:
            if wants_stream(headers):
                asked = question(llm, messages, streamed=True)
                return self._flowing(await self._asker.stream(asked, headers))
            answer = await self._asker.ask(question(llm, messages), headers)
            return whole(_document(_output(answer)), answer.headers)
        except HeadgateError as error:
            return refused(error)

    async def prompt(
        self, prompt: Prompt, arguments: Mapping[str, Any], headers: RawHeaders
    ) -> Served:
        """The answer to a prompt; 502 where it does not match what the prompt declares."""
        try:
            messages = [{"role": "user", "content": prompt.template.filled(arguments)}]
            if prompt.output is None:
                return await self.llm(prompt.llm, messages, headers)
            output, told = await self._typed.ask(prompt, messages, headers)
        except HeadgateError as error:
            return refused(error)
        if wants_stream(headers):
            return streamed(Events(_at_once(output), None), told)
        return whole(_document(output), told)

    async def chain(self, chain: Chain, given: Mapping[str, Any], headers: RawHeaders) -> Served:
        """The output of the last step, and those of all. `given` holds the input under the chain's
        `input_key`, and what else its steps take."""
        walk = Walk(self._asker, self._typed, [*headers])
        steps = walk.through(chain, given)
        try:
            first = await anext(steps)
            if wants_stream(headers):
                return streamed(Events(_step_by_step(first, steps), steps.aclose))
            taken = [first, *[step async for step in steps]]
        except HeadgateError as error:
            return refused(error)
        return whole(_chain_document(taken))

    async def operate(self, scope: dict[str, Any], body: bytes = b"") -> Served:
        """What is no call: `/healthz`, `/metrics`, `/api/metrics/llm`, `/api/admin/clear-cache` and
        the other operations of the gateway, by the path and method of an ASGI `scope`."""
        try:
            answer = await self._operations.answer(scope, body)
        except HeadgateError as error:
            return refused(error)
        return Served(answer.status, answer.body, texts(answer.headers))

    def _flowing(self, stream: Stream) -> Served:
        return streamed(Events(_as_it_comes(stream), stream.aclose), stream.headers)


def wants_stream(headers: RawHeaders) -> bool:
    """Whether a request asks for server-sent events."""
    for name, value in headers:
        if name == b"accept" and b"text/event-stream" in value.lower():
            return True
    return False


def _output(answer: Answer) -> Output:
    return Output(msgspec.json.encode(answer.said.text), answer.said, answer.cached)


def _document(output: Output) -> dict[str, Any]:
    """`output` is JSON already: what was checked is what is sent."""
    usage = output.said.usage
    return {
        "output": msgspec.Raw(output.content),
        "model": output.said.model,
        "usage": {
            "prompt_tokens": usage.tokens_in,
            "completion_tokens": usage.tokens_out,
            "total_tokens": usage.tokens,
        },
        "cached": output.cached,
    }


def _chain_document(taken: list[Output]) -> dict[str, Any]:
    steps = [{"name": output.step, **_document(output)} for output in taken]
    last = _document(taken[-1])
    counts = [step["usage"] for step in steps]
    last["usage"] = {name: sum(count[name] for count in counts) for name in counts[0]}
    return {**last, "cached": all(output.cached for output in taken), "steps": steps}


async def _as_it_comes(stream: Stream) -> AsyncGenerator[bytes, None]:
    """A `{"delta": text}` for each text, then an event `done` with the whole document."""
    try:
        async for text in stream.texts():
            yield spell(msgspec.json.encode({"delta": text}))
        yield _done(_document(_output(stream.answer())))
    except HeadgateError as error:
        yield error_event(error)


async def _at_once(output: Output) -> AsyncGenerator[bytes, None]:
    """An answer that had to be whole before it could be checked."""
    yield spell(msgspec.json.encode({"delta": output.content.decode()}))
    yield _done(_document(output))


async def _step_by_step(
    first: Output, steps: AsyncGenerator[Output, None]
) -> AsyncGenerator[bytes, None]:
    """An event `step` for each, then an event `done` with the whole document."""
    taken = [first]
    yield _step(first)
    try:
        async for output in steps:
            taken.append(output)
            yield _step(output)
        yield _done(_chain_document(taken))
    except HeadgateError as error:
        yield error_event(error)


def _step(output: Output) -> bytes:
    return spell(msgspec.json.encode({"name": output.step, **_document(output)}), b"step")


def _done(document: dict[str, Any]) -> bytes:
    return spell(msgspec.json.encode(document), b"done")
