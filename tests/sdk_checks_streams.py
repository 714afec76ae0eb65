"""Checks of streams: replayed event by event, joined, kept at their end and at no other."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
from sdk_bench import (
    MESSAGE,
    QUESTION,
    Bench,
    Check,
    drained,
    entered,
    failure,
    opened,
    settled,
)

from headgate.config import Config
from headgate.layers.settings import CacheConfig
from headgate.runtime import Runtime
from headgate.testing import Answer, Cut, Hang

CHAT: Any = {"model": "m", "messages": QUESTION, "stream": True}
WITH_USAGE: Any = {**CHAT, "stream_options": {"include_usage": True}}
STREAMS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat.completions.create(**CHAT),
    "usage": lambda client: client.chat.completions.create(**WITH_USAGE),
    "choices": lambda client: client.chat.completions.create(**CHAT, n=2),
    "completions": lambda client: client.completions.create(model="m", prompt="Once", stream=True),
    "responses": lambda client: client.responses.create(model="m", input="Hello?", stream=True),
}


def chunk(text: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, **more}
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [choice]}  # fmt: skip
    return b"data: " + json.dumps(event).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
SPOKEN = [chunk("a"), chunk("b", finish_reason="stop"), DONE]


async def events_of(bench: Bench, ask: Callable[[Any], Any], client: Any = None) -> list[Any]:
    """What a stream gives, read to its end."""
    return await drained(await settled(ask(client or bench.openai())))


async def a_stream_is_replayed_event_by_event(bench: Bench) -> None:
    client = bench.openai()
    for number, (name, ask) in enumerate(STREAMS.items(), 1):
        first, second = await events_of(bench, ask, client), await events_of(bench, ask, client)
        assert first == second, name
        assert len(first) > 3
        assert bench.asked == number, name


async def a_stream_of_messages_is_replayed_event_by_event(bench: Bench) -> None:
    client = bench.anthropic()

    def ask(client: Any) -> Any:
        return client.messages.create(**MESSAGE, stream=True)

    first, second = await events_of(bench, ask, client), await events_of(bench, ask, client)
    assert first == second
    assert [event.type for event in first][:2] == ["message_start", "content_block_start"]
    assert bench.asked == 1


async def helpers_give_the_same_final_answer(bench: Bench) -> None:
    client = bench.openai()
    finals = []
    for _ in range(2):
        question = {"model": "m", "messages": QUESTION}
        async with entered(client.chat.completions.stream(**question)) as stream:
            events = [event.type for event in await drained(stream)]
            finals.append((events, await settled(stream.get_final_completion())))
    assert finals[0] == finals[1]
    assert bench.asked == 1
    for _ in range(2):
        async with entered(client.responses.stream(model="m", input="Hello?")) as stream:
            await drained(stream)
            finals.append((await settled(stream.get_final_response())).output_text)
    assert finals[2] == finals[3]
    assert bench.asked == 2


async def anthropics_helper_gives_the_same_final_message(bench: Bench) -> None:
    client = bench.anthropic()
    finals = []
    for _ in range(2):
        async with entered(client.messages.stream(**MESSAGE)) as stream:
            text = "".join(await drained(stream.text_stream))
            finals.append((text, await settled(stream.get_final_message())))
    assert finals[0] == finals[1]
    assert bench.asked == 1


async def raw_and_streaming_responses_see_where_a_stream_came_from(bench: Bench) -> None:
    client = bench.openai()
    raw = client.chat.completions.with_raw_response
    seen = []
    for _ in range(2):
        reply = await settled(raw.create(**CHAT))
        events = await drained(await settled(reply.parse()))
        seen.append((reply.headers["cache-status"][:20], reply.headers["content-type"], events))
    assert [status for status, _, _ in seen] == ["headgate; fwd=miss", "headgate; hit; ttl=3"]
    assert seen[0][1:] == seen[1][1:]
    streaming = client.chat.completions.with_streaming_response
    async with entered(streaming.create(**CHAT)) as reply:
        lines = await drained(reply.iter_lines())
    assert "data: [DONE]" in lines
    assert bench.asked == 1


async def one_entry_serves_both_shapes_where_nothing_is_lost(bench: Bench) -> None:
    client, claude = bench.openai(), bench.anthropic()
    await events_of(bench, STREAMS["usage"], client)
    whole = await settled(client.chat.completions.create(model="m", messages=QUESTION))
    assert whole.usage.total_tokens > 0
    assert bench.asked == 1
    message = await settled(claude.messages.create(**MESSAGE))
    async with entered(claude.messages.stream(**MESSAGE)) as stream:
        final = await settled(stream.get_final_message())
    assert final.content[0].text == message.content[0].text
    assert final.usage.output_tokens == message.usage.output_tokens
    assert bench.asked == 2


async def a_stream_that_tells_no_usage_is_no_whole_answer(bench: Bench) -> None:
    client = bench.openai()
    events = await events_of(bench, STREAMS["chat"], client)
    assert not [event for event in events if not event.choices]
    assert "stream_options" not in bench.provider.calls[0].body
    whole = await settled(client.chat.completions.create(model="m", messages=QUESTION))
    assert whole.usage.total_tokens > 0
    told = await events_of(bench, STREAMS["usage"], client)
    assert told[-1].usage == whole.usage
    assert bench.asked == 2


async def a_stream_is_kept_though_the_sdk_stops_at_its_marker(bench: Bench) -> None:
    first = await events_of(bench, STREAMS["chat"])
    raw = await settled(bench.openai().chat.completions.with_raw_response.create(**CHAT))
    response = raw.http_response
    content = await settled(response.aread() if bench.asynchronous else response.read())
    assert content.endswith(DONE)
    bench.runtime.clear()
    # Everything, the marker included, and then never an end.
    bench.provider.script(Hang(after_bytes=len(content)))
    for _ in range(2):
        assert await events_of(bench, STREAMS["chat"]) == first
    assert bench.asked == 2


async def a_reader_that_leaves_early_lets_the_stream_be_kept(bench: Bench) -> None:
    bench.provider.script(Answer(chunks=SPOKEN, chunk_delay_s=0.02))
    stream = await settled(STREAMS["chat"](bench.openai()))
    await first_of(stream)
    await settled(stream.close())
    while not bench.runtime.stats()["cache"]["size"]:
        await asyncio.sleep(0.01)
    assert len(await events_of(bench, STREAMS["chat"])) == 2
    assert bench.asked == 1


async def a_reader_that_leaves_early_cuts_the_stream_where_that_is_wanted(bench: Bench) -> None:
    async with cutting(bench) as near:
        near.provider.script(*[Hang(after_bytes=1_000)] * 2)
        stream = await settled(STREAMS["chat"](near.openai()))
        await first_of(stream)
        await settled(stream.close())
        await asyncio.to_thread(near.provider.wait_for_abandoned, 1)
        assert near.runtime.stats()["cache"]["size"] == 0


async def a_reply_that_is_dropped_unread_lets_go_of_the_provider(bench: Bench) -> None:
    async with cutting(bench) as near:
        near.provider.script(Hang(after_bytes=1_000))
        stream = await settled(STREAMS["chat"](near.openai()))
        gone = weakref.ref(stream)
        del stream
        gc.collect()
        assert gone() is None
        await asyncio.to_thread(near.provider.wait_for_abandoned, 1)


@asynccontextmanager
async def cutting(bench: Bench) -> AsyncIterator[Bench]:
    """A bench whose runtime does not read on what nobody reads any more."""
    config = Config(cache=CacheConfig(finish_within=0))
    async with Runtime(config) as runtime:
        kind = (bench.library, bench.asynchronous)
        async with opened(*kind, bench.provider, runtime) as near:
            yield near


async def first_of(stream: Any) -> Any:
    return await anext(stream) if hasattr(stream, "__anext__") else next(stream)


async def an_error_event_is_told_and_not_kept(bench: Bench) -> None:
    event = b'data: {"error":{"message":"overloaded","type":"server_error","code":"x"}}\n\n'
    bench.provider.script(*[Answer(chunks=[chunk("a"), event])] * 2)
    for _ in range(2):
        error = await failure(openai.APIError, lambda: events_of(bench, STREAMS["chat"]))
        assert "overloaded" in str(error)
    assert bench.asked == 2


async def a_stream_that_breaks_is_the_sdks_usual_error_and_is_not_kept(bench: Bench) -> None:
    direct = bench.openai(http_client=None)
    for step, hasty in ((Cut(after_bytes=1_000), False), (Hang(after_bytes=1_000), True)):
        bench.provider.script(step, step)
        errors = []
        for client in (direct, bench.openai()):
            client = client.with_options(timeout=1.0) if hasty else client
            errors.append(
                await failure(Exception, lambda c=client: events_of(bench, STREAMS["chat"], c))
            )
        # By name: an SDK may itself be built on the other library.
        assert type(errors[0]).__name__ == type(errors[1]).__name__
        if isinstance(errors[0], openai.OpenAIError):
            assert type(errors[0].__cause__).__name__ == type(errors[1].__cause__).__name__
    assert bench.runtime.stats()["cache"]["size"] == 0
    assert bench.runtime.stats()["metrics"]["errors"] == {"m:stream_broken": 1, "m:timeout": 1}


async def a_stream_without_its_marker_is_no_clean_end(bench: Bench) -> None:
    bench.provider.script(Answer(chunks=SPOKEN[:1]))
    await failure(Exception, lambda: events_of(bench, STREAMS["chat"]))
    assert bench.runtime.stats()["cache"]["size"] == 0


async def ten_equal_streams_at_once_ask_once(bench: Bench) -> None:
    client = bench.openai()
    bench.provider.hold()

    async def ask() -> list[Any]:
        return await drained(await STREAMS["chat"](client))

    def ask_in_thread() -> list[Any]:
        return list(STREAMS["chat"](client))

    asks = [await bench.begun(ask if bench.asynchronous else ask_in_thread) for _ in range(10)]
    await bench.under_way(10)
    bench.provider.release()
    streams = [await one for one in asks]
    assert all(events == streams[0] for events in streams)
    assert bench.asked == 1


async def a_long_stream_arrives_whole_at_a_slow_reader(bench: Bench) -> None:
    many = [chunk(f"{number}-" + "x" * 2000) for number in range(1000)]
    bench.provider.script(Answer(chunks=[*many, *SPOKEN]))
    events = await events_of(bench, STREAMS["chat"])
    assert [event.choices[0].delta.content[:9] for event in events[:1000]] == [
        f"{number}-xxxxxxxxx"[:9] for number in range(1000)
    ]
    assert await events_of(bench, STREAMS["chat"]) == events
    assert bench.asked == 1


async def a_compressed_stream_is_told_and_kept_plain(bench: Bench) -> None:
    packed = gzip.compress(b"".join(SPOKEN))
    pieces = [packed[start : start + 20] for start in range(0, len(packed), 20)]
    headers = {"content-encoding": "gzip"}
    bench.provider.script(Answer(chunks=pieces, headers=headers))
    first, second = [await events_of(bench, STREAMS["chat"]) for _ in range(2)]
    assert [event.choices[0].delta.content for event in first] == ["a", "b"]
    assert first == second
    assert bench.asked == 1


OPENAI: tuple[Check, ...] = (
    a_stream_is_replayed_event_by_event,
    helpers_give_the_same_final_answer,
    raw_and_streaming_responses_see_where_a_stream_came_from,
    a_stream_that_tells_no_usage_is_no_whole_answer,
    a_stream_is_kept_though_the_sdk_stops_at_its_marker,
    a_reader_that_leaves_early_lets_the_stream_be_kept,
    a_reader_that_leaves_early_cuts_the_stream_where_that_is_wanted,
    a_reply_that_is_dropped_unread_lets_go_of_the_provider,
    an_error_event_is_told_and_not_kept,
    a_stream_that_breaks_is_the_sdks_usual_error_and_is_not_kept,
    a_stream_without_its_marker_is_no_clean_end,
    ten_equal_streams_at_once_ask_once,
    a_long_stream_arrives_whole_at_a_slow_reader,
    a_compressed_stream_is_told_and_kept_plain,
)
ANTHROPIC: tuple[Check, ...] = (
    a_stream_of_messages_is_replayed_event_by_event,
    anthropics_helper_gives_the_same_final_message,
    one_entry_serves_both_shapes_where_nothing_is_lost,
)
