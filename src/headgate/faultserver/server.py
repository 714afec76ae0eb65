"""The fault server itself: a port, a thread, scripts, and what was written down. What happens on
one connection is in `conversation`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Literal

from headgate.clock import SystemClock
from headgate.faultserver.conversation import Conversation, House
from headgate.faultserver.courses import BatchCharge, BatchCourse
from headgate.faultserver.desk import Desk
from headgate.faultserver.dice import Dice
from headgate.faultserver.line import set_no_linger
from headgate.faultserver.playbook import Playbook, Script, checked_steps, checked_toxics
from headgate.faultserver.records import Bill, Exchange, Link, Records, bill_of
from headgate.faultserver.steps import FaultStep
from headgate.faultserver.toxics import HalfOpen, ResetPeer, Timeout, Toxic
from headgate.testing_server import HEAD_BYTES_MAX, LoopThread

_BACKLOG = 1024
_READ_BYTES = 65_536


class FaultServer:
    """A provider on `127.0.0.1` that fails as it is told, byte by byte, and keeps the books.

    It speaks OpenAI (chat, completions, responses, embeddings, models, files, batches) and
    Anthropic (messages, count_tokens, models, message batches) on a raw socket, in a thread of its
    own, inside its `with` block. Without a script every request gets the answer of `FakeProvider`,
    with a mark (`marks_in`) that says for whom it was made and by which call.

    `seed` decides all chance; equal seeds and equal requests in equal order give equal faults.
    `tls`: serves https with this context.

    >>> import json, urllib.request
    >>> with FaultServer(seed=7) as server:
    ...     body = {"model": "m", "messages": [{"role": "user", "content": "Capital of France?"}]}
    ...     url = server.base_url + "/chat/completions"
    ...     answer = urllib.request.urlopen(url, json.dumps(body).encode()).read()
    ...     _ = server.wait_for_ended(1)
    ...     call, bill = server.calls[0], server.bill()
    >>> call.ended, call.status, bill.requests, bill.tokens_in
    ('complete', 200, 1, 5)
    """

    def __init__(self, *, seed: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.seed = seed
        self._tls = tls
        self._clock = SystemClock()
        self._records = Records()
        self._scripts: Playbook[FaultStep] = Playbook()
        self._toxics: Playbook[Toxic] = Playbook()
        self._gate = asyncio.Event()
        self._gate.set()
        self._desk = Desk(seed, self._clock, "https" if tls else "http")
        self._house = House(seed, self._clock, self._records, self._scripts, self._gate, self._desk)
        self._open: dict[asyncio.Task[None], socket.socket] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._thread: LoopThread | None = None
        self._address = ("127.0.0.1", 0)

    def __repr__(self) -> str:
        where = f"port={self._address[1]}" if self._thread else "not serving"
        return f"FaultServer(seed={self.seed}, {where}, calls={len(self.calls)})"

    def __enter__(self) -> FaultServer:
        # Bound for as long as the server lives, and never listened on: nobody else can get the port
        # while it is refused.
        self._kept = _bound(self._address)
        self._address = self._kept.getsockname()
        self._thread = LoopThread(self._serve)
        self._thread.run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cuts every connection and frees the port; what was written down stays readable."""
        if self._thread is not None:
            self._thread.close()
            self._kept.close()

    # Where it is.

    @property
    def port(self) -> int:
        """The port it listens on, also while it refuses."""
        self._running()
        return self._address[1]

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as `base_url`."""
        return self.anthropic_base_url + "/v1"

    @property
    def anthropic_base_url(self) -> str:
        """What an Anthropic client takes as `base_url`."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    # What it does.

    def script(
        self,
        *steps: FaultStep,
        model: str = "",
        header: tuple[str, str] | None = None,
        operation: str = "",
        times: int | None = 1,
    ) -> None:
        """What happens to the next `times` requests (None: to all), step by step.

        `model`, `header` (name, value) and `operation` (as in the records: `chat`, `files.create`,
        `batches.retrieve`) choose requests; without them any request is meant. The first script
        that fits is used; those for a counted number of requests go before those for all. A toxic
        acts from its place in the script on. Steps that send nothing are followed by the usual
        answer. Raises TypeError for what is no step.
        """
        self._scripts.add(Script(checked_steps(steps), model, header, times, operation))

    def batch(self, course: BatchCourse, *, model: str = "", times: int | None = 1) -> None:
        """How the next `times` batches (None: all) go, or those of one model (of their first
        item)."""
        self._desk.write(course, model, times)

    def on_connect(self, *toxics: Toxic, times: int | None = 1) -> None:
        """What befalls the next `times` connections (None: all), in both directions: before any
        request is known, and under each of them. Raises TypeError for a toxic that acts within an
        answer."""
        self._toxics.add(Script(checked_toxics(toxics), "", None, times))

    def clear(self) -> None:
        """Forgets all scripts; from now on requests get their usual answer."""
        self._scripts.clear()
        self._toxics.clear()
        self._desk.courses.clear()

    def refuse(self) -> None:
        """Closes the port: connections are refused from now on. Open ones stay."""
        self._running().run(self._deaf())

    def listen(self) -> None:
        """Opens the port again."""
        self._running().run(self._listen())

    def drop(self, by: Literal["fin", "rst"] = "fin") -> int:
        """Cuts every open connection, whatever it is doing; how many there were."""
        return self._running().run(self._drop(by))

    def hold(self) -> None:
        """Requests are recorded but not answered from now on, until `release`."""
        self._running().loop.call_soon_threadsafe(self._gate.clear)

    def release(self) -> None:
        """Answers every held request."""
        self._running().loop.call_soon_threadsafe(self._gate.set)

    # What happened.

    @property
    def calls(self) -> list[Exchange]:
        """Every request so far, oldest first, as far as it has got; copies."""
        return self._records.exchanges()

    @property
    def connections(self) -> list[Link]:
        """Every connection so far, oldest first; copies."""
        return self._records.links()

    @property
    def abandoned(self) -> int:
        """How many requests lost their client before their answer was complete."""
        return sum(call.ended == "client_left" for call in self.calls)

    def bill(self, *, tenant: str = "", model: str = "") -> Bill:
        """What a provider would charge for all requests so far, or those of one tenant (`tenant_of`
        a credential) or model: prompts of requests that were taken on, and output as it was sent,
        also to clients that did not read it. A whole answer is charged as soon as its head went."""
        return bill_of(
            call for call in self.calls if tenant in ("", call.tenant) and model in ("", call.model)
        )

    def batch_charges(self, *, tenant: str = "", model: str = "") -> list[BatchCharge]:
        """What a provider would charge for batches: one row for each item of each batch that is
        done, or will be whoever looks. An item that was handed in twice is charged twice. What is
        refused, expired or stopped is free, and what is lost on the way to the client is not."""
        return [
            charge
            for charge in self._desk.charges()
            if tenant in ("", charge.tenant) and model in ("", charge.model)
        ]

    def wait_for_calls(self, count: int, timeout_s: float = 10.0) -> list[Exchange]:
        """Blocks until `count` requests have arrived and returns them all; in async code call it
        by `asyncio.to_thread`. Raises TimeoutError saying how many did."""
        return self._wait(count, "", timeout_s, "requests")

    def wait_for_ended(self, count: int, timeout_s: float = 10.0) -> list[Exchange]:
        """As `wait_for_calls`, for requests that have ended in any way."""
        return self._wait(count, "any", timeout_s, "requests ended")

    def wait_for_abandoned(self, count: int, timeout_s: float = 10.0) -> list[Exchange]:
        """As `wait_for_calls`, for requests that lost their client."""
        return self._wait(count, "client_left", timeout_s, "clients left")

    def wait_for_connections(self, count: int, timeout_s: float = 10.0) -> list[Link]:
        """As `wait_for_calls`, for connections that were accepted."""
        with self._naming_the_seed():
            return self._records.wait_for_links(count, timeout_s)

    def wait_idle(self, timeout_s: float = 10.0) -> None:
        """Blocks until no connection is open. Raises TimeoutError naming those that are."""
        with self._naming_the_seed():
            self._records.wait_idle(timeout_s)

    def _wait(self, count: int, ended: str, timeout_s: float, what: str) -> list[Exchange]:
        def counts(call: Exchange) -> bool:
            return bool(call.ended) if ended == "any" else ended in ("", call.ended)

        with self._naming_the_seed():
            return self._records.wait_for(count, counts, timeout_s, what)

    @contextlib.contextmanager
    def _naming_the_seed(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as late:
            raise TimeoutError(f"{late} (seed {self.seed})") from None

    # In the server's thread.

    def _running(self) -> LoopThread:
        if self._thread is None:
            raise RuntimeError("a FaultServer serves inside its `with` block")
        return self._thread

    async def _serve(self) -> None:
        """Connections have tasks of their own."""

    async def _listen(self) -> None:
        if self._accepting is None:
            listener = _bound(self._address)
            listener.listen(_BACKLOG)
            self._accepting = self._running().spawn(self._accept(listener))

    async def _deaf(self) -> None:
        accepting, self._accepting = self._accepting, None
        if accepting is not None:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)

    async def _drop(self, by: str) -> int:
        tasks = list(self._open)
        for task in tasks:
            if by == "rst":
                with contextlib.suppress(OSError):
                    set_no_linger(self._open[task])
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(tasks)

    async def _accept(self, listener: socket.socket) -> None:
        thread = self._running()
        with listener:
            while True:
                connection, _ = await thread.loop.sock_accept(listener)
                connection.setblocking(False)
                task = thread.spawn(self._connection(connection))
                self._open[task] = connection
                task.add_done_callback(self._open.pop)

    async def _connection(self, connection: socket.socket) -> None:
        link = self._records.open(self._clock.monotonic())
        dice = Dice(self.seed, -link.number)
        toxics = tuple(t for t in self._toxics.take() if dice.strikes(t.probability))
        self._records.note(link, toxics=tuple(type(toxic).__name__ for toxic in toxics))
        how = "dropped"
        try:
            how = await self._served(connection, link, toxics)
        except OSError:
            how = "client_left"
        finally:
            # Written down first: whoever sees the end can read how it came about.
            self._records.note(link, ended=how, ended_s=self._clock.monotonic())
            connection.close()

    async def _served(
        self, connection: socket.socket, link: Link, toxics: tuple[Toxic, ...]
    ) -> str:
        """How the connection ended. Raises OSError where TLS fails."""
        for toxic in toxics:
            if isinstance(toxic, HalfOpen | Timeout | ResetPeer):
                return await _unanswered(connection, toxic)
        # What is handed over leaves at once, whatever was acknowledged.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEAD_BYTES_MAX)
        transport, protocol = await loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader), connection, ssl=self._tls
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        if self._tls is None:
            # Every byte handed over leaves before `drain` returns: a cut falls where it should.
            # With TLS, asyncio (3.11) takes a limit of 0 for always full and waits for ever.
            transport.set_write_buffer_limits(0)
        try:
            return await Conversation(self._house, link, (reader, writer), toxics).run()
        finally:
            if not transport.is_closing():
                transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _unanswered(connection: socket.socket, toxic: HalfOpen | Timeout | ResetPeer) -> str:
    """A connection that nobody speaks on."""
    loop = asyncio.get_running_loop()
    if isinstance(toxic, HalfOpen):
        await asyncio.Event().wait()
    try:
        async with asyncio.timeout(toxic.after_s if isinstance(toxic, Timeout | ResetPeer) else 0):
            while await loop.sock_recv(connection, _READ_BYTES):
                pass
        return "client_left"
    except TimeoutError:
        if isinstance(toxic, ResetPeer):
            set_no_linger(connection)
            return "reset"
        return "cut"


def _bound(address: tuple[str, int]) -> socket.socket:
    bound = socket.socket()
    # Without it the port could not be bound twice: once to keep it, once to listen on it.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(address)
    bound.setblocking(False)
    return bound
