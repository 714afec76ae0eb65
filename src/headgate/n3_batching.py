"""N3's batcher: the same calls, and nobody waits for company.

A chat request holds one prompt, so what N3 called a batch were single requests all along, with the
parameters of the first. Here each prompt is asked at once, as the call it is; what were under way
together is counted as a batch. Equal ones are one call of the engine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from headgate.batching import bounded
from headgate.errors import Closed

Ask = Callable[[Any, str, "Mapping[str, Any] | None", float], Any]
"""Prompt, model, parameters and seconds to the answer."""
TIMEOUT_S = 30.0


class Batcher:
    """Asks through `ask`. `max_batch_size` is how many prompts of one list are asked at a time;
    `batch_timeout_ms` is taken as N3 has it: there is nothing to wait for. Safe from any thread."""

    def __init__(self, ask: Ask, max_batch_size: int = 10, batch_timeout_ms: float = 50.0) -> None:
        self.max_batch_size = max_batch_size
        self.batch_timeout_ms = batch_timeout_ms
        self._ask = ask
        self._lock = threading.Lock()
        self._is_shut = False
        self._running = self._size = 0
        self._requests = self._batches = self._largest = 0

    def add_request(
        self,
        prompt: Any,
        model: str,
        params: Mapping[str, Any] | None,
        timeout: float = TIMEOUT_S,
    ) -> Any:
        """The answer to this prompt with these parameters, within `timeout` seconds. Raises what
        the call raises, UpstreamTimeout when it takes too long, and Closed after `shutdown`."""
        self._begin()
        try:
            return self._ask(prompt, model, params, timeout)
        finally:
            self._end()

    async def batch_execute(
        self, prompts: Sequence[Any], model: str, params: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The answers to `prompts`, in their order; at most `max_batch_size` are asked at a time.
        Raises what the first that fails raises; the rest is not asked then."""
        most = max(1, self.max_batch_size)
        loop, threads = asyncio.get_running_loop(), ThreadPoolExecutor(most, "headgate-batch")

        def ask(prompt: Any) -> asyncio.Future[Any]:
            run = copy_context().run
            return loop.run_in_executor(threads, run, self.add_request, prompt, model, params)

        try:
            return await bounded(prompts, ask, most, return_exceptions=False)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def get_stats(self) -> dict[str, Any]:
        """`requests_batched`, `batches_processed`, `avg_batch_size`, `max_batch_size` (the largest
        so far)."""
        with self._lock:
            ended = self._requests - self._size
            return {
                "batches_processed": self._batches,
                "requests_batched": self._requests,
                "avg_batch_size": ended / self._batches if self._batches else 0,
                "max_batch_size": self._largest,
            }

    def shutdown(self) -> None:
        """Takes no more requests; those under way get their answers."""
        with self._lock:
            self._is_shut = True

    def _begin(self) -> None:
        with self._lock:
            if self._is_shut:
                raise Closed("the batcher was shut down")
            self._running += 1
            self._size += 1
            self._requests += 1

    def _end(self) -> None:
        with self._lock:
            self._running -= 1
            if not self._running:
                self._batches += 1
                self._largest = max(self._largest, self._size)
                self._size = 0
