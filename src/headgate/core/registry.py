"""One value for each key, and never more than so many: breakers and gates by what they guard. Pure.

When it is full, the value that nobody has used for longest goes, if nothing is lost with it. If all
are in use, further keys share one. Not thread-safe: the caller holds a lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, ItemsView
from typing import Generic, TypeVar

SIZE_MAX = 4_096
_LOOKED_AT_MAX = 16

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Registry(Generic[K, T]):
    """Values made on first use, at most `size_max` (>= 1) and the shared one.

    `make(key, now_s)` makes one, `key` None stands for the shared one; `is_idle(value, now_s)` says
    whether one may be forgotten.
    """

    def __init__(
        self,
        make: Callable[[K | None, float], T],
        is_idle: Callable[[T, float], bool],
        size_max: int = SIZE_MAX,
    ) -> None:
        self._make = make
        self._is_idle = is_idle
        self._size_max = size_max
        self._values: OrderedDict[K, T] = OrderedDict()
        self.shared: T | None = None
        """What keys share for which there was no place."""
        self.evictions = 0
        self.overflows = 0

    def get(self, key: K, now_s: float) -> T:
        """The value of `key`. At most `_LOOKED_AT_MAX` values are asked whether they are idle."""
        value = self._values.get(key)
        if value is not None:
            # Never out of it, not even for a moment: others may look.
            self._values.move_to_end(key)
            return value
        if len(self._values) >= self._size_max and not self._evict(now_s):
            return self._share(now_s)
        value = self._values[key] = self._make(key, now_s)
        return value

    def adopt(self, before: Registry[K, T], keeps: Callable[[K], bool]) -> list[T]:
        """Takes over what `before` holds under keys that `keeps` approves, and returns it. It may
        be in use meanwhile, by another thread: what is added to it later is not taken over."""
        kept = {key: value for key, value in before._snapshot() if keeps(key)}
        self._values |= kept
        return list(kept.values())

    def _snapshot(self) -> list[tuple[K, T]]:
        while True:
            try:
                return list(self._values.items())
            except RuntimeError:
                # Something was added while we looked.
                continue

    def items(self) -> ItemsView[K, T]:
        """Keys and values, the least recently used first; without the shared one."""
        return self._values.items()

    def __len__(self) -> int:
        return len(self._values)

    def _evict(self, now_s: float) -> bool:
        """Forgets the least recently used of the idle ones; those in use get a second chance, so
        that the next search begins behind them."""
        for _ in range(min(_LOOKED_AT_MAX, len(self._values))):
            key = next(iter(self._values))
            if self._is_idle(self._values[key], now_s):
                del self._values[key]
                self.evictions += 1
                return True
            self._values.move_to_end(key)
        return False

    def _share(self, now_s: float) -> T:
        self.overflows += 1
        if self.shared is None:
            self.shared = self._make(None, now_s)
        return self.shared
