"""Rules on who may import whom: two tables, one line for each room.

Imports go one way, from the surfaces down to the types. A name that ends a row covers everything
below it (`core` is `core.units` too); the longest row that fits a file is its room.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping

from tidy.effects import imported, roots
from tidy.source import ROOT, Finding, Function, Source, at, called, within

PACKAGE = "headgate"
# room: what it may import of headgate. Lazy imports (importlib) count like any other.
ROOMS = {
    "types": "",
    "errors": "",
    "clock": "",
    "core": "core types errors",
    "stream": "core types errors",
    "metrics": "core types",
    # Streams on their way in, and answers in the shape that is wanted.
    "events": "core stream types errors",
    # What an attempt came to, and what stands between a call and a target.
    "attempts": "core events stream types errors",
    "guard_refusals": "core errors",
    "guards": "guard_refusals core types errors clock",
    # What a call takes of a rate, and who waits for a place.
    "spending": "attempts core stream types",
    "lanes": "core errors clock",
    # What a call costs: its account, and the books of the process.
    "account": "trail core spending stream types",
    # Of a request for several calls: it books each its part.
    "account_joint": "account trail core types",
    "trail": "core types",
    # The log of calls: what happened to each, and why; it writes nothing.
    "calllog": "calllog account trail core stream types clock",
    # Whoever looks at the numbers every so often.
    "monitor": "webhook core errors clock",
    "webhook": "core errors",
    "ledger": "account stores.base core types clock",
    "reshape": "core stream types",
    "joining": "joining core stream types errors",
    # What goes upstream for several calls is booked to each.
    "joining.company": "joining account core stream types errors",
    # A store knows its promises, never another store.
    "stores.base": "core types",
    # Files are opened in one place: where one is broken, some begin anew and others are kept.
    "stores.database": "stores.database errors",
    "stores.ledger": "stores.base stores.ledger stores.database core types errors clock",
    "stores": "stores.base stores.codec core types errors clock",
    "stores.sqlite": "stores.base stores.codec stores.sqlite stores.database core types errors "
    "clock",
    # A layer never imports another layer, nor a concrete store.
    # Fallback chooses targets, a second one too.
    "layers.fallback": "layers.hedge attempts guards core errors clock types",
    "layers.settings": "layers.cache_settings jobs.settings core",
    "jobs.settings": "core",
    "layers.cache_settings": "core types",
    "layers": "account trail calllog ledger stores.base stores.tiers joining events attempts "
    "guards spending lanes reshape core stream metrics types errors clock",
    "stores.keys": "stores.keys stores.database core types errors clock",
    # It keeps the nouns of jobs, and knows their rules.
    "stores.jobs": "stores.jobs stores.database jobs core types errors clock",
    "budgets": "stores.keys core errors clock",
    "clients": "budgets stores.keys admission_head config core types errors clock",
    "providers.settings": "core types",
    "providers.wire": "types",
    "providers.wire_client": "providers.settings providers.wire providers.wire_aiohttp",
    "providers.wire_aiohttp": "providers.wire providers.wire_names types errors",
    "providers": "providers core stream types errors clock",
    # What is known before any call: `config` is a value, `config_file` reads it from a file.
    "config": "jobs.limits_settings layers.settings providers.settings core types config_file",
    "config_file": "config routing layers.settings providers.settings core types errors",
    # For any callable, without a runtime.
    "circuitbreaker": "core errors clock",
    # A call on its way in.
    "portal": "stream types errors",
    "invocation": "portal config core types",
    "decorating": "invocation",
    "batching": "",
    "routing": "config providers.settings types errors",
    "admission": "admission routing config layers.settings layers.cache_settings "
    "providers.settings core types errors",
    # What tokens cost; the table of prices is loaded off the path of calls.
    "pricing": "pricing routing config providers.settings core clock",
    # The stack, and what keeps it running.
    "resilience_settings": "config layers.settings providers.settings core types",
    "pipeline": "lanes ledger calllog layers joining providers stores.tiers guards "
    "resilience_settings config metrics core types clock",
    "runtime_numbers": "layers.settings stores.base",
    "guard_numbers": "guards core",
    # Spans, for whoever wants them; the package is an extra, loaded by name.
    "telemetry": "telemetry ledger metrics spending stream events config providers.settings core "
    "types errors clock",
    "runtime_parts": "telemetry metrics ledger calllog layers.cache_settings pricing stores.ledger "
    "pipeline config providers.settings providers.wire providers.wire_client stores.base "
    "stores.memory stores.sqlite stores.tiers types clock",
    # It makes the transport of the SDKs when one is asked for: no other room imports a surface.
    "runtime": "batching decorating monitor runtime_numbers runtime_parts guard_numbers guards "
    "pipeline lanes admission invocation portal layers.cache layers.fill config metrics stream "
    "types errors clock surfaces.transport",
    # For users' own tests; nothing of headgate needs them.
    "testing_server": "types",
    "testing_steps": "testing_server providers.fake types",
    "faultserver": "faultserver testing_server testing_steps providers.fake core errors clock",
    "testing": "testing_server testing_steps faultserver core",
    # Durable jobs: pure nouns and rules; what works them off stands on the runtime.
    "jobs": "jobs core types errors clock",
    "jobs.limits_settings": "core",
    "jobs.limits": "jobs providers.settings core",
    "jobs.asking": "jobs runtime admission admission_head spending stream config core types errors",
    "jobs.live": "jobs batching runtime core errors clock",
    # The batch lane, and the batch APIs of providers over the project's own wire.
    "jobs.apis": "jobs.apis providers.wire providers.wire_client providers.http "
    "providers.settings core types errors clock",
    "jobs.shard": "jobs runtime core stream types errors clock",
    "jobs.shards": "jobs providers.settings runtime core errors clock",
    "jobs.choosing": "jobs runtime core clock",
    "jobs.runner": "jobs runtime core errors clock",
    # What is counted, over all workers: they share a file of their own.
    "stores.numbers": "stores.database core errors",
    "surfaces.counting": "runtime guards metrics config core",
    "surfaces.numbers": "surfaces runtime stores.numbers core errors",
    "surfaces.exposition": "surfaces stores.numbers core",
    "surfaces.statistics": "surfaces metrics stores.numbers core",
    # Thin: translate, call Runtime, translate back.
    "surfaces": "surfaces runtime telemetry jobs calllog admission clients clock config "
    "config_file stream core types errors",
    # The store of jobs, and who works on them.
    "surfaces.job": "surfaces jobs stores.jobs runtime clients clock errors",
    # It notes when something was logged.
    "surfaces.logs": "surfaces calllog config core clock",
    "surfaces.cli": "surfaces runtime monitor clients clock pricing jobs stores.base stores.ledger "
    "stores.keys config config_file core types errors demo generate",
    # Jobs of this machine; no gateway is needed.
    "surfaces.cli_batch": "surfaces pricing runtime admission jobs stores.jobs layers.settings "
    "providers.settings clock config config_file core types errors",
    # What generated backends call: the operations and the spelling of the gateway, without it.
    "backend": "backend surfaces.operations surfaces.readiness surfaces.provenance "
    "surfaces.dialect runtime admission config_file stream core types errors",
    # From a file that declares an app to the files of its backend; it asks nobody.
    "generate": "generate config_file core errors",
    # Answers put and taken by hand.
    "shelf": "runtime invocation stream core types",
    # Apps of N3; what joins their backends is loaded when `bind` asks for it.
    "n3": "n3 runtime batching shelf circuitbreaker config metrics layers.settings stream types "
    "errors clock",
    "n3_asking": "backend runtime errors",
    "n3_llms": "n3_asking backend runtime errors",
    "n3_bind": "n3_llms integrations.fastapi backend config config_file providers.settings types "
    "errors",
    # For frameworks; nothing of headgate needs them, but a bound backend has FastAPI.
    "integrations": "backend runtime shelf config stream types errors",
    "demo": "demo surfaces runtime testing config providers.settings core types errors clock",
    # The names users import, resolved when first used.
    "": "runtime config circuitbreaker errors",
    "__main__": "surfaces.cli",
}
# package: the rooms that may import it. httptools and uvloop are uvicorn's, chosen by name there.
LIBRARIES = {
    "msgspec": "*",
    "apsw": "stores",
    "aiohttp": "providers.wire_aiohttp",
    "yarl": "providers.wire_aiohttp",
    "pydantic": "config_file",
    "genai_prices": "pricing",
    "uvicorn": "surfaces demo",
    "uvloop": "surfaces.cli_batch",
    "prometheus_client": "surfaces",
    "typer": "surfaces",
    "rich": "surfaces demo",
    "openai": "demo",
    # Of an extra: the grammar of programs.
    "lark": "generate.program",
    # Of extras: the frameworks that are joined.
    "fastapi": "integrations.fastapi",
    "instructor": "integrations.instructor",
    "langchain_core": "integrations.langchain",
    "opentelemetry": "telemetry",
    # Of the SDKs; loaded when the first of them asks.
    "httpx2": "surfaces.transport",
    "httpx": "surfaces.transport",
}


def room_of(module: str) -> str | None:
    """The row of `ROOMS` for a module, None where it has none."""
    fitting = [room for room in ROOMS if covers(room, module)]
    return max(fitting, key=len, default=None)


def covers(room: str, module: str) -> bool:
    """Whether a name in the tables stands for `module`; a room is also its files `room_...`."""
    if not room:
        return not module
    return module == room or module.startswith((f"{room}.", f"{room}_"))


def every_file_has_a_room(source: Source) -> Iterator[Finding]:
    if room_of(source.module) is None:
        yield Finding(source.path, 1, "", "stands in no room: add a row to ROOMS")


def imports_go_one_way(source: Source) -> Iterator[Finding]:
    """Nobody imports the surfaces; each room imports what its row names and itself never loops."""
    allowed = ROOMS.get(room_of(source.module) or "", "").split()
    for name, line, module in ours(source):
        if not any(covers(room, module) for room in allowed):
            message = f"imports headgate.{module}; its room may import: {' '.join(allowed) or '-'}"
            yield Finding(source.path, line, name, message)


def ours(source: Source) -> Iterator[tuple[str, int, str]]:
    """(function, line, module below headgate) of every import of headgate's own."""
    for name, node in within(source):
        for module in [*_imported_modules(node), *_lazy_module(node)]:
            if module.split(".")[0] == PACKAGE:
                yield name, getattr(node, "lineno", 1), module.partition(".")[2]
        if any(module.startswith(".") for module in imported(node)):
            yield name, getattr(node, "lineno", 1), "(relative import)"


def _imported_modules(node: ast.AST) -> Iterator[str]:
    for module in imported(node):
        if isinstance(node, ast.ImportFrom) and (ROOT / "src" / module.replace(".", "/")).is_dir():
            yield from (f"{module}.{alias.name}" for alias in node.names)
        else:
            yield module


def _lazy_module(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and called(node).endswith("import_module"):
        yield from (str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant))


def lazy_roots(node: ast.AST) -> list[str]:
    """As `roots`, of a module that `importlib` imports."""
    return [module.split(".")[0] for module in _lazy_module(node)]


def libraries_stay_in_their_rooms(source: Source) -> Iterator[Finding]:
    for name, node in within(source):
        for root in {*roots(node), *lazy_roots(node)}:
            if not _may_import(source.module, root, LIBRARIES):
                message = f"imports {root}, which is not a library of this room"
                yield at(source, node, name, message)


def _may_import(module: str, root: str, libraries: Mapping[str, str]) -> bool:
    if not root or root == PACKAGE or root in sys.stdlib_module_names:
        return True
    rooms = libraries.get(root, "").split()
    return "*" in rooms or any(covers(room, module) for room in rooms)


def imports_stand_on_top(source: Source) -> Iterator[Finding]:
    """An import inside a function hides what the file needs."""
    inside = {
        id(child): node.name
        for node in ast.walk(source.tree)
        if isinstance(node, Function)
        for child in ast.walk(node)
    }
    for name, node in within(source):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) in inside:
            yield at(source, node, name, "import inside a function")
