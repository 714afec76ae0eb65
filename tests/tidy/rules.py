"""The rules of the house in one list, and the places that are excused from one, each with why.

An excuse that covers nothing any more fails, so this list can only shrink; a new one needs a reason
that a reader would accept.
"""

from __future__ import annotations

from tidy import effects, rooms, shape, state, words
from tidy.source import FOLDERS, Rule

PROGRAMS = ("src", "scripts", "benchmarks")

RULES = (
    Rule("files are short", shape.files_are_short, FOLDERS),
    Rule("functions are short", shape.functions_are_short, FOLDERS),
    Rule("functions are flat", shape.functions_are_flat, FOLDERS),
    Rule("parameters are few", shape.parameters_are_few, FOLDERS),
    Rule("files open with a docstring", shape.files_open_with_a_docstring, FOLDERS),
    Rule("public names are documented", shape.public_names_are_documented),
    Rule("names say something", words.names_say_something, PROGRAMS),
    Rule("modules keep no state", state.modules_keep_no_state, PROGRAMS),
    Rule("imports stand on top", rooms.imports_stand_on_top, PROGRAMS),
    Rule("every file has a room", rooms.every_file_has_a_room),
    Rule("imports go one way", rooms.imports_go_one_way),
    Rule("libraries stay in their rooms", rooms.libraries_stay_in_their_rooms),
    Rule("core is pure", effects.core_is_pure),
    Rule("time and dice come from the clock", effects.time_and_dice_come_from_the_clock),
    Rule("excepts are narrow", effects.excepts_are_narrow),
    Rule("strings are not code", effects.strings_are_not_code, PROGRAMS),
    Rule("SQL is fixed", effects.sql_is_fixed, PROGRAMS),
)

BROAD_EXCEPTS_MAX = 4

# sentence of the rule: {place: why}
EXEMPT: dict[str, dict[str, str]] = {
    "excepts are narrow": {
        "src/headgate/layers/observe.py::observe.layer.service": "counts whatever ends a call, a "
        "cancellation too, and raises it again",
        "src/headgate/portal.py::CallerThread._perform": "runs a user's callable, which may raise "
        "anything: it is handed to the caller as it is",
        "src/headgate/stream.py::copied": "runs a user's __deepcopy__, which may raise anything: "
        "the answer was paid for and goes to its caller all the same",
        "src/headgate/stream.py::Tap.__anext__": "says how the stream ended, whatever ended it, "
        "and raises it again",
    },
    "parameters are few": {
        "src/headgate/surfaces/cli_cache.py::clear": "typer makes one option of each parameter",
        "src/headgate/surfaces/cli_monitor.py::monitor": "typer makes one option of each parameter",
        "src/headgate/surfaces/cli_batch.py::run": "typer makes one option of each parameter",
        "src/headgate/surfaces/cli_keys.py::create": "typer makes one option of each parameter",
    },
    "modules keep no state": {
        "src/headgate/n3.py::_llm_cache": "generated backends hold their cache in a module, and "
        "the seed's examples import it by this name",
        "src/headgate/n3.py::_llm_metrics": "as _llm_cache: the seed's examples import it by this "
        "name",
    },
    "SQL is fixed": {
        "src/headgate/stores/database.py::_make": "runs the schema of a `Form`, which is the "
        "constant of the room whose file it is",
    },
    "names say something": {
        "benchmarks/load.py::Asker.data_received": "asyncio calls it by this name",
        "src/headgate/surfaces/connection.py::Connection.data_received": "asyncio calls it by this "
        "name",
    },
    "strings are not code": {
        "src/headgate/invocation.py": "only `marshal.dumps`, as a fingerprint of built-in values; "
        "nothing is ever loaded",
    },
    "files open with a docstring": {
        "src/headgate/errors.py": "the tree of errors is drawn on top, one line for each",
        "src/headgate/stores/base.py": "the promises of a store stand on top, numbered: every "
        "store and its tests refer to them",
    },
}

# Source files without a test file of their own name: {path: where they are tested instead, and why}
WITHOUT_MIRROR: dict[str, str] = {
    "src/headgate/backend/declared.py": "values only: tests/backend/test_service.py asks every one",
    "src/headgate/generate/model.py": "values only, and how a finding is shown: "
    "tests/generate/test_building.py",
    "src/headgate/layers/cache_settings.py": "defaults and bounds only: tests/test_config_file.py, "
    "and per model tests/test_admission.py",
    "src/headgate/core/permits.py": "values only: tests/core/test_breaker.py and test_gate.py read "
    "every one of them",
    "src/headgate/layers/settings.py": "defaults and bounds only: tests/test_config_file.py",
    "src/headgate/providers/settings.py": "defaults and bounds only: tests/test_config_file.py",
    "src/headgate/providers/wire.py": "a Protocol: tests/providers/test_wire_client.py holds the "
    "implementation to it",
    "src/headgate/jobs/base.py": "a Protocol: tests/contracts/test_job_stores.py holds every store "
    "to its promises",
    "src/headgate/jobs/settings.py": "defaults and bounds only: tests/test_config_file.py",
    "src/headgate/stores/base.py": "a Protocol: the tests of each store hold it to the promises",
}
