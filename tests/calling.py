"""A runtime whose calls are looked at: questions to it, and what its log says of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from msgspec.structs import replace

from headgate.calllog import CallRecord
from headgate.calllog_causes import Cause, Causes
from headgate.calllog_shown import described
from headgate.clock import Clock
from headgate.config import Config, ProviderConfig
from headgate.core.client import Client
from headgate.errors import HeadgateError
from headgate.runtime import Runtime

FAKE = {"fake": ProviderConfig(kind="fake")}
KEY = "sk-canary-key"


class Asker:
    """Asks one runtime as the gateway does, each question to its end, on a loop of its own."""

    def __init__(self, clock: Clock | None = None, **blocks: Any) -> None:
        self.runtime = Runtime(Config(**{"providers": FAKE, **blocks}), clock=clock)
        self._runner = asyncio.Runner()
        self.runtime.portal.adopt(self._runner.get_loop())

    def close(self) -> None:
        self._runner.run(self.runtime.aclose())
        self._runner.close()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, *headers: tuple[str, str], key: str = KEY, client: Client | None = None, **fields: Any
    ) -> CallRecord:
        """One chat, and the record of it; that of a `client` comes without its key."""
        before = {record.name for record in self.runtime.calls.records()}
        asked = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}], **fields}
        sent = [(b"authorization", b"Bearer " + key.encode())] if key and not client else []
        sent += [(name.encode(), value.encode()) for name, value in headers]
        self._runner.run(self._ask(sent, json.dumps(asked).encode(), client))
        (record,) = [one for one in self.runtime.calls.records() if one.name not in before]
        return record

    async def _ask(
        self, headers: list[tuple[bytes, bytes]], body: bytes, client: Client | None
    ) -> None:
        runtime = self.runtime
        head = replace(runtime.admission.head(headers), client=client)
        plan, entry = runtime.find("chat", head, body, b"")
        if entry is None:
            try:
                reply = await runtime.forward("/chat/completions", head, body, plan)
            except HeadgateError:
                return
            async for _ in reply.body:
                pass
            await reply.body.aclose()

    def why(self, record: CallRecord) -> Cause:
        return Causes(self.runtime.calls.entered()).of(record)

    def shown(self, record: CallRecord) -> dict[str, Any]:
        return described(record, self.runtime.calls)
