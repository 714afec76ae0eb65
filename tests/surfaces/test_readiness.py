"""What /readyz says, state by state."""

from __future__ import annotations

from headgate.surfaces.readiness import Readiness, Reloaded


def ready() -> Readiness:
    readiness = Readiness()
    readiness.has_started = True
    return readiness


def test_it_is_not_ready_before_it_has_started() -> None:
    status, body = Readiness().report([])
    assert (status, body["status"], body["reasons"]) == (503, "not_ready", ["starting"])


def test_it_is_ready_when_it_has_started() -> None:
    status, body = ready().report([])
    told = {"status": "ready", "reasons": [], "warnings": [], "reload": None}
    assert (status, body) == (200, told)


def test_draining_is_not_ready_and_says_so() -> None:
    readiness = ready()
    readiness.is_draining = True
    status, body = readiness.report([])
    assert (status, body["status"], body["reasons"]) == (503, "not_ready", ["draining"])


def test_what_a_check_finds_is_a_warning_and_it_stays_ready() -> None:
    status, body = ready().report([lambda: "", lambda: "the disk tier is off"])
    assert (status, body["warnings"]) == (200, ["the disk tier is off"])


def test_a_failed_reload_is_a_warning_with_its_time_and_places() -> None:
    readiness = ready()
    readiness.note(Reloaded(0.0, ("line 2: cache.ttl",)))
    status, body = readiness.report([])
    assert status == 200
    assert body["warnings"] == ["the last reload failed: the configuration before it is in use"]
    assert body["reload"] == {
        "at": "1970-01-01T00:00:00Z", "succeeded": False, "problems": ("line 2: cache.ttl",),
        "needs_restart": (), "count": 1, "failed": 1,
    }  # fmt: skip


def test_a_later_success_takes_the_warning_away_and_keeps_the_counts() -> None:
    readiness = ready()
    readiness.note(Reloaded(0.0, ("cache.ttl",)))
    readiness.note(Reloaded(60.0, (), ("server.port",)))
    _, body = readiness.report([])
    assert body["warnings"] == []
    told = body["reload"]
    assert (told["succeeded"], told["count"], told["failed"]) == (True, 2, 1)
    assert told["needs_restart"] == ("server.port",)
