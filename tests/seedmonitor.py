"""The monitor that the seed document shows, run letter for letter without waiting for anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

MONITORING = '''
# Periodic metrics collection
import logging

async def monitor_llm_performance():
    """Log LLM metrics every 5 minutes."""
    while True:
        await asyncio.sleep(300)  # 5 minutes
        
        stats = _llm_metrics.get_stats()
        
        # Alert on high error rate
        if stats["total_errors"] > stats["total_calls"] * 0.05:
            logging.warning(
                f"High LLM error rate: {stats['total_errors']} / {stats['total_calls']}"
            )
        
        # Alert on low cache hit rate
        if stats["cache_hit_rate"] < 0.30:
            logging.warning(
                f"Low cache hit rate: {stats['cache_hit_rate']:.1%}"
            )
        
        # Log summary
        logging.info(f"LLM Stats: {stats}")
'''  # noqa: W293 - letter for letter


def monitored(metrics: Any, rounds: int, before_round: Callable[[int], None]) -> list[float]:
    """Lets it watch `metrics`, which has `get_stats`, for some rounds; the seconds it slept."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        if len(slept) == rounds:
            raise asyncio.CancelledError
        before_round(len(slept))
        slept.append(seconds)

    names = {"asyncio": SimpleNamespace(sleep=sleep), "logging": logging, "_llm_metrics": metrics}
    exec(MONITORING, names)
    watch: Any = names["monitor_llm_performance"]
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch())
    return slept
