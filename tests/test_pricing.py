"""Prices: the user's own first, then the snapshot, else none."""

from __future__ import annotations

from headgate.config import Config
from headgate.pricing import Prices


def test_a_model_that_nobody_knows_has_no_price() -> None:
    assert Prices(Config()).price("openai", "no-such-model") is None
