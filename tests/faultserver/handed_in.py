"""Batches as the official SDKs hand them in and look at them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai

from headgate.testing import FaultServer

ENDPOINT = "/v1/chat/completions"


def body(about: object, **more: Any) -> dict[str, Any]:
    """A question about something."""
    messages = [{"role": "user", "content": f"Capital of {about}?"}]
    return {"model": "m", "messages": messages, **more}


def lines(count: int, endpoint: str = ENDPOINT, model: str = "m") -> bytes:
    """An input file with ids `c0`, `c1`, …"""
    asked = (
        {"custom_id": f"c{n}", "method": "POST", "url": endpoint, "body": body(n, model=model)}
        for n in range(count)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in asked)


def requests(count: int) -> list[Any]:
    """The same for Anthropic."""
    return [{"custom_id": f"c{n}", "params": body(n, max_tokens=300)} for n in range(count)]


@contextmanager
def openai_client(server: FaultServer, key: str = "sk-one") -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=0) as client:
        yield client


@contextmanager
def anthropic_client(server: FaultServer, key: str = "sk-one") -> Iterator[anthropic.Anthropic]:
    url = server.anthropic_base_url
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as client:
        yield client


def created(client: openai.OpenAI, content: bytes, **more: Any) -> Any:
    """A batch of this file."""
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", **more
    )


def ended(client: openai.OpenAI, batch: Any, looks: int = 10) -> Any:
    """The batch as it has ended. Raises AssertionError if it has not after so many looks."""
    for _ in range(looks):
        batch = client.batches.retrieve(batch.id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
    raise AssertionError(batch)


def rows(client: openai.OpenAI, file_id: str | None) -> list[Any]:
    """Lines of a result file; none where there is no file."""
    if file_id is None:
        return []
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def ids(results: list[Any]) -> list[str]:
    """Of result lines."""
    return [row["custom_id"] for row in results]
