"""Budgets of client keys in a gateway: reserved before, settled with what was booked, over every
route and shape; what was refused or found in the cache costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from dialects import DIALECTS, PATHS, question, streamed
from gates import ONE_ATTEMPT, Gate, Got, providers_at
from keyring import a_key, bearer, opened
from oracle import until

from headgate.clock import SystemClock
from headgate.config import Config, KeysConfig, PriceConfig
from headgate.layers.settings import LedgerConfig
from headgate.stores.keys import Made
from headgate.stores.ledger import read_rows
from headgate.testing import FaultServer, Status

PRICES = {"m": PriceConfig(input=Decimal(10), output=Decimal(20))}
CALL_NANOS = 500 * 20_000
"""More than a call of these tests costs, and its estimate (400 tokens of output) is less."""


class Midday(SystemClock):
    """The machine's clock, set to the middle of a day and month: none ends during a test."""

    def __init__(self) -> None:
        super().__init__()
        ahead_s = datetime(2026, 11, 15, 12, tzinfo=UTC).timestamp() - self.epoch()
        self.epoch_offset_s += ahead_s


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=7) as running:
        yield running


@pytest.fixture
def keys(tmp_path: Path) -> KeysConfig:
    return KeysConfig(str(tmp_path / "keys.db"))


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerConfig:
    return LedgerConfig(persist=True, path=str(tmp_path / "ledger.db"))


@pytest.fixture
def opened_gates() -> Iterator[list[Gate]]:
    gates: list[Gate] = []
    yield gates
    for gate in gates:
        gate.close()


@pytest.fixture
def gate_to(server: FaultServer, opened_gates: list[Gate]) -> Callable[..., Gate]:
    """Opens gateways in front of `server`, which are closed in any case."""

    def open_one(keys: KeysConfig, **more: Any) -> Gate:
        settings = {"prices": PRICES, **ONE_ATTEMPT, **more}
        config = Config(keys=keys, providers=providers_at(server, "sk-ours"), **settings)
        gate = Gate(config, Midday())
        opened_gates.append(gate)
        return gate

    return open_one


def ask(gate: Gate, made: Made, text: object = "q", operation: str = "chat", **more: Any) -> Got:
    body = question(operation, str(text), **more)
    return gate.post(PATHS[operation], body, bearer(made))


def spent(keys: KeysConfig, made: Made) -> int:
    """Of today, as the file says; a gateway that was closed has told it everything."""
    store = opened(keys)
    sums = store.spent().get(made.record.family, {})
    store.close()
    return max(sums.values(), default=0)


def booked(ledger: LedgerConfig) -> int:
    rows = read_rows(Path(ledger.path), 0.0, 1e12)
    billed = (row.row for row in rows if not row.row.kind.startswith("avoided"))
    return sum(row.cost_nanos or 0 for row in billed)


def held(gate: Gate, made: Made) -> int:
    purse: Any = gate.clients._known.clients[made.record.id].purse
    return int(purse.held())


def test_a_budget_pays_what_the_ledger_books(
    gate_to: Callable[..., Gate], server: FaultServer, keys: KeysConfig, ledger: LedgerConfig
) -> None:
    made = a_key(keys, day_nanos=100 * CALL_NANOS)
    gate = gate_to(keys, ledger=ledger)
    for operation in DIALECTS:
        for shape in (question, streamed):
            body = shape(operation, f"{operation} {shape.__name__}")
            assert gate.post(PATHS[operation], body, bearer(made)).status == 200
            assert gate.post(PATHS[operation], body, bearer(made)).status == 200, "a hit"
    assert held(gate, made) == 0
    gate.close()
    assert len(server.calls) == 2 * len(DIALECTS)
    assert spent(keys, made) == booked(ledger) > 0


def test_what_is_used_up_is_refused_and_hits_go_on(
    gate_to: Callable[..., Gate], server: FaultServer, keys: KeysConfig
) -> None:
    made = a_key(keys, day_nanos=CALL_NANOS)
    gate = gate_to(keys)
    statuses = [ask(gate, made, number).status for number in range(40)]
    first = statuses.index(402)
    assert statuses == [200] * first + [402] * (40 - first)
    assert 0 < first < 40
    calls = len(server.calls)
    assert ask(gate, made, 0).status == 200, "a hit costs nothing"
    assert len(server.calls) == calls == first
    refused = ask(gate, made, "new")
    assert refused.json["error"]["code"] == "budget_exhausted"
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["x-should-retry"] == "false"
    gate.close()
    assert spent(keys, made) <= CALL_NANOS, "each answer was shorter than its estimate"
    again = gate_to(keys)
    assert ask(again, made, "new").status == 402, "and a restart forgets nothing"
    again.close()


def test_many_at_once_do_not_spend_what_is_not_there(
    gate_to: Callable[..., Gate], server: FaultServer, keys: KeysConfig
) -> None:
    made = a_key(keys, day_nanos=CALL_NANOS)
    gate = gate_to(keys)
    server.hold()
    with ThreadPoolExecutor(12) as threads:
        asked = [threads.submit(ask, gate, made, number) for number in range(12)]
        until(lambda: sum(it.done() for it in asked) == 11, "all but one are refused")
        assert held(gate, made) > CALL_NANOS / 2
        server.release()
        statuses = sorted(it.result().status for it in asked)
    assert statuses == [200] + [402] * 11
    gate.close()


def test_an_answer_that_is_longer_than_its_estimate_is_all_that_is_too_much(
    gate_to: Callable[..., Gate], server: FaultServer, keys: KeysConfig, ledger: LedgerConfig
) -> None:
    made = a_key(keys, day_nanos=60 * 20_000)
    gate = gate_to(keys, ledger=ledger)
    # The estimate follows the bound that the request names; nobody keeps a provider to it.
    assert ask(gate, made, 1, max_completion_tokens=1).status == 200
    statuses = [ask(gate, made, n, max_completion_tokens=1).status for n in range(2, 60)]
    assert 402 in statuses
    gate.close()
    truth = booked(ledger)
    most = max(row.row.cost_nanos or 0 for row in read_rows(Path(ledger.path), 0.0, 1e12))
    assert spent(keys, made) == truth <= 60 * 20_000 + most


def test_what_the_provider_refuses_costs_nothing(
    gate_to: Callable[..., Gate], server: FaultServer, keys: KeysConfig
) -> None:
    made = a_key(keys, day_nanos=CALL_NANOS)
    gate = gate_to(keys)
    for status in (400, 401, 429, 500, 503):
        server.script(Status(status))
        assert ask(gate, made, status).status >= 400
        assert held(gate, made) == 0
    server.refuse()
    server.drop()
    assert ask(gate, made, "unreachable").status == 502
    assert held(gate, made) == 0
    gate.close()
    assert spent(keys, made) == 0


def test_counting_tokens_costs_nothing_and_is_booked_nowhere(
    gate_to: Callable[..., Gate], keys: KeysConfig, ledger: LedgerConfig
) -> None:
    made = a_key(keys, day_nanos=1)
    gate = gate_to(keys, ledger=ledger)
    body = {"model": "m", "messages": [{"role": "user", "content": "q" * 4_000}]}
    assert ask(gate, made).status == 402
    got = gate.post("/v1/messages/count_tokens", body, bearer(made))
    assert (got.status, got.json["input_tokens"] > 0) == (200, True)
    assert gate.stats()["cost"]["by_reason"] == {}
    (counted, _) = gate.get("/api/calls").json["calls"]
    assert (counted["operation"], counted["cost_usd"]) == ("count_tokens", "0")
    gate.close()
    assert spent(keys, made) == booked(ledger) == 0


def test_who_leaves_pays_for_what_came_and_holds_nothing(
    gate_to: Callable[..., Gate], server: FaultServer, keys: KeysConfig, ledger: LedgerConfig
) -> None:
    made = a_key(keys, day_nanos=9 * CALL_NANOS)
    gate = gate_to(keys, ledger=ledger)
    with openai.OpenAI(base_url=gate.openai_url, api_key=made.text, max_retries=0) as client:
        for number in range(3):
            with client.chat.completions.create(**streamed("chat", str(number))) as stream:
                next(iter(stream))
    until(lambda: held(gate, made) == 0, "what was reserved comes back")
    gate.close()
    assert spent(keys, made) == booked(ledger) > 0


def test_what_has_no_price_is_not_paid_for_unless_that_is_said(
    gate_to: Callable[..., Gate], server: FaultServer, keys: KeysConfig
) -> None:
    made, free = a_key(keys, day_nanos=CALL_NANOS), a_key(keys)
    gate = gate_to(keys)
    refused = ask(gate, made, model="nobody-knows-it")
    assert (refused.status, refused.json["error"]["code"]) == (403, "model_unpriced")
    assert "keys.unpriced" in refused.json["error"]["message"]
    assert ask(gate, free, model="nobody-knows-it").status == 200, "no budget, no question"
    gate.close()
    gate = gate_to(KeysConfig(keys.path, unpriced="allow"))
    assert ask(gate, made, "other", model="nobody-knows-it").status == 200
    gate.close()
    assert spent(keys, made) == 0


def test_both_keys_of_a_rotation_spend_one_budget(
    gate_to: Callable[..., Gate], server: FaultServer, keys: KeysConfig
) -> None:
    made = a_key(keys, day_nanos=CALL_NANOS)
    gate = gate_to(keys)
    number = 0
    while ask(gate, made, number).status == 200:
        number += 1
    store = opened(keys)
    new = store.rotate(made.record.id, now_s=gate.runtime.clock.epoch(), overlap_s=3600)
    store.close()
    assert new is not None
    gate.clients.look()
    assert [ask(gate, key, "new").status for key in (made, new)] == [402, 402]
    gate.close()


def test_two_gateways_share_a_budget(
    gate_to: Callable[..., Gate], server: FaultServer, keys: KeysConfig
) -> None:
    made = a_key(keys, day_nanos=CALL_NANOS)
    gates = [gate_to(keys) for _ in range(2)]
    number = 0
    while ask(gates[0], made, number).status == 200:
        number += 1
    until(lambda: ask(gates[1], made, f"new {len(server.calls)}").status == 402, "it has heard")
    for gate in gates:
        gate.close()
