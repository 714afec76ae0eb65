"""Row 3: 429. It closes the gate of one credential, not a breaker: another key serves at once, a
used-up quota is not asked again, and a lone 429 stays a 429.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lab import Lab, fields_for
from rawclient import CHAT

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.layers.settings import RetryConfig
from headgate.testing import Answer, FaultServer, Status, tenant_of
from headgate.types import Secret

KEYS = ("sk-first", "sk-second")
QUOTA = b'{"error": {"code": "insufficient_quota", "message": "no credit"}}'
THROTTLE = b'{"error": {"code": "rate_limit_exceeded", "message": "slow down"}}'


class Scene:
    """One deployment with two keys."""

    def __init__(self, open_lab: Callable[..., Lab], keys: tuple[str, ...] = KEYS) -> None:
        def configured(server: FaultServer) -> Config:
            return Config(
                providers={
                    "p": ProviderConfig(
                        base_url=server.base_url, api_keys=tuple(Secret(key) for key in keys)
                    )
                },
                models={"m": ModelConfig(targets=("p/m",))},
                retry=RetryConfig(backoff=0.01),
            )

        lab = open_lab(configured)
        lab.credentials.update(keys)
        self.server, self.gate = lab.server, lab.gate

    def refuse(self, key: str, body: bytes, **headers: str) -> None:
        """From now on, for one key."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = Answer(status=429, body=body, headers=named)
        self.server.script(answer, header=("authorization", f"Bearer {key}"), times=None)

    def asked(self) -> list[str]:
        """Whose keys were used, in order."""
        names = {tenant_of(key): key for key in KEYS}
        return [names[call.tenant] for call in self.server.calls]


def test_another_key_serves_at_once_and_the_throttled_one_rests(
    open_lab: Callable[..., Lab],
) -> None:
    scene = Scene(open_lab)
    scene.refuse("sk-first", THROTTLE, retry_after="600")
    for number in range(10):
        got = scene.gate.post(CHAT, fields_for(CHAT, about=number))
        assert got.status == 200
    assert scene.asked() == ["sk-first"] + ["sk-second"] * 10
    breakers = scene.gate.stats()["breakers"]
    states = [row["state"] for row in (*breakers["endpoints"].values(),
                                       *breakers["deployments"].values())]  # fmt: skip
    assert states == ["closed"] * 2, "a throttle is no failure"
    (gate,) = breakers["credentials"]
    assert (gate["credential"], gate["closed_by"]) == ("key-1", "throttle")
    assert 590 < gate["retry_after_s"] <= 600
    assert "sk-" not in str(breakers)


def test_a_used_up_quota_is_not_asked_again(open_lab: Callable[..., Lab]) -> None:
    scene = Scene(open_lab)
    scene.refuse("sk-first", QUOTA)
    scene.refuse("sk-second", QUOTA)
    first = scene.gate.post(CHAT, fields_for(CHAT, about=0))
    assert (first.status, first.json["error"]["code"]) == (429, "insufficient_quota")
    for number in range(1, 5):
        got = scene.gate.post(CHAT, fields_for(CHAT, about=number))
        assert (got.status, got.headers["x-should-retry"]) == (429, "false")
        assert got.json["error"]["code"] == "rate_limited"
        assert int(got.headers["retry-after"]) > 60
    assert len(scene.server.calls) == 2


def test_a_short_throttle_is_waited_for(open_lab: Callable[..., Lab]) -> None:
    scene = Scene(open_lab, keys=("sk-first",))
    scene.server.script(Answer(status=429, body=THROTTLE, headers={"retry-after": "0.2"}))
    started_s = time.monotonic()
    got = scene.gate.post(CHAT, fields_for(CHAT))
    assert (got.status, got.headers["headgate-attempts"]) == (200, "2")
    first, second = scene.server.calls
    assert second.arrived_s - first.arrived_s >= 0.2
    assert time.monotonic() - started_s < 10


def test_a_lone_429_with_a_long_wait_stays_what_it_is(open_lab: Callable[..., Lab]) -> None:
    scene = Scene(open_lab, keys=("sk-first",))
    scene.refuse("sk-first", THROTTLE, retry_after="120")
    got = scene.gate.post(CHAT, fields_for(CHAT))
    assert (got.status, got.body) == (429, THROTTLE)
    assert (got.headers["retry-after"], got.headers["x-should-retry"]) == ("120", "false")
    assert len(scene.server.calls) == 1
    again = scene.gate.post(CHAT, fields_for(CHAT, about="more"))
    assert (again.status, len(scene.server.calls)) == (429, 1)


def test_a_refused_key_gives_way_to_the_other_and_rests(open_lab: Callable[..., Lab]) -> None:
    scene = Scene(open_lab)
    answer = Answer(status=401, body=b'{"error": {"message": "wrong key sk-first"}}')
    scene.server.script(answer, header=("authorization", "Bearer sk-first"), times=None)
    for number in range(3):
        assert scene.gate.post(CHAT, fields_for(CHAT, about=number)).status == 200
    assert scene.asked() == ["sk-first"] + ["sk-second"] * 3


def test_a_clients_own_wrong_key_is_nobody_elses_business(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab(lambda server: Config(providers={"p": ProviderConfig(base_url=server.base_url)}))
    server, gate = lab.server, lab.gate
    wrong = {"authorization": "Bearer sk-wrong"}
    server.script(Status(401), header=("authorization", "Bearer sk-wrong"), times=None)
    for number in range(3):
        assert gate.post(CHAT, fields_for(CHAT, about=number), wrong).status == 401
        right = {"authorization": f"Bearer sk-right-{number}"}
        assert gate.post(CHAT, fields_for(CHAT, about=number), right).status == 200
    assert len(server.calls) == 6, "a wrong key may be the right one the next time"
