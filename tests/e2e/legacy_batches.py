"""Runs inside an environment of older SDKs: a batch of each vendor at one gateway, told as JSON.

Usage: python legacy_batches.py GATEWAY_URL. Imports nothing but the SDKs and the standard library.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import anthropic
import openai

QUESTION: Any = [{"role": "user", "content": "Which SDK is this?"}]
WAIT_S = 30.0


def openai_batch(client: openai.OpenAI) -> list[Any]:
    """How it ended, and the answers in its output file."""
    body = {"model": "m", "messages": QUESTION}
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        for name in ("a", "b")
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    until_s = time.monotonic() + WAIT_S
    while batch.status != "completed" and time.monotonic() < until_s:
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    output = client.files.content(batch.output_file_id or "").text
    names = [json.loads(line)["custom_id"] for line in output.splitlines()]
    listed = [one.id == batch.id for one in client.batches.list()]
    return [batch.status, names, listed, client.files.delete(file.id).deleted]


def anthropic_batch(client: anthropic.Anthropic) -> list[Any]:
    """As `openai_batch`."""
    params: Any = {"model": "m", "max_tokens": 50, "messages": QUESTION}
    batches = client.messages.batches
    batch = batches.create(requests=[{"custom_id": name, "params": params} for name in ("a", "b")])
    until_s = time.monotonic() + WAIT_S
    while batch.processing_status != "ended" and time.monotonic() < until_s:
        time.sleep(0.05)
        batch = batches.retrieve(batch.id)
    names = [one.custom_id for one in batches.results(batch.id)]
    listed = [one.id == batch.id for one in batches.list()]
    return [batch.processing_status, names, listed, batches.delete(batch.id).type]


def main(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
    claude = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
    told = {"openai": openai_batch(client), "anthropic": anthropic_batch(claude)}
    print(json.dumps({"versions": [openai.__version__, anthropic.__version__], **told}))


if __name__ == "__main__":
    main(sys.argv[1])
