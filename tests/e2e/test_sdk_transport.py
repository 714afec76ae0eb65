"""The SDK transport in three environments: A, the SDKs of today, which are built on httpx2; B,
those of the generation before, on httpx; C, both libraries in one process. The checks themselves
are `tests/sdk_checks_*.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
import sdk_checks
from sdk_bench import QUESTION, Bench, Check, failure

from headgate.config import Config
from headgate.layers.settings import CacheConfig
from headgate.runtime import Runtime
from headgate.testing import Cut, FakeProvider

ROOT = Path(__file__).parents[2]
KINDS = ("sync", "async")
IN_C = [check for checks in sdk_checks.OPENAI.values() for check in checks]


def run_group(python: str, library: str, group: str, kind: str, *more: str) -> dict[str, Any]:
    """What tests/sdk_script.py tells, run by `python` on this source tree."""
    command = [python, str(ROOT / "tests" / "sdk_script.py"), library, group, kind, *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    failed = {name: trace for name, trace in told["results"].items() if trace}
    assert not failed, "\n".join(f"{name}\n{trace}" for name, trace in failed.items())
    return told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", sdk_checks.GROUPS)
def test_every_check_holds_with_the_sdks_of_today_and_without_httpx(group: str, kind: str) -> None:
    told = run_group(sys.executable, "httpx2", group, kind, "--without", "httpx")
    assert [version.split(".")[0] for version in told["versions"]] == ["3", "2"]
    assert told["loaded"] == ["httpx2"]
    assert len(told["results"]) == len(sdk_checks.GROUPS[group])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", sdk_checks.GROUPS)
def test_every_check_holds_with_the_sdks_before_and_without_httpx2(
    legacy_python: str, group: str, kind: str
) -> None:
    # It is there, for the price list's package: as if it were not.
    told = run_group(legacy_python, "httpx", group, kind, "--without", "httpx2")
    assert [version.split(".")[0] for version in told["versions"]] == ["2", "0"]
    assert told["loaded"] == ["httpx"]
    assert len(told["results"]) == len(sdk_checks.GROUPS[group])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", IN_C, ids=lambda check: check.__name__)
def test_every_check_of_openai_3_holds_with_the_older_library(check: Check, kind: str) -> None:
    sdk_checks.run_check(check, "httpx", kind == "async")


def chat(library: str, runtime: Runtime, provider: FakeProvider, **more: Any) -> Any:
    """One answer through a sync client of that library."""
    with openai.OpenAI(
        base_url=provider.base_url, api_key="k", max_retries=0,
        http_client=runtime.http_client(library=library),
    ) as client:  # fmt: skip
        return client.chat.completions.create(**{"model": "m", "messages": QUESTION, **more})


def test_the_two_libraries_share_entries(provider: FakeProvider) -> None:
    with Runtime() as runtime:
        answers = [chat(library, runtime, provider) for library in ("httpx2", "httpx", "httpx2")]
    assert answers[0] == answers[1] == answers[2]
    assert len(provider.calls) == 1


def test_who_joins_a_call_of_the_other_library_gets_errors_of_its_own(
    provider: FakeProvider,
) -> None:
    async def ask() -> list[Any]:
        async with Runtime() as runtime:
            benches = [Bench(name, True, provider, runtime) for name in ("httpx2", "httpx")]
            clients = [bench.openai() for bench in benches]
            provider.hold()
            asks = [
                asyncio.ensure_future(failure(openai.APIConnectionError, lambda c=c: call(c)))
                for c in clients
            ]
            await benches[0].under_way(2)
            provider.release()
            errors = [await one for one in asks]
            for bench in benches:
                await bench.close()
            return errors

    def call(client: Any) -> Any:
        return client.chat.completions.create(model="m", messages=QUESTION)

    provider.script(Cut(), Cut())
    causes = [error.__cause__ for error in asyncio.run(ask())]
    assert [type(cause) for cause in causes] == [
        httpx2.RemoteProtocolError, httpx.RemoteProtocolError,
    ]  # fmt: skip
    assert len(provider.calls) == 2, "who joined has one attempt more"


def test_an_entry_on_disk_answers_the_next_process(provider: FakeProvider, tmp_path: Path) -> None:
    config = Config(cache=CacheConfig(persist=True, persist_path=str(tmp_path / "cache.db")))
    answers = []
    for _ in range(2):
        with Runtime(config) as runtime:
            answers.append(chat("httpx2", runtime, provider))
    assert answers[0] == answers[1]
    assert len(provider.calls) == 1


def test_one_transport_serves_the_sdks_own_default_clients(provider: FakeProvider) -> None:
    with Runtime() as runtime:
        transport = runtime.transport()
        shared = {"api_key": "k", "max_retries": 0}
        with (
            openai.OpenAI(
                http_client=openai.DefaultHttpxClient(transport=transport),
                base_url=provider.base_url, **shared,
            ) as gpt,
            anthropic.Anthropic(
                http_client=anthropic.DefaultHttpxClient(transport=transport),
                base_url=provider.anthropic_base_url, **shared,
            ) as claude,
            httpx.Client(transport=transport) as plain,
        ):  # fmt: skip
            for _ in range(2):
                gpt.chat.completions.create(model="m", messages=QUESTION)
                claude.messages.create(model="m", max_tokens=9, messages=QUESTION)
            body = {"model": "m", "messages": QUESTION}
            headers = {"authorization": "Bearer k"}
            url = provider.base_url + "/chat/completions"
            reply = plain.post(url, json=body, headers=headers)
    assert reply.headers["cache-status"].startswith("headgate; hit")
    assert len(provider.calls) == 2
