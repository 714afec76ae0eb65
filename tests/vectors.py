"""Embeddings calls in virtual time: the layers above a target as they are built, over an upstream
whose answers come when and how the test says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from limiting import LoopClock
from msgspec.structs import replace
from virtualtime import run

from headgate.admission import Admission
from headgate.admission_head import read_head
from headgate.config import Config, ProviderConfig
from headgate.core.booking import Attempt
from headgate.core.outcome import GOOD, OUTCOMES
from headgate.layers.fill import Fill
from headgate.layers.settings import BatchConfig
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.pipeline import batched, front, limiting, limits, observed, stack
from headgate.pricing import Prices
from headgate.spending import reported_usage
from headgate.stores.memory import MemoryStore
from headgate.stores.tiers import Tiers
from headgate.stream import Whole
from headgate.types import EVERYTHING, Call, Entry, Provenance, Reply, Secret, WireRequest

ALICE, BOB = "alice", "bob"
_JSON = ((b"content-type", b"application/json"),)


def vector_of(item: Any) -> list[int]:
    """What belongs to one input and to no other."""
    return [len(item), *json.dumps(item).encode()[:8].ljust(8)]


def tokens_in(item: Any) -> int:
    """What the upstream counts for it."""
    return len(item) if isinstance(item, list) else 1 + len(item) // 3


def answer_to(body: bytes) -> dict[str, Any]:
    """What an upstream says that does as it should."""
    fields = json.loads(body)
    given = fields["input"]
    listed = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    tokens = sum(map(tokens_in, listed))
    data = [{"object": "embedding", "index": at, "embedding": vector_of(item)}
            for at, item in enumerate(listed)]  # fmt: skip
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": fields["model"], "usage": usage}


class Upstream:
    """Takes `took_s` and 1 ms for each input; `spoil` may change what it says to some inputs, or
    raise: a dictionary is a reply, a number a status."""

    def __init__(self, took_s: float = 0.02) -> None:
        self.took_s = took_s
        self.asked: list[list[Any]] = []
        self.calls: list[Call] = []
        self.billed = self.most_inside = self._inside = 0
        self.cancelled = 0
        self.spoil: Callable[[list[Any], dict[str, Any]], Any] = lambda _, answer: answer

    async def __call__(self, call: Call) -> Reply:
        assert isinstance(call.request, WireRequest)
        answer = answer_to(call.request.body)
        given = json.loads(call.request.body)["input"]
        listed = [given] if isinstance(given, str) or isinstance(given[0], int) else given
        self.asked.append(listed)
        self.calls.append(call)
        self._inside += 1
        self.most_inside = max(self.most_inside, self._inside)
        try:
            await asyncio.sleep(self.took_s + 0.001 * len(answer["data"]))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._inside -= 1
        return self._reply(call, self.spoil(listed, answer))

    def _reply(self, call: Call, said: Any) -> Reply:
        status = said if isinstance(said, int) else 200
        content = json.dumps({"error": {"message": "no"}} if status != 200 else said).encode()
        origin = Provenance(attempts=1, target=call.target.name)
        reply = Reply(status, _JSON, Whole(content), provenance=origin)
        usage = reported_usage(reply)
        self.billed += usage.tokens
        outcome = GOOD if status == 200 else OUTCOMES["bad_request"]
        if call.account is not None:
            call.account.tried(Attempt(call.target.name, outcome, usage))
        return replace(reply, usage=usage)


class Scene:
    """The layers above a target over one upstream; `keyed`: it has a credential of its own. One per
    event loop."""

    def __init__(
        self, upstream: Upstream, blocks: Any = None, *, keyed: bool = True, **batch: Any
    ) -> None:
        self.upstream = upstream
        self.clock = LoopClock()
        providers = {"p": ProviderConfig(api_key=Secret("sk-ours") if keyed else Secret(""))}
        self.config = Config(providers=providers, batch=BatchConfig(**batch), **(blocks or {}))
        self.metrics = Metrics()
        self.tiers = Tiers(MemoryStore(10_000), None, self.clock)
        self.ledger = Ledger(Prices(self.config), self.clock)
        fill = Fill(self.tiers, self.clock, self.metrics)
        seen = observed(self.metrics, self.ledger, self.clock)
        throttled = limits(limiting(self.config, self.clock), self.clock).throttle
        above = front(self.config.cache, self.tiers, fill, self.clock, seen, throttled)
        layers = batched(above, self.config, self.tiers, self.metrics, self.clock)
        self.service = stack(layers, upstream)
        self.admission = Admission(self.config)

    def call(self, given: Any, who: str = ALICE, *lines: tuple[bytes, bytes], **more: Any) -> Call:
        """An embeddings call as the gateway makes it."""
        body = json.dumps({"model": "p/m", "input": given, **more}).encode()
        head = read_head([(b"authorization", f"Bearer {who}".encode()), *lines])
        plan = self.admission.plan("embeddings", head, body)
        return self.admission.call("/embeddings", head, body, plan)

    async def reply(self, call: Call) -> Reply:
        return await self.service(call)

    async def ask(self, given: Any, who: str = ALICE, *lines: Any, **more: Any) -> list[Any]:
        """The vectors that come back."""
        return vectors_in(await self.service(self.call(given, who, *lines, **more)))

    def begin(self, given: Any, who: str = ALICE, **more: Any) -> asyncio.Task[list[Any]]:
        return asyncio.ensure_future(self.ask(given, who, **more))

    def entries(self) -> list[Entry]:
        return self.tiers.memory.list(EVERYTHING, now_s=0.0, limit=10_000)

    def cost(self) -> dict[str, Any]:
        return self.ledger.numbers()

    def adds_up(self) -> None:
        """What is booked is what the upstream has counted; what was served was billed or spared."""
        cost = self.cost()
        assert cost["billed_tokens"] == self.upstream.billed
        served, overhead = cost["served_tokens"], cost["overhead_tokens"]
        assert served + overhead == cost["billed_tokens"] + cost["avoided_tokens"]


def content_of(reply: Reply) -> Any:
    assert isinstance(reply.body, Whole)
    return json.loads(reply.body.content)


def vectors_in(reply: Reply) -> list[Any]:
    """In the order of the list, which is that of the index."""
    content = content_of(reply)
    assert reply.status == 200, content
    assert [item["index"] for item in content["data"]] == list(range(len(content["data"])))
    return [item["embedding"] for item in content["data"]]


def vectors_of(given: Sequence[Any]) -> list[Any]:
    return [vector_of(item) for item in given]


NO_STORE = (b"cache-control", b"no-store")
NO_CACHE = (b"cache-control", b"no-cache")
ONLY_CACHED = (b"cache-control", b"only-if-cached")

Act = Callable[[Scene], Awaitable[None]]


def play(act: Act, upstream: Upstream | None = None, **settings: Any) -> Scene:
    """The scene after `act`, in virtual time."""

    async def scene() -> Scene:
        made = Scene(upstream or Upstream(), **settings)
        await act(made)
        # Whoever is still under way, for nobody, comes to an end.
        await asyncio.sleep(10)
        return made

    return run(scene())[0]


async def together(scene: Scene, *given: Any, **more: Any) -> list[list[Any]]:
    return list(await asyncio.gather(*(scene.begin(item, **more) for item in given)))
