"""Row 30: SIGTERM during streams. What runs may finish; what cannot is told so, never just cut."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from faults.serving import Client, gateway
from programs import START_S, children, until
from rawclient import RawClient, question

from headgate.testing import Delay, FaultServer, Hang, Pause, Usual

STREAMS = 48
DRAIN = '[server]\ndrain_timeout = "{}"\n'


def outcomes(clients: list[Client]) -> Counter[str]:
    for client in clients:
        client.join()
    found = Counter(client.outcome for client in clients)
    for client in clients:
        assert client.outcome not in ("silent", "cut"), (client.outcome, client.reply[-300:])
    return found


def wait_a_while(seconds: float) -> None:
    """The moment of the signal is the point of the scenario."""
    threading.Event().wait(seconds)


def script(server: FaultServer, dice: random.Random) -> None:
    """Streams that end soon, and streams that never do."""
    for _ in range(STREAMS):
        late = (Usual(0, 3), Delay(dice.uniform(0.0, 0.8)), Usual(3))
        server.script(*late, model="soon")
    server.script(Usual(0, 3), Delay(60.0), model="never", times=None)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_many_streams_none_is_cut_without_a_word(
    tmp_path: Path, seed: int, workers: str
) -> None:
    dice = random.Random(seed)
    with FaultServer(seed=seed) as server:
        script(server, dice)
        toml = DRAIN.format("900ms")
        with gateway(tmp_path, server, toml, "--workers", workers) as (started, address):
            clients = [
                Client(address.port, number, "never" if number % 3 == 0 else "soon", stream=True)
                for number in range(STREAMS)
            ]
            wait_a_while(dice.uniform(0.0, 0.6))
            assert started.end() == 0
            found = outcomes(clients)
            assert "Traceback" not in started.output, started.output
    # Who came after the signal was not taken; the others are finished or told.
    assert found.total() == STREAMS, f"seed {seed}: {found}"


def test_streams_under_way_finish_and_those_that_cannot_are_told(tmp_path: Path) -> None:
    with FaultServer() as server:
        finish = Pause()
        server.script(Usual(0, 3), finish, Usual(3), model="soon", times=None)
        server.script(Usual(0, 3), Delay(60.0), model="never", times=None)
        with gateway(tmp_path, server, DRAIN.format("5s")) as (started, address):
            soon = [Client(address.port, at, "soon", stream=True) for at in range(20)]
            never = [Client(address.port, at, "never", stream=True) for at in range(20, 40)]
            finish.wait_reached(20)
            server.wait_for_calls(40)
            started.process.send_signal(signal.SIGTERM)
            until(lambda: not accepts(address.port))
            finish.release()
            assert outcomes(soon) == {"complete": 20}
            assert outcomes(never) == {"told": 20}
            assert all(b'"closed"' in client.reply for client in never)
            assert started.process.wait(START_S) == 0
            assert "Traceback" not in started.output


def accepts(port: int) -> bool:
    """Whether anybody still listens."""
    try:
        RawClient(port).leave()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_sigterm_means_now_and_is_still_honest(tmp_path: Path, workers: str) -> None:
    with FaultServer() as server:
        server.script(Usual(0, 3), Delay(60.0), model="stream", times=None)
        server.script(Delay(60.0), model="whole", times=None)
        with gateway(tmp_path, server, "", "--workers", workers) as (started, address):
            streams = [Client(address.port, at, "stream", stream=True) for at in range(8)]
            wholes = [Client(address.port, at, "whole") for at in range(8, 12)]
            server.wait_for_calls(12)
            started.process.send_signal(signal.SIGTERM)
            until(lambda: not accepts(address.port))
            assert started.process.poll() is None, "it waits for them"
            started.process.send_signal(signal.SIGTERM)
            assert started.process.wait(START_S) == 0
            assert outcomes(streams) == {"told": 8}
            assert outcomes(wholes) == {"told": 4}
            assert {client.status for client in wholes} == {503}


def test_a_client_that_reads_nothing_does_not_hold_it_up_for_ever(tmp_path: Path) -> None:
    with FaultServer() as server:
        server.script(Usual(0, 3), *[Usual(1, 2)] * 3000, Hang(), times=None)
        with gateway(tmp_path, server, DRAIN.format("200ms")) as (started, address):
            with RawClient(address.port, receive_buffer_bytes=4096) as deaf:
                deaf.send(question(stream=True))
                server.wait_for_calls(1)
                assert started.end() == 0
            assert not children(started.process.pid)


def test_what_was_answered_before_the_signal_is_on_disk(tmp_path: Path) -> None:
    toml = '[cache]\npersist = true\n[server]\ndrain_timeout = "5s"\n'
    with FaultServer() as server:
        with gateway(tmp_path, server, toml) as (started, address):
            clients = [Client(address.port, number) for number in range(20)]
            assert outcomes(clients) == {"complete": 20}
            assert started.end() == 0
        with gateway(tmp_path, server, toml) as (started, address):
            again = [Client(address.port, number) for number in range(20)]
            assert outcomes(again) == {"complete": 20}
            assert all(b"; hit; " in client.reply for client in again)
        assert len(server.calls) == 20
