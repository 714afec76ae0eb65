"""Embeddings that go upstream together, to a provider that fails: every answer is that of its
input, every token is booked once, and what is booked is what the provider bills.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from effort import FULL
from gates import Gate, Got
from oracle import until
from stores.ledgers import written

from headgate.config import Config, ProviderConfig
from headgate.core.booking import ABANDONED, ANSWER, AVOIDED, BILLED, OVERHEAD, count
from headgate.layers.settings import (
    BatchConfig,
    BreakerConfig,
    LedgerConfig,
    LimitsConfig,
    RetryConfig,
)
from headgate.providers.fake import fake_reply
from headgate.stores.base import Booked
from headgate.testing import Chunk, CutAt, End, FaultServer, Head, ResetPeer, Status

SEEDS = 12 if FULL else 3
CALLS = 150
EMBEDDINGS = "/v1/embeddings"
QUICK = RetryConfig(backoff=0.01, backoff_max=0.02, budget_floor=1000)
TEXTS = [f"text number {number}" for number in range(60)]
STEPS: tuple[tuple[Any, ...], ...] = (
    (), (), (), (), (Status(500),), (Status(429),), (Status(400),), (Status(413),), (CutAt(40),),
    (CutAt(200, by="rst"),), (ResetPeer(),),
)  # fmt: skip


def vector_of(text: str) -> Any:
    body = json.dumps({"model": "m", "input": text, "dimensions": 4}).encode()
    answer = json.loads(fake_reply("embeddings", body).content)
    return answer["data"][0]["embedding"]


VECTORS = {text: vector_of(text) for text in TEXTS}


@contextmanager
def gate_to(server: FaultServer, path: Path) -> Iterator[Gate]:
    gate = Gate(
        Config(
            providers={"p": ProviderConfig(base_url=server.base_url)},
            ledger=LedgerConfig(persist=True, path=str(path)),
            retry=QUICK,
            breaker=BreakerConfig(enabled=False),
            batch=BatchConfig(delay_max=0.02),
            limits=LimitsConfig(concurrency_max=2, loop_lag_max=60.0),
        )
    )
    try:
        yield gate
    finally:
        gate.close()


def answered(given: Any, got: Got) -> bool:
    """Whether it was; if so, every vector belongs to its input."""
    if got.status != 200:
        assert got.json["error"]["message"]
        return False
    listed = [given] if isinstance(given, str) else given
    assert [item["index"] for item in got.json["data"]] == list(range(len(listed)))
    assert [item["embedding"] for item in got.json["data"]] == [VECTORS[text] for text in listed]
    return True


def booked_in(gate: Gate, path: Path) -> list[Booked]:
    ledger = gate.runtime.ledger
    ledger.settle()
    assert ledger.journal is not None
    assert ledger.journal.flush()
    return written(path)


def tokens(rows: list[Booked], kinds: frozenset[str]) -> int:
    return sum(count(booked.row.tokens) for booked in rows if booked.row.kind in kinds)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_a_provider_does_answers_and_books_are_right(seed: int, tmp_path: Path) -> None:
    dice, path = random.Random(seed), tmp_path / "ledger.db"
    with FaultServer() as server, gate_to(server, path) as gate:
        for _ in range(CALLS):
            server.script(*dice.choice(STEPS))

        def ask(given: Any) -> bool:
            headers = {"authorization": "Bearer sk-" + ("one" if len(given) % 3 else "two")}
            body = {"model": "p/m", "input": given, "dimensions": 4}
            return answered(given, gate.post(EMBEDDINGS, body, headers))

        many = [dice.random() < 0.3 for _ in range(CALLS)]
        given = [dice.choices(TEXTS, k=dice.randrange(1, 9)) if is_list else dice.choice(TEXTS)
                 for is_list in many]  # fmt: skip
        with ThreadPoolExecutor(24) as pool:
            was_answered = list(pool.map(ask, given))
        until(
            lambda: not gate.runtime.guards or all(call.ended for call in server.calls), "all end"
        )
        assert any(was_answered)
        rows, cost = booked_in(gate, path), gate.stats()["cost"]
    calls = server.calls
    assert len(calls) < 2 * CALLS
    exact = [row for row in rows if not row.row.is_estimated]
    whole = sum(call.tokens_in for call in calls if call.ended == "complete")
    estimated = [row for row in rows if row.row.is_estimated]
    # Where one input of a list has failed nobody waits for the others: their request may have been
    # answered to its end, and is booked as an estimate.
    given_up = any(row.row.kind == ABANDONED for row in estimated)
    assert tokens(exact, BILLED) <= whole
    assert given_up or tokens(exact, BILLED) == whole, "to the token"
    cut = [call for call in calls if call.tokens_in and call.ended != "complete"]
    assert all(count(row.row.tokens) for row in estimated), "never as nothing"
    assert len(estimated) >= len(cut)
    assert tokens(rows, BILLED) == cost["billed_tokens"]
    served = tokens(rows, AVOIDED | {ANSWER})
    assert cost["served_tokens"] == served
    assert served + tokens(rows, OVERHEAD) == tokens(rows, BILLED) + tokens(rows, AVOIDED)


def test_a_good_day_is_billed_to_the_token_and_asks_for_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with FaultServer() as server, gate_to(server, path) as gate:
        lists: list[Any] = [*TEXTS, TEXTS[:20], TEXTS[10:30], TEXTS[::-1]]
        with ThreadPoolExecutor(24) as pool:
            got = list(pool.map(lambda given: gate.post(
                EMBEDDINGS, {"model": "p/m", "input": given, "dimensions": 4}), lists))  # fmt: skip
        assert all(answered(given, one) for given, one in zip(lists, got, strict=True))
        rows = booked_in(gate, path)
        asked = [call.body["input"] for call in server.calls]
        flat = [text for one in asked for text in ([one] if isinstance(one, str) else one)]
        assert sorted(flat) == sorted(TEXTS)
        bill = server.bill()
    assert (
        tokens(rows, BILLED)
        == bill.tokens_in
        == sum(json.loads(one.body)["usage"]["total_tokens"] for one in got) - tokens(rows, AVOIDED)
    )
    assert bill.requests < len(TEXTS)
    assert not tokens(rows, OVERHEAD)


def test_a_stream_in_place_of_vectors_holds_no_place(tmp_path: Path) -> None:
    streamed = (Head(), Chunk(b'data: {"x":1}\n\n'), Chunk(b"data: [DONE]\n\n"), End())
    with FaultServer() as server, gate_to(server, tmp_path / "ledger.db") as gate:

        def ask(*given: str) -> Got:
            body = {"model": "p/m", "input": given, "dimensions": 4}
            return gate.post(EMBEDDINGS, body, {"authorization": "Bearer sk-one"})

        assert answered(TEXTS[:1], ask(TEXTS[0]))
        for _ in range(4):
            server.script(*streamed)
            assert ask(TEXTS[1], TEXTS[2]).status == 502, "all of it is asked for"
            server.script(*streamed)
            assert ask(TEXTS[0], TEXTS[2]).status == 502, "one of it is"
        # There are two places.
        assert answered(TEXTS[:3], ask(*TEXTS[:3]))
