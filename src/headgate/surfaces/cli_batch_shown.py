"""Jobs as the command line shows them: in numbers, in words, as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headgate.core.money import NANOS_PER_DOLLAR, dollars
from headgate.jobs.lines import Checked
from headgate.jobs.model import Job, Shard
from headgate.jobs.states import FAILED, JOB_ENDS, TERMINAL
from headgate.surfaces.cli_ledger import moment
from headgate.surfaces.result_lines import GOOD
from headgate.types import NO_USAGE, Usage

COLUMNS = ("id", "state", "done", "lines", "not answered", "dollars", "created", "out")


def done_in(counts: Mapping[str, int]) -> int:
    """Lines that have ended."""
    return sum(count for state, count in counts.items() if state in TERMINAL)


def bad_in(counts: Mapping[str, int]) -> int:
    """Lines that have ended without an answer."""
    return sum(counts.get(state, 0) for state in TERMINAL - GOOD)


def told(job: Job, usage: Usage) -> str:
    """What stands beside the bar: failures, tokens, dollars."""
    failed = job.counts.get(FAILED, 0)
    return f"{failed} failed, {usage.tokens:,} tokens, ${_money(job.cost_nanos)}"


def summary(job: Job, usage: Usage) -> list[str]:
    """How a job stands, in a few lines."""
    lines = [f"{job.id}  {job.state}: {_in_words(job.counts)}"]
    lines.append(f"tokens  {usage.tokens_in:,} in, {usage.tokens_out:,} out")
    money = [f"${_money(job.cost_nanos)} billed"]
    if job.saved_cache_nanos:
        money.append(f"${_money(job.saved_cache_nanos)} saved by the cache")
    if job.saved_batch_nanos:
        money.append(f"${_money(job.saved_batch_nanos)} saved by batch prices")
    lines.append(f"money   {', '.join(money)}")
    if job.at_risk_nanos:
        risk = f"up to ${_money(job.at_risk_nanos)} may have been billed a second time"
        lines.append(f"at risk {risk}")
    return lines


def detail(job: Job, usage: Usage, shards: Sequence[Shard]) -> list[str]:
    """As `summary`, with its times, and its batches at providers."""
    lines = summary(job, usage)
    lines.append(f"created {moment(job.created_s)}, to be done by {moment(job.deadline_s)}")
    if job.options.out:
        lines.append(f"output  {job.options.out}")
    for shard in shards:
        where = f"{shard.provider} {shard.provider_batch_id or '(not created yet)'}"
        lines.append(f"batch   {where}: {shard.count} lines, {shard.state}")
    return lines


def row(job: Job) -> tuple[object, ...]:
    """A job in a table with `COLUMNS`."""
    return (
        job.id, job.state, done_in(job.counts), job.total, bad_in(job.counts),
        _money(job.cost_nanos), moment(job.created_s), job.options.out or "-",
    )  # fmt: skip


def as_json(job: Job, usage: Usage = NO_USAGE, shards: Sequence[Shard] = ()) -> dict[str, Any]:
    """A job as one JSON object; times are seconds since 1970."""
    return {
        "id": job.id,
        "state": job.state,
        "ended": job.state in JOB_ENDS,
        "endpoint": job.endpoint,
        "lines": job.total,
        "done": done_in(job.counts),
        "not_answered": bad_in(job.counts),
        "counts": dict(sorted(job.counts.items())),
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "billed_usd": job.cost_nanos / NANOS_PER_DOLLAR,
        "saved_by_cache_usd": job.saved_cache_nanos / NANOS_PER_DOLLAR,
        "saved_by_batch_usd": job.saved_batch_nanos / NANOS_PER_DOLLAR,
        "at_risk_usd": job.at_risk_nanos / NANOS_PER_DOLLAR,
        "created": job.created_s,
        "deadline": job.deadline_s,
        "out": job.options.out,
        "batches": [
            {"provider": shard.provider, "id": shard.provider_batch_id, "lines": shard.count,
             "state": shard.state}
            for shard in shards
        ],
    }  # fmt: skip


def problems_in_words(name: str, checked: Checked) -> list[str]:
    """A line for each of the first hundred, as compilers write them."""
    lines = [
        f"{name}:{one.line}: {one.message}" if one.line else f"{name}: {one.message}"
        for one in checked.problems
    ]
    more = checked.problem_count - len(checked.problems)
    if more:
        lines.append(f"{name}: and {more:,} lines more")
    return [*lines, f"{name} was refused: nothing was sent, and nothing written"]


def _in_words(counts: Mapping[str, int]) -> str:
    if not counts:
        return "no lines"
    return ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in counts.items())


def _money(nanos: int) -> str:
    """Dollars as people read them: to the cent and beyond, where there is something beyond."""
    exact = dollars(nanos)
    whole, _, fraction = exact.partition(".")
    kept = fraction[:6].rstrip("0")
    return f"{int(whole):,}.{kept:0<2}"
