"""One declared block: what is asked for, and what nobody asked for."""

from __future__ import annotations

from headgate.generate.blocks import FINDINGS_MAX, Block, plain
from headgate.generate.model import Declaration, Finding, Node, Place

AT = Place(3, 5)


def block(findings: list[Finding], **values: object) -> Block:
    fields = {key: Node(value, AT, Place(3, 1)) for key, value in values.items()}
    return Block(Declaration("llm", "x", Place(1, 1), fields), findings)


def test_what_is_there_and_right_is_returned() -> None:
    found: list[Finding] = []
    given = block(found, a="t", b=0.5, c=4, d=(Node("x", AT),), e={"k": Node(1, AT)})
    assert (given.text("a"), given.number("b", (0, 1)), given.whole_number("c", (0, 9))) == (
        "t", 0.5, 4,
    )  # fmt: skip
    assert (given.texts("d"), given.table("e")) == (["x"], {"k": 1})
    given.end()
    assert found == []


def test_what_is_wrong_is_found_where_it_stands() -> None:
    found: list[Finding] = []
    given = block(found, a=1, b="x", c=99, d="s", q=1)
    assert (given.text("a"), given.number("b", (0, 1)), given.whole_number("c", (0, 9))) == (
        "", 0, 0,
    )  # fmt: skip
    assert given.texts("d") == ["s"]
    assert given.text("missing", needed=True) == ""
    given.end()
    assert [at for at, _ in found] == [AT, AT, AT, Place(1, 1), Place(3, 1)]


def test_nobody_needs_a_million_findings() -> None:
    found: list[Finding] = []
    block(found, **{f"k{number}": 1 for number in range(2 * FINDINGS_MAX)}).end()
    assert len(found) == FINDINGS_MAX


def test_a_node_is_plain_without_its_places() -> None:
    assert plain(Node({"a": Node((Node(1, AT), Node(None, AT)), AT)}, AT)) == {"a": [1, None]}
