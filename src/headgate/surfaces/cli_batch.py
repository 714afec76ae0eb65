"""`headgate batch`: a file of requests is worked off durably, by this machine, without a gateway.

Nothing is sent before the whole file was found good, and before the job stands on the disk.
Whatever ends the work, `headgate batch resume` goes on with it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headgate import config_file
from headgate.clock import SystemClock
from headgate.config import Config
from headgate.core.units import parse_duration
from headgate.errors import ConfigError, Problem
from headgate.jobs.failpoints import reach
from headgate.jobs.model import LIVE, Job, JobOptions
from headgate.jobs.plan import Choice
from headgate.jobs.states import CANCELLING, JOB_CANCELLED, JOB_ENDS
from headgate.stores.jobs import JobsFile
from headgate.surfaces import cli_batch_output as output
from headgate.surfaces import cli_batch_shown as shown
from headgate.surfaces import terminal
from headgate.surfaces.cli_batch_input import Input, read_input
from headgate.surfaces.cli_batch_lock import held
from headgate.surfaces.cli_batch_plan import (
    PLAN_COLUMNS,
    Part,
    Planner,
    plan_as_json,
    plan_in_rows,
    plan_in_words,
)
from headgate.surfaces.cli_batch_work import wait, work
from headgate.surfaces.cli_config import ConfigOption, JsonOption
from headgate.types import Usage

_FAILED, _WRONG, _INTERRUPTED = 1, 2, 130
_SHOWN = 20
_TENANT = ""
_JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="As `headgate batch status` shows it.")
]


class Lane(StrEnum):
    """Where a job runs."""

    AUTO = "auto"
    BATCH = "batch"
    LIVE = "live"


def register(app: typer.Typer) -> None:
    """Adds the group of commands to `app`."""
    group = typer.Typer(help="Files of requests, worked off durably.", no_args_is_help=True)
    for command in (run, status, resume, cancel):
        group.command()(command)
    app.add_typer(group, name="batch")


def run(
    file: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="OpenAI's batch format.")],
    out: Annotated[Path, typer.Option(help="Where the results go; a new file.")],
    deadline: Annotated[str, typer.Option(help="When it is to be done, as 24h.")] = "",
    lane: Annotated[
        Lane | None, typer.Option(help="At the provider's batch API, live, or what is best.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every line of a file; wait for the answers, and write them."""
    place = output.check(out)
    loaded = config_file.load_or_default(config, os.environ)
    settings: Config = loaded.config
    for note in loaded.notes:
        terminal.warn(f"note: {note}")
    deadline_s = _seconds(deadline) if deadline else settings.batch.jobs.deadline
    jobs = settings.batch.jobs
    options = JobOptions(
        lane=lane.value if lane else jobs.lane, rescue=jobs.rescue, resubmit=jobs.resubmit,
        out=str(place), window=deadline or f"{deadline_s:g}s",
    )  # fmt: skip
    found = _found_good(file, settings)
    planner = Planner(settings, SystemClock())
    if dry_run:
        parts = planner.plan(found.checked, options, deadline_s)
        _tell_plan(found, parts, as_json=as_json)
        return
    choices = planner.choices(found.checked, options, deadline_s)
    if lane is Lane.BATCH:
        _check_batch(choices)
    reach("validated")
    with _opened(settings) as store:
        job = found.create(store, options, deadline_s)
        reach("committed")
        terminal.warn(f"{job.id}: {found.count:,} lines, {found.different:,} different")
        for model, chosen in choices.items():
            terminal.warn(f"{model}: {chosen.lane}: {chosen.reason}")
        _work(settings, store, job, config, as_json=as_json)


def status(
    job: Annotated[str, typer.Argument(metavar="[JOB]", help="One job, or the last ones.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """How jobs stand."""
    settings = config_file.load_or_default(config, os.environ).config
    if job:
        with _opened(settings, job) as store:
            _tell_one(store, _known(store, job), as_json=as_json)
        return
    found: list[Job] = []
    usages: list[Usage] = []
    if Path(settings.batch.jobs.path).exists():
        with _opened(settings) as store:
            found = store.jobs(_TENANT, limit=_SHOWN)
            usages = [store.usage(one.id) for one in found]
    if as_json:
        terminal.emit_json(
            {"jobs": [shown.as_json(*each) for each in zip(found, usages, strict=True)]}
        )
    else:
        terminal.table("", shown.COLUMNS, [shown.row(one) for one in found])


def resume(job: _JobArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Go on with a job that was interrupted, whatever interrupted it."""
    settings = config_file.load_or_default(config, os.environ).config
    with _opened(settings, job) as store:
        _work(settings, store, _known(store, job), config, as_json=as_json)


def cancel(job: _JobArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Ask no more of a job, and write what there is; what is under way may end."""
    settings = config_file.load_or_default(config, os.environ).config
    with _opened(settings, job) as store:
        known = store.ask_cancel(job, _TENANT)
        if known is None:
            raise _unknown(job)
        if known.state in JOB_ENDS and known.state != JOB_CANCELLED:
            terminal.fail(f"{job} has ended already: {known.state}")
        _work(settings, store, known, config, as_json=as_json, to_end_it=True)


def _work(
    settings: Config, store: JobsFile, job: Job, config: Path | None, *, as_json: bool,
    to_end_it: bool = False,
) -> None:  # fmt: skip
    """Works on a job that may have ended already, and ends the program as it ended; `to_end_it`:
    lines without an answer are what was wanted."""
    if job.state == CANCELLING:
        # Another process may be at it: it ends the job, and writes the results.
        job = wait(store, job.id)
    with held(store.path, job.id) as is_ours:
        if not is_ours:
            terminal.fail(f"another process works on {job.id}; see headgate batch status")
        interrupted = False
        if job.state not in JOB_ENDS:
            if not to_end_it and os.path.lexists(job.options.out):
                terminal.fail(f"{job.options.out} is there already: move it away", _WRONG)
            job, interrupted = work(settings, store, job.id)
        is_done = job.state in JOB_ENDS
        if is_done and job.options.out:
            output.write(store, job, Path(job.options.out))
    _tell_one(store, job, as_json=as_json)
    if not is_done:
        named = f" --config {config}" if config else ""
        terminal.warn(f"not done: go on with: headgate batch resume {job.id}{named}")
        sys.exit(_INTERRUPTED if interrupted else _FAILED)
    if shown.bad_in(job.counts) and not to_end_it:
        sys.exit(_FAILED)


def _tell_one(store: JobsFile, job: Job, *, as_json: bool) -> None:
    usage = store.usage(job.id)
    shards = [shard for shard in store.shards(job.id) if shard.provider != LIVE]
    if as_json:
        terminal.emit_json(shown.as_json(job, usage, shards))
        return
    for line in shown.detail(job, usage, shards):
        terminal.say(line)


def _check_batch(choices: Mapping[str, Choice]) -> None:
    """Who wants batch prices does not want to pay others without being asked."""
    for model, chosen in choices.items():
        if chosen.lane != Lane.BATCH:
            raise ConfigError([Problem("--lane batch", f"model {model!r}: {chosen.reason}")])


def _tell_plan(found: Input, parts: list[Part], *, as_json: bool) -> None:
    if as_json:
        terminal.emit_json(plan_as_json(found.checked, parts))
        return
    terminal.table("", PLAN_COLUMNS, plan_in_rows(parts))
    for line in plan_in_words(found.checked, parts):
        terminal.say(line)


def _found_good(file: Path, settings: Config) -> Input:
    """The input; ends the program where a line of it is wrong."""
    found = read_input(file, settings)
    if found.checked.problem_count:
        terminal.fail("\n".join(shown.problems_in_words(str(file), found.checked)), _WRONG)
    return found


@contextmanager
def _opened(settings: Config, job: str = "") -> Iterator[JobsFile]:
    """The jobs of this machine. Where one is named there must be some."""
    path = Path(settings.batch.jobs.path)
    if job and not path.exists():
        raise _unknown(job)
    with JobsFile(path, SystemClock()) as store:
        yield store


def _known(store: JobsFile, job_id: str) -> Job:
    job = store.job(job_id, _TENANT)
    if job is None:
        raise _unknown(job_id)
    return job


def _unknown(job_id: str) -> ConfigError:
    named = f"there is no job {job_id[:80]!r} here; see headgate batch status"
    return ConfigError([Problem("", named)])


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigError([Problem("--deadline", str(error))]) from None
    if not 60 <= seconds <= 30 * 86_400:
        raise ConfigError([Problem("--deadline", "must be from 1m to 30d")])
    return float(seconds)
