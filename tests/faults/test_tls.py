"""Row 6: TLS that cannot be trusted, or does not come about. Nothing is sent, nothing is tried a
second time, and the reason is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from gates import PATIENT, Address
from lab import Lab
from programs import running
from rawserver import certificate, server_tls

from headgate.testing import FaultServer, HalfOpen, ResetPeer, Timeout

PLAIN = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def test_a_certificate_that_nobody_vouches_for_is_502_and_not_tried_again(
    open_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = open_lab(tls=server_tls(certificate(tmp_path)))
    reply = lab.ask()
    assert (reply.status, reply.code) == (502, "upstream_unreachable")
    assert "self-signed certificate" in reply.json["error"]["message"]
    assert (len(lab.server.connections), lab.server.calls) == (1, [])


@pytest.mark.parametrize("toxic", [ResetPeer(), Timeout(0)])
def test_a_handshake_that_breaks_off_is_502(
    open_lab: Callable[..., Lab], tmp_path: Path, toxic: ResetPeer | Timeout
) -> None:
    lab = open_lab(tls=server_tls(certificate(tmp_path)))
    lab.server.on_connect(toxic)
    reply = lab.ask()
    assert (reply.status, reply.code) == (502, "upstream_unreachable")
    assert len(lab.server.connections) == 1


def test_a_handshake_that_stalls_ends_with_the_limit_on_connecting(
    open_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = open_lab(tls=server_tls(certificate(tmp_path)), connect_timeout=0.2, beside=True)
    lab.server.on_connect(HalfOpen(), times=None)
    with lab.healthy_meanwhile():
        reply = lab.ask()
    assert (reply.status, reply.code) == (504, "upstream_timeout")
    assert "no connection" in reply.json["error"]["message"]


HOSTS = {"good": ("127.0.0.1", False), "expired": ("127.0.0.1", True), "other": ("a.test", False)}


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, dict[str, Any]]]:
    """A gateway that trusts three certificates, and the servers that have them, by name."""
    folder = tmp_path_factory.mktemp("trusting")
    files = {name: certificate(folder, host=h, is_expired=e) for name, (h, e) in HOSTS.items()}
    (folder / "trusted.pem").write_text("".join(file.read_text() for file in files.values()))
    with ExitStack() as opened:
        servers = {
            name: opened.enter_context(FaultServer(tls=server_tls(file)))
            for name, file in files.items()
        }
        blocks = [f'[providers.{n}]\nbase_url = "{s.base_url}"\n' for n, s in servers.items()]
        (folder / "headgate.toml").write_text("[server]\nport = 0\n" + PATIENT + "".join(blocks))
        serving = opened.enter_context(
            running(
                "serve",
                "--config",
                "headgate.toml",
                cwd=folder,
                SSL_CERT_FILE=str(folder / "trusted.pem"),
            )
        )
        yield serving.served(), servers


@pytest.mark.parametrize(
    ("name", "reason"), [("expired", "certificate has expired"), ("other", "IP address mismatch")]
)
def test_a_certificate_that_does_not_hold_is_502_and_says_why(
    trusting: tuple[Address, dict[str, Any]], name: str, reason: str
) -> None:
    gate, servers = trusting
    got = gate.post("/v1/chat/completions", {**PLAIN, "model": f"{name}/m"})
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_unreachable")
    assert re.search(reason, got.json["error"]["message"])
    assert (len(servers[name].connections), servers[name].calls) == (1, [])


def test_a_certificate_that_holds_is_accepted(trusting: tuple[Address, dict[str, Any]]) -> None:
    gate, servers = trusting
    got = gate.post("/v1/chat/completions", {**PLAIN, "model": "good/m"})
    assert got.status == 200
    assert servers["good"].calls[0].model == "m"
