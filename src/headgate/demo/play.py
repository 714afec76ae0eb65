"""Runs the demo: a gateway in a process of its own, eight clients with the official OpenAI SDK.

The gateway is started as a user would start it, with a configuration file and a disk tier in a
temporary folder; everything it leaves behind goes with that folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import openai
from msgspec import Struct

from headgate.clock import SystemClock
from headgate.demo.report import Asked
from headgate.errors import HeadgateError

CLIENTS = 8
DRAIN_TIMEOUT = "1s"
"""What still runs when the demo ends was interrupted, and nobody waits for it."""
FAKE_LATENCY = "400ms"
MODEL = "gpt-4o-mini"
TOKENS_MAX = 60
SYSTEM = "You are the help desk of a bank. Answer in one or two sentences."
_STARTED = re.compile(r"headgate serves (http://\S+)")
_STOP_TIMEOUT_S = 20.0


class Played(Struct, frozen=True):
    """What came of a replay."""

    calls: list[Asked]
    elapsed_s: float


class DemoError(HeadgateError):
    """The demo could not be played; the message holds what the gateway or the SDK said."""

    code = "demo_error"


def configuration(api_key: str) -> str:
    """The gateway's TOML file: the real provider if there is a key, else the built-in one. Its
    disk tier stands in the folder it is started in. The key stays out of the file: the client sends
    it, and the gateway hands it on."""
    provider = '[providers.openai]\nkind = "openai"\n'
    if not api_key:
        provider = f'[providers.fake]\nkind = "fake"\nlatency = "{FAKE_LATENCY}"\n'
    elif os.environ.get("OPENAI_BASE_URL"):
        provider += 'base_url = "${OPENAI_BASE_URL}"\n'
    return f'[server]\ndrain_timeout = "{DRAIN_TIMEOUT}"\n\n[cache]\npersist = true\n\n{provider}'


@contextmanager
def gateway(toml: str) -> Iterator[str]:
    """A running `headgate serve` on a free port; yields its URL. Raises DemoError."""
    with tempfile.TemporaryDirectory(prefix="headgate-demo-") as folder:
        file = Path(folder) / "headgate.toml"
        file.write_text(toml, "utf-8")
        # HEADGATE_SERVER_HOST may mean all of the network: the demo is for this machine.
        address = ("--host", "127.0.0.1", "--port", "0")
        command = [sys.executable, "-m", "headgate", "serve", "--config", str(file), *address]
        with subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, cwd=folder, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield _url_of(process)
            finally:
                process.terminate()
                _end(process)


def _url_of(process: subprocess.Popen[str]) -> str:
    said = []
    assert process.stderr is not None  # noqa: S101
    for line in process.stderr:
        if found := _STARTED.search(line):
            # The rest is read too: a full pipe would stop the gateway.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[1]
        said.append(line)
    raise DemoError("the gateway did not start:\n" + "".join(said))


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()


class Clients:
    """`CLIENTS` users of the official SDK, for use in a `with` block around that of their gateway:
    what still runs when Ctrl-C or a failure ends the demo ends with the gateway, so that a slow
    provider does not hold it up."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key or "demo"
        self._pool = ThreadPoolExecutor(CLIENTS)
        # The gateway is on this machine: a proxy that the environment names would not find it.
        self._http = openai.DefaultHttpxClient(trust_env=False)

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def ask_all(self, url: str, texts: Sequence[str], advance: Callable[[], None]) -> Played:
        """Asks the gateway at `url` every question of `texts`, in order; calls `advance` after
        each. Raises DemoError when a call fails."""
        clock = SystemClock()
        client = openai.OpenAI(
            base_url=f"{url}/v1", api_key=self._api_key, max_retries=0, http_client=self._http
        )

        def ask(text: str) -> Asked:
            started_s = clock.monotonic()
            asked = _ask(client, text, lambda: (clock.monotonic() - started_s) * 1000)
            advance()
            return asked

        started_s = clock.monotonic()
        try:
            calls = list(self._pool.map(ask, texts))
        except openai.OpenAIError as error:
            raise DemoError(f"a call failed: {error}") from error
        return Played(calls, clock.monotonic() - started_s)


def _ask(client: openai.OpenAI, text: str, elapsed_ms: Callable[[], float]) -> Asked:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        max_tokens=TOKENS_MAX,
        messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}],
    )
    usage = raw.parse().usage
    tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    return Asked(raw.headers.get("cache-status", ""), elapsed_ms(), *tokens)
