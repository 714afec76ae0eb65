"""Chance that can be repeated: numbers that depend on the seed, on which request it is, and on how
many were drawn for it. Requests that run at the same time do not disturb one another. Pure.
"""

from __future__ import annotations

from headgate.core.splitmix import mix, uniform


class Dice:
    """The numbers of one request (or connection): the `index`-th sequence that `seed` names."""

    def __init__(self, seed: int, index: int) -> None:
        self._seed = mix(seed, index)
        self._drawn = 0

    def number(self) -> float:
        """The next one in [0, 1)."""
        self._drawn += 1
        return uniform(self._seed, self._drawn - 1)

    def around(self, middle: float, spread: float) -> float:
        """Evenly between `middle - spread` and `middle + spread`, at least 0."""
        return max(0.0, middle + (2 * self.number() - 1) * spread)

    def strikes(self, probability: float) -> bool:
        """True with that probability; 1 is always."""
        return self.number() < probability

    def bytes(self, count: int) -> bytes:
        """So many bytes."""
        return bytes(int(self.number() * 256) for _ in range(count))
