"""Style as a test: every rule of tests/tidy against every file, and the shape of the tree.

A finding names file and line. tests/test_tidy_bites.py shows that each rule can fail.
"""

from __future__ import annotations

import pytest
from tidy.effects import roots
from tidy.rooms import LIBRARIES, ROOMS, lazy_roots, room_of
from tidy.rules import BROAD_EXCEPTS_MAX, EXEMPT, RULES, WITHOUT_MIRROR
from tidy.shape import FUNCTION_LINES_P90_MAX, length, p90
from tidy.source import ROOT, Rule, functions, sources, split, within

SOURCES = sources(("src",))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.sentence)
def test_the_house_rule_holds(rule: Rule) -> None:
    findings = [found for source in sources(rule.folders) for found in rule.check(source)]
    broken, stale = split(findings, EXEMPT.get(rule.sentence, {}))
    assert not broken, f"{rule.sentence}:\n" + "\n".join(map(str, broken))
    assert not stale, f"{rule.sentence}: no longer needed in EXEMPT:\n" + "\n".join(stale)


def test_nine_of_ten_functions_are_at_most_25_lines_long() -> None:
    lengths = [length(node) for source in SOURCES for _, node in functions(source.tree)]
    assert p90(lengths) <= FUNCTION_LINES_P90_MAX


def test_every_source_file_has_its_mirror_in_tests() -> None:
    missing = {s.path: mirror for s in SOURCES if (mirror := mirror_of(s.path))}
    missing = {path: mirror for path, mirror in missing.items() if not (ROOT / mirror).exists()}
    unexpected = [f"{p}: no {m}" for p, m in missing.items() if p not in WITHOUT_MIRROR]
    stale = sorted(set(WITHOUT_MIRROR) - set(missing))
    assert not unexpected, "\n".join(unexpected)
    assert not stale, "no longer needed in WITHOUT_MIRROR:\n" + "\n".join(stale)


def mirror_of(path: str) -> str:
    """Where the tests of a source file stand; "" for `__init__.py` and the like."""
    folder, _, file = path.removeprefix("src/headgate/").rpartition("/")
    if file.startswith("__"):
        return ""
    return f"tests/{folder}/test_{file}" if folder else f"tests/test_{file}"


def test_every_row_of_the_import_tables_is_in_use() -> None:
    rooms = {room_of(source.module) for source in SOURCES}
    assert sorted(set(ROOMS) - rooms) == [], "rooms without a file"
    nodes = [node for source in SOURCES for _, node in within(source)]
    imports = {root for node in nodes for root in (*roots(node), *lazy_roots(node))}
    assert sorted(set(LIBRARIES) - imports) == [], "libraries that nothing imports"


def test_exemptions_name_a_rule_and_give_a_reason() -> None:
    assert set(EXEMPT) <= {rule.sentence for rule in RULES}
    reasons = [why for places in EXEMPT.values() for why in places.values()]
    assert all(len(why) > 20 for why in [*reasons, *WITHOUT_MIRROR.values()])


def test_at_most_three_places_catch_everything() -> None:
    assert len(EXEMPT.get("excepts are narrow", {})) <= BROAD_EXCEPTS_MAX
