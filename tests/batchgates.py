"""Gateways with durable jobs, for tests: each has a file of jobs of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
from gates import ONE_ATTEMPT, Gate, Got, Upstream, providers_at
from oracle import until

from headgate.config import Config
from headgate.layers.settings import BatchConfig, JobsConfig

CHAT = "/v1/chat/completions"
EDGE = "an-edge"
FORM = {"content-type": f"multipart/form-data; boundary={EDGE}"}
OWN_KEY = "sk-of-the-gateway"


def jobs_file(folder: Path) -> Path:
    return folder / "jobs.db"


def batch_config(
    folder: Path,
    upstream: Upstream | None = None,
    jobs: dict[str, Any] | None = None,
    **more: Any,
) -> Config:
    """Jobs in `folder`, under the settings `jobs`; both dialects of `upstream`, with a key of the
    gateway's own."""
    providers = {} if upstream is None else providers_at(upstream, OWN_KEY)
    settings = {"providers": providers, **ONE_ATTEMPT, **more}
    kept = JobsConfig(path=str(jobs_file(folder)), **(jobs or {}))
    return Config(batch=BatchConfig(jobs=kept), **settings)


@contextmanager
def batch_gate(
    folder: Path,
    upstream: Upstream | None = None,
    jobs: dict[str, Any] | None = None,
    **more: Any,
) -> Iterator[Gate]:
    """A gateway with them."""
    gate = Gate(batch_config(folder, upstream, jobs, **more))
    try:
        yield gate
    finally:
        gate.close()


def asked(text: str = "q", model: str = "m") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def line(name: str, text: str = "", url: str = CHAT, **body: Any) -> dict[str, Any]:
    """One line of an input file; it asks `text`, or its own name."""
    whole = {**asked(text or name), **body}
    return {"custom_id": name, "method": "POST", "url": url, "body": whole}


def jsonl(*lines: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


def lines(count: int, **body: Any) -> bytes:
    """An input file with so many different questions."""
    return jsonl(*(line(f"line-{number}", **body) for number in range(count)))


def requests(count: int) -> list[Any]:
    """As many for a message batch."""
    return [
        {"custom_id": f"r-{number}", "params": {**asked(f"r-{number}"), "max_tokens": 30}}
        for number in range(count)
    ]


def form(content: bytes, purpose: str = "batch", name: str = "in.jsonl") -> bytes:
    """The body of an upload."""
    start = (
        f'--{EDGE}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        f'--{EDGE}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    )
    return start.encode() + content + f"\r\n--{EDGE}--\r\n".encode()


def key(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def upload(gate: Gate, content: bytes, headers: Mapping[str, str], **more: str) -> Got:
    return gate.ask("POST", "/v1/files", form(content, **more), {**FORM, **headers})


def openai_at(gate: Gate, key: str = "a-client", **more: Any) -> openai.OpenAI:
    """The official client, which takes nothing that is not as its types say."""
    settings = {"max_retries": 0, "_strict_response_validation": True, **more}
    return openai.OpenAI(base_url=gate.openai_url, api_key=key, **settings)


def anthropic_at(gate: Gate, key: str = "a-client", **more: Any) -> anthropic.Anthropic:
    settings = {"max_retries": 0, "_strict_response_validation": True, **more}
    return anthropic.Anthropic(base_url=gate.url, api_key=key, **settings)


def ended(client: openai.OpenAI, batch_id: str) -> Any:
    """A batch when it has ended."""
    until(lambda: client.batches.retrieve(batch_id).status in ENDS, "the batch ends")
    return client.batches.retrieve(batch_id)


def ended_messages(client: anthropic.Anthropic, batch_id: str) -> Any:
    """A message batch when it has ended."""
    batches = client.messages.batches
    until(lambda: batches.retrieve(batch_id).processing_status == "ended", "the batch ends")
    return batches.retrieve(batch_id)


ENDS = ("completed", "failed", "expired", "cancelled")


def results(client: openai.OpenAI, file_id: str) -> list[Any]:
    """The lines of a result file."""
    return [json.loads(one) for one in client.files.content(file_id).read().splitlines()]
