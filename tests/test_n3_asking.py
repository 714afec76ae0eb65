"""Asking providers from threads and from event loops that are not the runtime's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from backends import FAST, user
from gates import ONE_ATTEMPT, providers_at

from headgate.backend.dialects import question
from headgate.config import Config
from headgate.errors import Closed, HeadgateError, UpstreamTimeout
from headgate.n3_asking import Asking
from headgate.runtime import Runtime
from headgate.testing import Answer, Cut, FakeProvider, Hang


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def asking(provider: FakeProvider) -> Iterator[Asking]:
    with Runtime(Config(providers=providers_at(provider, "sk-ours"), **ONE_ATTEMPT)) as runtime:
        yield Asking(runtime)


def asked(text: str = "Count", streamed: bool = False) -> Any:
    return question(FAST, user(text), streamed=streamed)


def test_a_thread_and_a_loop_share_answers(asking: Asking, provider: FakeProvider) -> None:
    first = asking.whole(asked())
    again = asyncio.run(asking.awhole(asked()))
    assert (first.cached, again.cached) == (False, True)
    assert first.said.text == again.said.text
    assert len(provider.calls) == 1


def test_equal_questions_of_threads_and_tasks_are_one_call(
    asking: Asking, provider: FakeProvider
) -> None:
    async def many() -> list[Any]:
        works = [asyncio.to_thread(asking.whole, asked()) for _ in range(3)]
        tasks = [asyncio.ensure_future(asking.awhole(asked())) for _ in range(17)]
        gathered = asyncio.gather(*works, *tasks)
        await asyncio.to_thread(provider.wait_for_calls, 1)
        provider.release()
        return list(await gathered)

    provider.hold()
    answers = asyncio.run(many())
    assert len({answer.said.text for answer in answers}) == 1
    assert len(provider.calls) == 1


def test_texts_come_one_by_one_and_are_kept(asking: Asking, provider: FakeProvider) -> None:
    provider.script(Answer(text="one two three"))

    async def listed() -> list[str]:
        return [text async for text in asking.atexts(asked(streamed=True))]

    texts = list(asking.texts(asked(streamed=True)))
    assert "".join(texts) == "".join(asyncio.run(listed())) == "one two three"
    assert len(provider.calls) == 1


def test_a_stream_that_breaks_raises(asking: Asking, provider: FakeProvider) -> None:
    provider.script(Cut(after_bytes=400))
    with pytest.raises(HeadgateError):
        list(asking.texts(asked(streamed=True)))


def test_a_reader_who_stops_lets_go_of_the_stream(asking: Asking, provider: FakeProvider) -> None:
    provider.script(Answer(text="word " * 500))
    texts = asking.texts(asked(streamed=True))
    next(texts)
    texts.close()  # type: ignore[attr-defined]
    assert asking.whole(asked("Another")).cached is False


def test_who_waits_no_longer_gets_an_error(asking: Asking, provider: FakeProvider) -> None:
    provider.hold()
    with pytest.raises(UpstreamTimeout):
        asking.whole(asked(), 0.01)
    provider.release()


def test_who_waits_when_the_runtime_is_closed_hears_so(provider: FakeProvider) -> None:
    runtime = Runtime(Config(providers=providers_at(provider, "sk-ours"), **ONE_ATTEMPT))
    asking, heard = Asking(runtime), []
    provider.hold()

    def wait() -> None:
        try:
            asking.whole(asked())
        except HeadgateError as error:
            heard.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    provider.wait_for_calls(1)
    runtime.close()
    thread.join()
    assert len(heard) == 1
    with pytest.raises(Closed):
        asking.whole(asked())
    provider.release()


def test_a_task_that_is_cancelled_lets_go_of_the_provider(
    asking: Asking, provider: FakeProvider
) -> None:
    async def cancelled() -> None:
        task = asyncio.ensure_future(asking.awhole(asked()))
        await asyncio.to_thread(provider.wait_for_calls, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    provider.script(Hang())
    asyncio.run(cancelled())
    provider.wait_for_abandoned(1)
