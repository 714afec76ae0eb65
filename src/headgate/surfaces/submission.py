"""From a file of lines to a job: nothing is accepted before everything in it was looked at.

A line may only ask for what its sender may ask for, and only where the gateway has a key of its
own: nobody's credential is kept with a job.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from headgate.config import Config
from headgate.core.client import Client
from headgate.errors import BadRequest, UnknownModel
from headgate.jobs.base import JobStore
from headgate.jobs.ids import job_id
from headgate.jobs.lines import OPERATIONS, Refusal, check
from headgate.jobs.model import LIVE, Job, JobOptions, StoredFile
from headgate.jobs.states import JOB_FAILED
from headgate.runtime import Runtime
from headgate.surfaces.batch_asked import Asked, unknown
from headgate.surfaces.job_desk import Desk
from headgate.types import NO_CONTROLS, TARGET, Policy, Route


class Wanted(NamedTuple):
    """What a request for a job says."""

    endpoint: str
    window_s: float
    options: JobOptions


class Submission:
    """Makes jobs under one configuration."""

    def __init__(self, runtime: Runtime, desk: Desk) -> None:
        self._runtime = runtime
        self._desk = desk
        self._settings = runtime.config.batch.jobs

    async def submit(self, asked: Asked, file: StoredFile, wanted: Wanted) -> Job:
        """The job that stands in the store from now on; one that has failed, where something is
        wrong with a line. Raises BadRequest, and SpendExhausted where the sender's budget is used
        up."""
        head = asked.head
        if head.controls is not NO_CONTROLS:
            raise BadRequest("Cache-Control and headgate-* headers are not kept with a batch")
        if wanted.endpoint not in OPERATIONS:
            known = ", ".join(OPERATIONS)
            raise BadRequest(f'"endpoint" must be one of: {known}', code="invalid_endpoint")
        lane: str = self._settings.lane
        if head.client is not None and head.client.purse is not None:
            # Who has nothing left need not begin. Only on the ordinary path each line is weighed
            # before it is asked: a provider's batch would be paid for whatever is left by then.
            head.client.purse.release(head.client.purse.reserve(1))
            lane = LIVE
        said = ((name.decode(), value.decode("latin-1")) for name, value in head.behaviour)
        options = replace(
            wanted.options,
            lane=lane,
            rescue=self._settings.rescue,
            resubmit=self._settings.resubmit,
            client="" if head.client is None else head.client.id,
            headers=tuple(said),
        )
        now_s = self._desk.clock.wall()
        job = Job(
            id=job_id(),
            tenant=asked.tenant,
            endpoint=wanted.endpoint,
            input_file_id=file.id,
            created_s=now_s,
            deadline_s=now_s + wanted.window_s,
            options=options,
        )
        made = await self._desk.study(lambda store: self._make(store, job, file, head.client))
        self._desk.wake()
        return made

    def _make(self, store: JobStore, job: Job, file: StoredFile, client: Client | None) -> Job:
        def judge(model: str, endpoint: str) -> Policy | Refusal:
            return self._judge(model, OPERATIONS[endpoint], client)

        with store.open_file(file) as opened:
            checked = check(opened, judge, self._settings, job.endpoint)
        if checked.problems:
            problems = tuple(checked.problems)
            job = replace(job, state=JOB_FAILED, ended_s=job.created_s, errors=problems)
        store.create(job, checked.lines)
        if store.file(file.id, file.tenant) is None:
            # It was deleted while it was read. From now on it could not be.
            store.ask_cancel(job.id, job.tenant)
            raise unknown("file", file.id)
        return store.job(job.id, job.tenant) or job

    def _judge(self, model: str, operation: str, client: Client | None) -> Policy | Refusal:
        """What the cache may keep of a model, or why it may not be asked for. Raises BadRequest
        where it could be asked with the sender's own credential only."""
        if client is not None and not client.allows(model):
            return Refusal("model_not_allowed", f"this key may not ask for model {model[:200]!r}")
        admission, config = self._runtime.admission, self._runtime.config
        try:
            name, routes = admission.resolve(model, operation)
        except UnknownModel as error:
            return Refusal(error.code, error.message)
        if not any(route.role == TARGET and _has_key(config, route) for route in routes):
            provider = routes[0].target.provider
            raise BadRequest(
                f"provider {provider!r}, which serves model {model[:200]!r}, has no key of its own "
                "here, and what clients send is never kept with a batch: the operator of this "
                f"gateway has to set providers.{provider}.api_key",
                code="provider_key_missing",
            )
        return admission.policy(name)


def _has_key(config: Config, route: Route) -> bool:
    provider = config.providers[route.target.provider]
    return provider.has_key or provider.kind == "fake"
