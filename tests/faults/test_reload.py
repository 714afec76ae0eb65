"""Row 31: SIGHUP. A bad file keeps the old configuration; a good one is swapped in at once; calls
in flight keep theirs.
"""

from __future__ import annotations

import itertools
import random
import signal
import threading
from pathlib import Path
from typing import Any

from faults.serving import Client, gateway, write_config
from gates import Address
from programs import Running, until

from headgate.testing import FaultServer, Pause, Usual


def reload(started: Running, address: Address) -> dict[str, Any]:
    """Sends the signal; what /readyz says when it was heeded."""
    before = told(address)["count"]
    started.process.send_signal(signal.SIGHUP)
    until(lambda: told(address)["count"] > before)
    return told(address)


def told(address: Address) -> dict[str, Any]:
    got = address.get("/readyz")
    assert got.status == 200
    return got.json["reload"] or {"count": 0}


def test_a_bad_file_keeps_the_old_configuration(tmp_path: Path) -> None:
    with FaultServer() as server, gateway(tmp_path, server) as (started, address):
        write_config(tmp_path, server, "[cache]\nttl = 'sometimes'\n")
        assert not reload(started, address)["succeeded"]
        assert "cache.ttl: expected a duration" in started.output
        assert address.get("/api/metrics/llm").json["cache"]["ttl"] == 3600.0
        answered = Client(address.port, 1)
        answered.join()
        assert answered.outcome == "complete"
        assert started.end() == 0


def test_a_good_file_is_in_use_for_the_next_call(tmp_path: Path) -> None:
    with (
        FaultServer() as first,
        FaultServer() as second,
        gateway(tmp_path, first) as (started, address),
    ):
        Client(address.port, 0).join()
        assert len(first.calls) == 1
        write_config(tmp_path, second, "[cache]\nmaxsize = 5\n")
        assert reload(started, address)["succeeded"]
        Client(address.port, 0).join()
        assert (len(first.calls), len(second.calls)) == (1, 1), "another provider, another key"
        assert address.get("/api/metrics/llm").json["cache"]["maxsize"] == 5
        assert started.end() == 0


def test_calls_in_flight_keep_theirs_and_what_they_used_is_closed_after_them(
    tmp_path: Path,
) -> None:
    with FaultServer() as first, FaultServer() as second:
        hold = Pause()
        first.script(Usual(0, 3), hold, Usual(3), times=None)
        with gateway(tmp_path, first) as (started, address):
            held = [Client(address.port, at, stream=True) for at in range(12)]
            hold.wait_reached(12)
            for toml in ("", "[cache]\nmaxsize = 7\n", ""):
                write_config(tmp_path, second, toml)
                assert reload(started, address)["succeeded"]
            fresh = Client(address.port, 1)
            fresh.join()
            assert fresh.outcome == "complete"
            hold.release()
            for client in held:
                client.join()
            assert {client.outcome for client in held} == {"complete"}
            first.wait_idle()
            assert started.end() == 0


def test_reloads_good_and_bad_under_traffic_cost_no_call(tmp_path: Path) -> None:
    dice = random.Random(31)
    ended = threading.Event()
    asked: list[Client] = []
    with FaultServer() as server, gateway(tmp_path, server) as (started, address):

        def ask_on(numbers: range) -> None:
            for number in itertools.cycle(numbers):
                if ended.is_set():
                    return
                asked.append(Client(address.port, number, stream=number % 2 == 0))
                asked[-1].join()

        asking = [
            threading.Thread(target=ask_on, args=(range(at * 1000, at * 1000 + 60),))
            for at in range(4)
        ]
        for thread in asking:
            thread.start()
        succeeded = []
        for number in range(30):
            write_config(tmp_path, server, good(dice) if number % 2 else bad(dice))
            succeeded.append(reload(started, address)["succeeded"])
        ended.set()
        for thread in asking:
            thread.join()
        assert succeeded == [False, True] * 15
        assert {client.outcome for client in asked} == {"complete"}
        assert {client.status for client in asked} == {200}
        assert any(b"; hit; " in client.reply for client in asked), "the cache outlives reloads"
        calls = address.get("/api/metrics/llm").json["metrics"]["total_calls"]
        assert calls == len(asked), "the numbers go on"
        assert started.end() == 0
        assert "Traceback" not in started.output


def good(dice: random.Random) -> str:
    maxsize, retention = dice.randint(100, 5000), dice.randint(1, 60)
    return f'[cache]\nmaxsize = {maxsize}\nttl = "{retention}m"\n'


def bad(dice: random.Random) -> str:
    return dice.choice(["[sever]\n", "[cache]\nttl = -1\n", "[cache\n", "[server]\nport = 99999\n"])
