"""The ledger against the bill of the fault server: what was counted agrees to the token, whatever
was done to the calls; where they differ, a row says that it is an estimate. Nothing is booked
twice: not by retries, not by hedges, not by those who join, not by those who leave.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from effort import FULL
from lab import KEY, OTHER_KEY, PATHS, Lab, config_for
from oracle import until
from rawclient import CHAT
from several import several
from stores.ledgers import written

from headgate.config import Config
from headgate.core.booking import (
    ABANDONED,
    ANSWER,
    AT_RISK,
    AVOIDED,
    AVOIDED_EXACT,
    AVOIDED_FOLLOWER,
    BILLED,
    count,
)
from headgate.layers.settings import BreakerConfig, LedgerConfig, RetryConfig
from headgate.stores.base import Booked
from headgate.testing import CutAt, FaultServer, Pause, ResetPeer, Status, Usual
from headgate.types import Secret

SEEDS = 20 if FULL else 3
QUESTIONS = 30
QUICK = RetryConfig(backoff=0.01, backoff_max=0.02, budget_floor=1000)
STEPS: Sequence[tuple[Any, ...]] = (
    (), (), (), (Status(500),), (Status(429),), (Status(400),), (CutAt(0),), (CutAt(40),),
    (CutAt(120, by="rst"),), (ResetPeer(),),
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def kept(
    path: Path, configure: Callable[..., Config] = config_for, retry: RetryConfig = QUICK
) -> Callable[[FaultServer], Config]:
    """A configuration with a ledger in a file."""
    blocks = {"ledger": LedgerConfig(persist=True, path=str(path)),
              "breaker": BreakerConfig(enabled=False)}  # fmt: skip
    if configure is several:
        return lambda server: several(server, retry=retry, blocks=blocks, api_key=Secret(KEY))
    return lambda server: config_for(server, {**blocks, "retry": retry})


def rows_of(lab: Lab, path: Path) -> list[Booked]:
    """What is in the file, when every call has ended. The sums in memory are the same."""
    until(lambda: not _under_way(lab), "every call ends")
    ledger = lab.gate.runtime.ledger
    ledger.settle()
    assert ledger.journal is not None
    assert ledger.journal.flush()
    rows = written(path)
    numbers = lab.gate.stats()["cost"]
    for name, kinds in (("billed_tokens", BILLED), ("avoided_tokens", AVOIDED)):
        assert numbers[name] == tokens(rows, kinds)
    assert numbers["served_tokens"] == tokens(rows, AVOIDED | {ANSWER})
    return rows


def tokens(rows: Sequence[Booked], kinds: frozenset[str]) -> int:
    return sum(count(booked.row.tokens) for booked in rows if booked.row.kind in kinds)


def agrees(lab: Lab, rows: Sequence[Booked], leaving: int = 0) -> None:
    """Every request that the provider bills is a row, and what is not marked as an estimate agrees
    to the token. A client that leaves may do so before its request is read, or behind its answer:
    `leaving` calls may differ by a row, which says that it is an estimate."""
    taken = Counter((c.tokens_in, c.tokens_out) for c in lab.server.calls if c.tokens_in)
    billed = [booked.row for booked in rows if booked.row.kind in BILLED]
    exact = Counter(
        (row.tokens.all_input, row.tokens.output) for row in billed if not row.is_estimated
    )
    assert exact <= taken
    estimated = [row for row in billed if row.is_estimated]
    assert 0 <= len(billed) - taken.total() <= leaving
    complete = sum(c.ended == "complete" and c.tokens_in > 0 for c in lab.server.calls)
    assert complete - leaving <= exact.total()
    assert all(count(row.tokens) for row in estimated), "never as nothing"
    ids = [booked.call for booked in rows if booked.row.kind == ANSWER]
    assert len(ids) == len(set(ids)), "one answer a call"


def test_every_answer_of_every_dialect_is_billed_once(open_lab: Any, path: Path) -> None:
    lab: Lab = open_lab(kept(path))
    for number, asked in enumerate((*PATHS, "/v1/embeddings") * 2):
        stream = number < len(PATHS) and asked != "/v1/embeddings"
        lab.ask(asked, about=number, **({"stream": True} if stream else {}))
    rows = rows_of(lab, path)
    agrees(lab, rows)
    bill = lab.server.bill()
    assert tokens(rows, BILLED) == bill.tokens_in + bill.tokens_out
    assert {booked.row.kind for booked in rows} == {ANSWER}
    assert not [booked for booked in rows if booked.row.is_estimated]


def test_hits_are_served_and_not_billed(open_lab: Any, path: Path) -> None:
    lab: Lab = open_lab(kept(path))
    for asked in PATHS:
        for _ in range(3):
            lab.ask(asked)
            lab.ask(asked, stream=True)
    rows = rows_of(lab, path)
    agrees(lab, rows)
    bill = lab.server.bill()
    assert tokens(rows, BILLED) == bill.tokens_in + bill.tokens_out
    assert tokens(rows, frozenset({AVOIDED_EXACT})) == 5 * tokens(rows, BILLED)


@pytest.mark.parametrize("stream", [False, True])
def test_those_who_join_are_served_and_billed_once(
    open_lab: Any, path: Path, *, stream: bool
) -> None:
    lab: Lab = open_lab(kept(path))
    pause = Pause()
    lab.server.script(pause, Usual())
    with lab.leaving(stream=stream) as first, lab.leaving(stream=stream) as second:
        pause.wait_reached()
        until(lambda: _inside(lab) == 2, "both are on board")
        pause.release()
        first.rest()
        second.rest()
    rows = rows_of(lab, path)
    agrees(lab, rows)
    assert sorted(booked.row.kind for booked in rows) == [ANSWER, AVOIDED_FOLLOWER]
    assert tokens(rows, AVOIDED) == tokens(rows, BILLED) > 0


def _under_way(lab: Lab) -> list[str]:
    """Calls inside the gateway, and flights that go on without their callers."""
    return [task for task in lab.gate.tasks() if "run_asgi" in task or "Flight._fly" in task]


def _inside(lab: Lab) -> int:
    """Requests inside the gateway."""
    return sum("RequestResponseCycle.run_asgi" in task for task in lab.gate.tasks())


def test_a_client_that_leaves_is_billed_as_abandoned_and_never_as_nothing(
    open_lab: Any, path: Path
) -> None:
    lab: Lab = open_lab(kept(path))
    pause = Pause()
    lab.server.script(Usual(0, 8), pause, Usual(8))
    with lab.leaving(CHAT, "cache-control: no-store", stream=True) as client:
        pause.wait_reached()
        client.until(b"\n\n")
        client.leave()
    lab.server.wait_for_abandoned(1)
    pause.release()
    rows = rows_of(lab, path)
    (booked,) = rows
    assert (booked.row.kind, booked.row.is_estimated) == (ABANDONED, True)
    assert booked.row.tokens.all_input > 0
    agrees(lab, rows)


def test_a_retry_is_billed_where_the_first_attempt_may_be(open_lab: Any, path: Path) -> None:
    lab: Lab = open_lab(kept(path))
    lab.server.script(ResetPeer())
    lab.server.script(Status(500))
    assert lab.ask().status == 200
    rows = rows_of(lab, path)
    assert [booked.row.kind for booked in rows] == [AT_RISK, ANSWER]
    assert len({booked.call for booked in rows}) == 1
    agrees(lab, rows)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("configure", [config_for, several])
def test_whatever_happens_the_ledger_is_the_bill(
    open_lab: Any, path: Path, configure: Any, seed: int
) -> None:
    dice = random.Random(seed)
    lab: Lab = open_lab(kept(path, configure))
    leaving = 0
    for _ in range(QUESTIONS):
        steps = dice.choice(STEPS)
        if steps:
            lab.server.script(*steps)
        asked, about = dice.choice(PATHS), dice.randrange(8)
        more = {"stream": dice.random() < 0.5}
        key = KEY if configure is several else dice.choice((KEY, OTHER_KEY))
        if dice.random() < 0.2:
            leaving += 1
            with lab.leaving(asked, key=key, about=about, **more) as client:
                client.until(b"HTTP/1.1 ") if dice.random() < 0.5 else None
                client.leave()
        else:
            lab.ask(asked, key=key, about=about, **more)
    agrees(lab, rows_of(lab, path), leaving)
