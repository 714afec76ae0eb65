"""instructor: its cache of answers, kept where headgate keeps its own.

It is asked for answers that were checked already: a hit costs neither a call nor a repair. A client
with `http_client=runtime.http_client()` has joining and numbers as well.
"""

from __future__ import annotations

from typing import Any

from headgate.runtime import Runtime
from headgate.shelf import Shelf

try:
    from instructor.cache import BaseCache
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "headgate.integrations.instructor needs instructor: pip install 'headgate[instructor]'"
    ) from error

NAMESPACE = "instructor"


class HeadgateCache(BaseCache):  # type: ignore[misc]
    """`instructor.from_openai(client, cache=HeadgateCache(runtime))`.

    Answers live in the runtime's tiers under `namespace`, as those of a model called "instructor":
    instructor says no more about a call than a digest. `cache_ttl` of a call goes before the time
    to live of the configuration. Usable from any thread.
    """

    def __init__(self, runtime: Runtime, namespace: str = NAMESPACE) -> None:
        self._shelf = Shelf(runtime, namespace)

    def get(self, key: str) -> Any | None:
        """The stored text, or None; may wait for the disk, also in an event loop."""
        return self._shelf.value(self._shelf.key(key, NAMESPACE, None))

    def set(self, key: str, value: Any, ttl: int | None = None) -> None:
        """Keeps a copy for `ttl` seconds; the disk is written to behind it."""
        self._shelf.put(self._shelf.key(key, NAMESPACE, None), NAMESPACE, value, ttl)
