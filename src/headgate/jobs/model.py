"""The nouns of durable jobs. Frozen, and free of I/O.

A job is a file of lines; each line is an item with an identity of its own, its `custom_id`, which
alone survives whatever happens to shards and processes. Times are wall-clock seconds: jobs outlive
processes. Money is in nano-dollars.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from headgate.jobs.states import QUEUED, VALIDATING
from headgate.types import NO_USAGE, Usage

AUTO, BATCH, LIVE = "auto", "batch", "live"
"""Where a job may run: wherever is best; at the provider's batch API; on the ordinary path."""
CUSTOM_ID_CHARS_MAX = 512


class JobOptions(Struct, frozen=True):
    """What whoever made a job asked for."""

    lane: str = AUTO
    rescue: bool = True
    """Whether what a provider's batch has not finished in time is asked on the ordinary path; it
    may then be paid for twice."""
    resubmit: bool = True
    """Whether a shard of which nobody knows if the provider has it is sent again (`at_risk`);
    False: it waits for review."""
    metadata: dict[str, str] = {}
    out: str = ""
    """Where the command line writes the results."""
    window: str = "24h"
    dialect: str = "openai"
    """Who asked: `openai` (files and batches, and the command line) or `anthropic`."""
    client: str = ""
    """Id of the client key that made it, whose models, budget and end hold for every item; "": none
    was needed."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of its maker that every item is asked with: those of `BEHAVIOUR_HEADERS`, which
    are part of the key, too."""


class LineProblem(Struct, frozen=True):
    """What is wrong with a line; `line` counts from 1, 0 is the file itself."""

    line: int
    code: str
    message: str
    param: str = ""


class Job(Struct, frozen=True):
    """One file of requests."""

    id: str
    """`job_` and 32 random characters: not to be guessed, and no capability either."""
    tenant: str
    """Who may see it, as `core.fingerprint.tenant_of` spells it; "" is the command line of this
    machine."""
    endpoint: str
    """`/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`, `/v1/completions`,
    `/v1/messages`."""
    input_file_id: str
    created_s: float
    deadline_s: float
    """When it is to be done."""
    state: str = VALIDATING
    options: JobOptions = JobOptions()
    ended_s: float | None = None
    cancel_asked_s: float | None = None
    counts: dict[str, int] = {}
    """How many items are in each state (`states.ITEM_STATES`); a state without any is missing."""
    cost_nanos: int = 0
    """What providers bill for it, as far as known."""
    saved_cache_nanos: int = 0
    saved_batch_nanos: int = 0
    at_risk_nanos: int = 0
    """What may have been billed a second time."""
    errors: tuple[LineProblem, ...] = ()
    """Why it was refused (`failed`); the first 100."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class Line(Struct, frozen=True):
    """A line that was found good. Its bytes stay in the job's input file."""

    custom_id: str
    line_no: int
    model: str
    request_digest: bytes
    """SHA-256 of what is asked: equal ones are asked once."""
    offset: int
    length: int
    """Where the line's bytes stand in the input file, without the line feed."""
    tokens_estimated: int = 0


class Item(Struct, frozen=True):
    """A line and how far it has come."""

    job_id: str
    custom_id: str
    line_no: int
    model: str
    request_digest: bytes
    offset: int
    length: int
    tokens_estimated: int = 0
    state: str = QUEUED
    attempt: int = 0
    """How often it was sent to a provider."""
    shard_id: str = ""
    leader: str = ""
    """The `custom_id` of an equal line whose result it copies; "": its own."""


class Settled(Struct, frozen=True):
    """How an item ended; becomes one result row and one row of the job's ledger."""

    custom_id: str
    state: str
    """One of `states.TERMINAL`."""
    status_code: int = 0
    """HTTP status of the answer; 0: there was none."""
    body: bytes = b""
    """JSON of the answer or of the provider's error; b"" where there is none."""
    error_code: str = ""
    error_message: str = ""
    usage: Usage = NO_USAGE
    cost_nanos: int | None = 0
    """What the provider bills; None: unknown price."""
    saved_cache_nanos: int = 0
    saved_batch_nanos: int = 0
    at_risk_nanos: int = 0
    target: str = ""
    lane: str = LIVE
    """`batch`, `live`, or "" where nobody was asked."""


class ResultRow(Struct, frozen=True):
    """A terminal item as it goes into an output file, in the order of the input."""

    line_no: int
    settled: Settled


class Waiting(NamedTuple):
    """A job that nobody works on."""

    id: str
    tenant: str
    is_cancelled: bool
    """It was asked to end."""


class Intent(Struct, frozen=True):
    """What is about to be sent to a provider as one batch."""

    id: str
    job_id: str
    provider: str
    """Name of the `[providers.NAME]` block."""
    submit_token: str
    """Random, unique: what a provider's batch is recognised by after a crash."""
    model: str


class Shard(Struct, frozen=True):
    """One batch at a provider, from the intent on."""

    id: str
    job_id: str
    provider: str
    submit_token: str
    model: str
    state: str
    created_s: float
    count: int = 0
    input_file_id: str = ""
    provider_batch_id: str = ""
    detail: dict[str, Any] = {}
    """What its lane wants to remember: result files, when it was cancelled, …"""


class Learned(Struct, frozen=True):
    """What has become known of a shard; None leaves what was known before."""

    input_file_id: str | None = None
    provider_batch_id: str | None = None
    detail: dict[str, Any] | None = None


NOTHING_LEARNED = Learned()


class Lease(Struct, frozen=True):
    """The right to work on a job. Every write carries `fence`; an older one is refused."""

    job_id: str
    owner: str
    fence: int


class StoredFile(Struct, frozen=True):
    """A file that was uploaded, or made here."""

    id: str
    """`file_` and 32 random characters."""
    tenant: str
    purpose: str
    name: str
    size_bytes: int
    created_s: float
    sha256: str
