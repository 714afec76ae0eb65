"""Canaries: every credential that a gateway is given has a name of its own here, and after a broad
day, with all logging on, with crashes and a kill, none of them is found anywhere: not in what the
process printed, not in what it answered, not in a file that it left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dialects import DIALECTS, PATHS, question, streamed
from gates import PATIENT, Address
from programs import Running, run, running, until
from rawclient import RawClient, request

from headgate.testing import Answer, Cut, FaultServer, Hang, Status, tenant_of

OPENAI, OTHER = "sk-canary-openai-7f3a91", "sk-canary-second-5b2c08"
ANTHROPIC = "sk-ant-canary-e40d66"
PEPPER = "canary-pepper-0123456789abcdef-9d1e"
ADMIN = "canary-admin-t0ken-31c7"
PROMPT = "canary prompt of a client 88aa"
USERINFO = "canary-userinfo-5e5e"
STRANGER = "sk-canary-of-a-stranger-4242"
ANSWER = "What the model says is kept."
# Everything that logs anything does so, in the gateway's own process.
EVERY_LOG = "import logging\nlogging.basicConfig(level=logging.DEBUG)\nlogging.debug('on')\n"
CONFIG = """
[server]
admin_token = "${ADMIN}"
[cache]
persist = true
[ledger]
persist = true
[keys]
pepper = "${PEPPER}"
[retry]
attempts = 2
backoff = "10ms"
[breaker]
enabled = false
[prices.m]
input = "10"
output = "20"
"""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=3) as one:
        yield one


class Day:
    """A folder in which a gateway has worked, and all that was heard of it."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        self.folder = folder
        self.server = server
        self.said: dict[str, bytes] = {}
        (folder / "tmp").mkdir()
        (folder / "logs").mkdir()
        (folder / "logs" / "sitecustomize.py").write_text(EVERY_LOG)
        self.config = folder / "gate.toml"
        self.config.write_text(
            f'{CONFIG}{PATIENT}[providers.openai]\nbase_url = "{server.base_url}"\n'
            'api_keys = ["${OPENAI}", "${OTHER}"]\n[providers.anthropic]\nkind = "anthropic"\n'
            f'base_url = "{server.anthropic_base_url}"\napi_key = "${{ANTHROPIC}}"\n'
        )
        self.variables = {
            "OPENAI": OPENAI, "OTHER": OTHER, "ANTHROPIC": ANTHROPIC, "ADMIN": ADMIN,
            "PEPPER": PEPPER, "TMPDIR": str(folder / "tmp"), "HEADGATE_CONFIG": str(self.config),
        }  # fmt: skip
        self.keys = [self.made("--budget-per-day", "5"), self.made(), self.made()]

    def made(self, *words: str) -> str:
        command = ("keys", "create", "--tenant", "acme", "--model", "*", *words)
        done = run(*command, cwd=self.folder, **self.variables)
        assert done.returncode == 0, done.stderr
        self.said[f"create {len(self.said)}"] = done.stderr.encode()
        return done.stdout.strip()

    def told(self, *words: str) -> None:
        done = run(*words, cwd=self.folder, **self.variables)
        self.said[" ".join(words)[:30]] = (done.stdout + done.stderr).encode()

    def ask(self, address: Address, path: str, body: Any, headers: dict[str, str]) -> int:
        got = address.post(path, body, headers)
        self.said[f"{path} {len(self.said)}"] = got.body + repr(got.headers).encode()
        return got.status

    def look(self, address: Address) -> None:
        admin = {"authorization": f"Bearer {ADMIN}"}
        for path in ("/healthz", "/readyz", "/metrics", "/api/metrics/llm", "/api/admin/cache",
                     "/api/calls?limit=1000", "/v1/models", "/nowhere"):  # fmt: skip
            for headers in ({}, admin, {"authorization": f"Bearer {STRANGER}"}):
                got = address.get(path, headers)
                self.said[f"{path} {len(self.said)}"] = got.body + repr(got.headers).encode()

    def everything(self) -> dict[str, bytes]:
        """What was said, and every file but the two that are there to hold it."""
        files = {
            str(file.relative_to(self.folder)): file.read_bytes()
            for file in self.folder.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        return {**self.said, **files}

    def serving(self, *words: str) -> Any:
        known = os.environ.get("PYTHONPATH", "")
        variables = {**self.variables, "PYTHONPATH": f"{self.folder / 'logs'}:{known}"}
        return running("serve", "--port", "0", *words, cwd=self.folder, **variables)


def echoing(operation: str, status: int) -> Status:
    """An error of a provider that repeats the keys that it was sent."""
    text = f"wrong key: {ANTHROPIC if operation == 'messages' else f'{OPENAI} {OTHER}'}"
    return Status(status, body={"error": {"message": text, "type": "x", "code": "y"}})


def a_broad_day(day: Day, address: Address) -> None:
    server, key = day.server, {"authorization": f"Bearer {day.keys[0]}"}
    for number, operation in enumerate(DIALECTS * 2):
        shape = question if number < len(DIALECTS) else streamed
        server.script(Answer(ANSWER))
        assert day.ask(address, PATHS[operation], shape(operation, PROMPT), key) == 200
        for status in (400, 401, 429, 500):
            server.clear()
            server.script(echoing(operation, status), times=None)
            body = shape(operation, f"{PROMPT} {status} {number}")
            assert day.ask(address, PATHS[operation], body, key) >= 400
        server.clear()
        for step in (Cut(), Cut(40)):
            server.script(step, times=None)
            body = shape(operation, f"{PROMPT} {step} {number}")
            day.ask(address, PATHS[operation], body, key)
        server.clear()
    for text in (STRANGER, day.keys[1][:-1], f"{day.keys[1]}x", "hg_'", ""):
        for name in ("authorization", "x-api-key", "api-key"):
            sent = {name: f"Bearer {text}" if name == "authorization" else text}
            assert day.ask(address, PATHS["chat"], question("chat", PROMPT), sent) in (401, 429)
    for broken in (b"{", b'{"model": 1}', f'{{"model": "{"x" * 600}"}}'.encode(), b"\xff"):
        assert day.ask(address, PATHS["chat"], broken, key) == 400
    two = {**key, "x-api-key": day.keys[1]}
    assert day.ask(address, PATHS["chat"], question("chat", PROMPT), two) in (401, 429)
    server.script(Hang(10))
    before = len(server.calls)
    with RawClient(address.port) as leaving:
        leaving.send(request(PATHS["chat"], f"authorization: Bearer {day.keys[2]}",
                             body=b'{"model": "m", "messages": [], "stream": true}'))  # fmt: skip
        server.wait_for_calls(before + 1)
    server.clear()


def test_no_credential_is_found_anywhere(tmp_path: Path, server: FaultServer) -> None:
    day = Day(tmp_path, server)
    with day.serving() as gateway:
        address = gateway.served()
        a_broad_day(day, address)
        day.told("keys", "revoke", day.keys[1])
        day.config.write_text(day.config.read_text() + f'[sever]\nx = "{USERINFO}"\n')
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: "not reloaded" in gateway.output)
        day.config.write_text(day.config.read_text().partition("[sever]")[0])
        server.hold()
        with RawClient(address.port) as waiting:
            waiting.send(request(PATHS["chat"], f"authorization: Bearer {day.keys[0]}",
                                 body=b'{"model": "m", "messages": []}'))  # fmt: skip
            gateway.process.kill()
            gateway.process.wait(60)
        server.release()
        keep(day, gateway, "killed")
    with day.serving("--workers", "2", "--log-format", "json") as gateway:
        address = gateway.served()
        until(lambda: address.get("/readyz").status == 200)
        a_broad_day(day, address)
        day.look(address)
        day.told("calls", "--url", address.url, "--json")
        day.told("monitor", "--url", address.url, "--every", "10ms", "--times", "1")
        # What the workers share goes with them.
        shared = {file.name: file.read_bytes() for file in (day.folder / "tmp").rglob("*.db*")}
        assert shared
        day.said |= shared
        assert gateway.end() == 0
        keep(day, gateway, "ended")
    for words in (("keys", "list"), ("keys", "list", "--json"), ("check",), ("config", "explain"),
                  ("ledger", "export"), ("keys", "rotate", "nobody")):  # fmt: skip
        day.told(*words)
    found = day.everything()
    for name in ("killed", "ended"):
        assert b"DEBUG:root:on" in found[name], "everything was logged"
    assert any(ANSWER.encode() in content for content in found.values()), "it would be found"
    assert b'"event": "call"' in found["ended"]
    asked = {call.tenant for call in server.calls}
    assert asked == {tenant_of(key) for key in (OPENAI, OTHER, ANTHROPIC)}
    secrets = [OPENAI, OTHER, ANTHROPIC, PEPPER, ADMIN, STRANGER, USERINFO]
    secrets += [key.rpartition("_")[2] for key in day.keys]
    leaks = [(place, text) for text in secrets for place, content in found.items()
             if text.encode() in content]  # fmt: skip
    assert not leaks
    prompts = [place for place, content in found.items() if PROMPT.encode() in content]
    assert not prompts, "nor is what a client asked"


def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(
        f'[providers.openai]\nbase_url = "https://user:{USERINFO}@example.org/v1"\n'
    )
    for words in (("check",), ("serve", "--port", "0"), ("config", "explain")):
        done = run(*words, "--config", "gate.toml", cwd=tmp_path)
        assert done.returncode == 2
        assert USERINFO not in done.stdout + done.stderr
        assert "credentials" in done.stderr


def keep(day: Day, gateway: Running, name: str) -> None:
    day.said[name] = gateway.output.encode()
