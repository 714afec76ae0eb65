"""A provider of embeddings that takes 20 ms for a request and 1 ms for each input, as many at once
as `--at-once` says (0: as many as come), as a model on a device does; `--instant`: no time at all.
`GET /` tells how many requests there were, and how many inputs in them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from typing import Any

import uvicorn
from bare import Receive, Send, body_of, reply

VECTOR = "[" + ",".join(f"-0.0{number:06d}" for number in range(256)) + "]"
_JSON = [(b"content-type", b"application/json")]


class Embedder:
    """The application."""

    def __init__(self, at_once: int, instant: bool) -> None:
        self._turns: Any = asyncio.Semaphore(at_once) if at_once else contextlib.nullcontext()
        self._instant = instant
        self._requests = self._inputs = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await body_of(receive)
        if scope["method"] == "GET":
            counted = {"requests": self._requests, "inputs": self._inputs}
            await reply(send, json.dumps(counted).encode(), _JSON)
            return
        given = json.loads(body)["input"]
        count = 1 if isinstance(given, str) else len(given)
        self._requests += 1
        self._inputs += count
        if not self._instant:
            async with self._turns:
                await asyncio.sleep(0.020 + 0.001 * count)
        data = ",".join(
            f'{{"object":"embedding","index":{at},"embedding":{VECTOR}}}' for at in range(count)
        )
        usage = f'{{"prompt_tokens":{8 * count},"total_tokens":{8 * count}}}'
        whole = f'{{"object":"list","data":[{data}],"model":"m","usage":{usage}}}'
        await reply(send, whole.encode(), _JSON)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int)
    arguments.add_argument("--at-once", type=int, default=0)
    arguments.add_argument("--instant", action="store_true")
    chosen = arguments.parse_args()
    uvicorn.run(
        Embedder(chosen.at_once, chosen.instant), port=chosen.port, http="httptools",
        loop="uvloop", ws="none", lifespan="off", log_level="error", access_log=False,
        server_header=False, proxy_headers=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
