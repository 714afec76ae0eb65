"""`headgate serve` as a process in front of a fault server, and crowds of clients that ask it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from events import has_failed, is_finished
from gates import PATIENT, Address
from lab import PATHS, asking, fields_for
from oracle import is_whole, received
from programs import Running, running
from rawclient import RawClient

from headgate.testing import FaultServer


def write_config(folder: Path, server: FaultServer, toml: str = "") -> None:
    """gate.toml: both dialects of `server`, and `toml` in front."""
    (folder / "gate.toml").write_text(
        f'{toml}\n{PATIENT}[providers.openai]\nbase_url = "{server.base_url}"\n'
        f'[providers.anthropic]\nkind = "anthropic"\nbase_url = "{server.anthropic_base_url}"\n'
    )


@contextmanager
def gateway(
    folder: Path, server: FaultServer, toml: str = "", *words: str
) -> Iterator[tuple[Running, Address]]:
    """A gateway that answers."""
    write_config(folder, server, toml)
    command = ("serve", "--config", "gate.toml", "--port", "0", *words)
    with running(*command, cwd=folder) as started:
        address = started.served()
        assert address.get("/readyz").status == 200
        yield started, address


class Client(threading.Thread):
    """Asks one question on a connection of its own and notes every byte of the answer."""

    def __init__(self, port: int, number: int, model: str = "m", **fields: object) -> None:
        super().__init__()
        self.path = PATHS[number % len(PATHS)]
        self.reply = b""
        self.error = ""
        self._port = port
        asked = fields_for(self.path, number, model=model, **fields)
        self._request = asking(self.path, asked)
        self.start()

    def run(self) -> None:
        try:
            client = RawClient(self._port)
        except OSError as error:
            self.error = f"no connection: {error}"
            return
        with client:
            try:
                client.send(self._request).rest()
            except OSError as error:
                self.error = repr(error)
            self.reply = bytes(client.heard)

    @property
    def status(self) -> int:
        return int(self.reply.split(b" ")[1]) if self.reply else 0

    @property
    def outcome(self) -> str:
        """`nothing` (not even a status line), `complete`, `told` (an error in words of the
        dialect), `cut` (a visible break) or `silent`: an answer that only looks complete."""
        if not self.reply:
            return "nothing"
        if not is_whole(self.reply):
            return "cut"
        body = received(self.reply)
        if b"content-type: text/event-stream" in self.reply.lower():
            failed, finished = has_failed(body), is_finished(body)
            return "told" if failed else "complete" if finished else "silent"
        if self.status == 200:
            return "complete"
        return "told" if "error" in json.loads(body) else "cut"
