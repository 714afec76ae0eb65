"""What `Runtime.stats` says of breakers, gates and repeats."""

from __future__ import annotations

import msgspec
from guarding import ALICE, BAD, GOOD, QUOTA, SLOW_BAD, THROTTLED, Scene, to

from headgate.guard_numbers import ROWS_MAX, guard_numbers, left_alone


def numbers(scene: Scene) -> dict[str, object]:
    told = guard_numbers(scene.guards, scene.now_s)
    # Whatever it says must be able to leave as JSON.
    return dict(msgspec.json.decode(msgspec.json.encode(told)))


def test_of_nothing_there_is_nothing_to_tell() -> None:
    assert {name: bool(table) for name, table in numbers(Scene()).items()} == dict.fromkeys(
        ("endpoints", "deployments", "credentials", "transitions", "attempts", "retries",
         "fallbacks", "hedges", "denied"), False
    )  # fmt: skip


def test_a_breaker_tells_its_state_and_its_calls() -> None:
    scene = Scene()
    scene.call(GOOD, BAD, BAD, SLOW_BAD)
    scene.refused()
    scene.clock.advance(3.0)
    row = guard_numbers(scene.guards, scene.now_s)["deployments"]["a/m"]
    assert (row["state"], row["opens_in_row"], row["transitions"]) == ("open", 1, 1)
    assert (row["retry_after_s"], row["open_s"]) == (5.0, 3.0)
    assert row["calls"] == {
        "ok": 1, "fault": 3, "slow": 1, "ignored": 0, "refused": 1, "late": 0, "probe_lost": 0
    }  # fmt: skip
    endpoint = guard_numbers(scene.guards, scene.now_s)["endpoints"]["a"]
    assert (endpoint["state"], endpoint["calls"]["ignored"]) == ("closed", 4)


def test_looking_changes_nothing() -> None:
    scene = Scene()
    scene.call(BAD, BAD, BAD, BAD)
    scene.clock.advance(8.0)
    before = guard_numbers(scene.guards, scene.now_s)
    assert guard_numbers(scene.guards, scene.now_s) == before
    assert before["deployments"]["a/m"]["state"] == "open", "only a call makes it half-open"


def test_a_breaker_that_a_person_opened_knows_no_end() -> None:
    scene = Scene()
    scene.call(GOOD)
    scene.guards.force("endpoint", "a", "forced_open", scene.now_s)
    row = guard_numbers(scene.guards, scene.now_s)["endpoints"]["a"]
    assert (row["state"], row["retry_after_s"]) == ("forced_open", None)
    numbers(scene)


def test_changes_of_state_are_counted_by_their_reason() -> None:
    scene = Scene()
    for _ in range(2):
        scene.call(BAD, BAD, BAD, BAD)
        scene.guards.force("deployment", "a/m", "reset", scene.now_s)
    told = guard_numbers(scene.guards, scene.now_s)["transitions"]
    counts = {(t["from"], t["to"], t["reason"]): t["count"] for t in told}
    assert counts["closed", "open", "fault_ratio"] == counts["open", "closed", "reset"] == 2
    assert {(t["gate"], t["target"]) for t in told} == {("deployment", "a/m")}


def test_only_gates_that_are_closed_or_were_just_now_are_told_by_alias() -> None:
    scene = Scene()
    scene.call(GOOD, call=to("a", "m", "key-1"))
    scene.call(THROTTLED, call=to("a", "m", "key-2"))
    scene.call(QUOTA, call=to("a", "n"))
    told = guard_numbers(scene.guards, scene.now_s)["credentials"]
    assert [(row["target"], row["credential"]) for row in told] == [
        ("a/m", "key-2"), ("a/n", "its only one")
    ]  # fmt: skip
    assert all(row["retry_after_s"] > 0 and row["step"] == 1 for row in told)


def test_a_clients_credential_is_never_told() -> None:
    scene = Scene()
    scene.call(THROTTLED, call=to("b", credential=ALICE))
    said = repr(numbers(scene))
    assert "alice" not in said
    assert "client:" in said


def test_attempts_are_told_by_provider_and_reason() -> None:
    scene = Scene()
    scene.call(GOOD, BAD, GOOD)
    scene.call(BAD, call=to("b"))
    assert guard_numbers(scene.guards, scene.now_s)["attempts"] == {
        "a": {"ok": 2, "server_error": 1}, "b": {"server_error": 1}
    }  # fmt: skip


def test_tables_are_bounded_and_those_that_refuse_come_first() -> None:
    scene = Scene()
    for number in range(ROWS_MAX + 50):
        scene.call(GOOD, call=to("a", f"m{number}"))
        scene.call(THROTTLED, call=to("a", f"m{number}", "key-1"))
    last = to("a", f"m{ROWS_MAX + 49}")
    scene.call(BAD, BAD, BAD, call=last)
    told = guard_numbers(scene.guards, scene.now_s)
    assert len(told["deployments"]) == len(told["credentials"]) == ROWS_MAX
    assert next(iter(told["deployments"])) == last.target.name


def test_providers_that_are_left_alone_are_named() -> None:
    scene = Scene()
    scene.call(GOOD)
    scene.call(GOOD, call=to("b"))
    assert left_alone(scene.guards) == ""
    scene.guards.force("endpoint", "b", "open", scene.now_s)
    scene.guards.force("endpoint", "a", "forced_open", scene.now_s)
    assert left_alone(scene.guards) == "not asked at the moment: a, b"
