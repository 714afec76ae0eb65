"""Every way in which the official SDKs read an answer, synchronous and asynchronous: what a program
gets out of it, as values that can be compared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from core.sdks import joined_completion
from dialects import question, streamed


def request_id(reply: Any) -> str:
    """The provider's own, under the name it has in this dialect."""
    headers = reply.headers
    found: str = headers.get("x-request-id") or headers["request-id"]
    return found


Ways = dict[str, Callable[[Any, str, str], Any]]
"""Name to a function of clients, dialect and question."""
AsyncWays = dict[str, Callable[[Any, str, str], Awaitable[Any]]]


def _iterated(clients: Any, operation: str, text: str) -> Any:
    with clients.resource(operation).create(**streamed(operation, text)) as stream:
        return list(stream)


def _raw(clients: Any, operation: str, text: str) -> Any:
    create = clients.resource(operation).with_raw_response.create
    reply = create(**streamed(operation, text))
    with reply.parse() as stream:
        return list(stream), request_id(reply), reply.headers["content-type"]


def _lines(clients: Any, operation: str, text: str) -> Any:
    create = clients.resource(operation).with_streaming_response.create
    with create(**streamed(operation, text)) as reply:
        return list(reply.iter_lines())


def _built(clients: Any, operation: str, text: str) -> Any:
    """The events of the SDK's own accumulator. It changes what it handed out: hence in words."""
    with clients.resource(operation).stream(**_unstreamed(operation, text)) as stream:
        return [repr(event) for event in stream]


def _unstreamed(operation: str, text: str) -> dict[str, Any]:
    asked = streamed(operation, text)
    del asked["stream"]
    return asked


STREAMED: Ways = {"iterated": _iterated, "raw": _raw, "lines": _lines, "built": _built}


async def _iterated_async(clients: Any, operation: str, text: str) -> Any:
    async with await clients.resource(operation).create(**streamed(operation, text)) as stream:
        return [event async for event in stream]


async def _raw_async(clients: Any, operation: str, text: str) -> Any:
    create = clients.resource(operation).with_raw_response.create
    reply = await create(**streamed(operation, text))
    async with await _parsed(reply) as stream:
        events = [event async for event in stream]
    return events, request_id(reply), reply.headers["content-type"]


async def _parsed(reply: Any) -> Any:
    """One of the SDKs parses without waiting, the other does not."""
    parsed = reply.parse()
    return await parsed if hasattr(parsed, "__await__") else parsed


async def _lines_async(clients: Any, operation: str, text: str) -> Any:
    create = clients.resource(operation).with_streaming_response.create
    async with create(**streamed(operation, text)) as reply:
        return [line async for line in reply.iter_lines()]


async def _built_async(clients: Any, operation: str, text: str) -> Any:
    async with clients.resource(operation).stream(**_unstreamed(operation, text)) as stream:
        return [repr(event) async for event in stream]


STREAMED_ASYNC: AsyncWays = {
    "iterated": _iterated_async, "raw": _raw_async, "lines": _lines_async, "built": _built_async,
}  # fmt: skip


def _created(clients: Any, operation: str, text: str) -> Any:
    return clients.resource(operation).create(**question(operation, text))


def _raw_whole(clients: Any, operation: str, text: str) -> Any:
    reply = clients.resource(operation).with_raw_response.create(**question(operation, text))
    return reply.parse(), reply.http_response.content, request_id(reply)


def _read_whole(clients: Any, operation: str, text: str) -> Any:
    create = clients.resource(operation).with_streaming_response.create
    with create(**question(operation, text)) as reply:
        return reply.read(), reply.parse()


WHOLE: Ways = {"created": _created, "raw whole": _raw_whole, "read whole": _read_whole}


async def _created_async(clients: Any, operation: str, text: str) -> Any:
    return await clients.resource(operation).create(**question(operation, text))


async def _raw_whole_async(clients: Any, operation: str, text: str) -> Any:
    create = clients.resource(operation).with_raw_response.create
    reply = await create(**question(operation, text))
    return await _parsed(reply), reply.http_response.content, request_id(reply)


async def _read_whole_async(clients: Any, operation: str, text: str) -> Any:
    create = clients.resource(operation).with_streaming_response.create
    async with create(**question(operation, text)) as reply:
        return await reply.read(), await reply.parse()


WHOLE_ASYNC: AsyncWays = {
    "created": _created_async, "raw whole": _raw_whole_async, "read whole": _read_whole_async,
}  # fmt: skip


def has(operation: str, way: str) -> bool:
    """Whether the SDK of this dialect can do that."""
    return not (operation == "completions" and way == "built")


def put_together(clients: Any, operation: str, text: str) -> Any:
    """What the SDK makes of a stream in the end: the plain value of a whole answer."""
    if operation == "completions":
        return joined_completion(_iterated(clients, operation, text))
    with clients.resource(operation).stream(**_unstreamed(operation, text)) as stream:
        if operation == "messages":
            return stream.get_final_message().model_dump()
        events = list(stream)
        if operation == "responses":
            return events[-1].response.model_dump()
        return stream.current_completion_snapshot.model_dump()
