"""Prices of models: the user's own first, then the snapshot of genai-prices, else none."""

from __future__ import annotations

from headgate.config import Config
from headgate.core.money import Price


class Prices:
    """What each model costs. None is "unpriced": counted and shown, never free."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def price(
        self, provider: str, model: str, tier: str = "", *, batch: bool = False
    ) -> Price | None:
        """The price of a model in the tier that the reply named, None where nobody knows it."""
        return None
