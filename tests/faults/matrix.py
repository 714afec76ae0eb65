"""The fault matrix: which file shows each row, and which rows are not shown yet, and why. The rows
are those of the design, by number; `tests/faults/test_matrix.py` holds this list to the tree.

To add a row: write the file, put it here, take its number out of `TO_COME`. Its tests use a
laboratory, which judges points 1 to 7 and 10 of the oracle by itself; points 8 and 9 come from an
outbreak (outbreaks.py) or from `lab.healthy_meanwhile`. What runs without one of them says why.
"""

from __future__ import annotations

from typing import NamedTuple

ROWS = 42

SHOWN: dict[int, str] = {
    1: "test_status_errors.py",
    2: "test_retry_after.py",
    3: "test_throttled.py",
    4: "test_connect_refused.py",
    5: "test_names.py",
    6: "test_tls.py",
    7: "test_slow_first_token.py",
    8: "test_stalls.py",
    9: "test_cut_streams.py",
    10: "test_malformed_json.py",
    11: "test_truncated_sse.py",
    12: "test_sse_oddities.py",
    13: "test_wrong_content_type.py",
    14: "test_endless_reply.py",
    16: "test_client_leaves.py",
    17: "test_slow_reader.py",
    19: "test_leader_fails.py",
    20: "test_killed_writer.py",
    22: "test_disk_full.py",
    23: "test_corrupt_file.py",
    24: "test_disk_errors.py",
    28: "test_clock_jump.py",
    29: "test_worker_crash.py",
    30: "test_sigterm_drain.py",
    31: "test_reload.py",
    32: "test_cardinality.py",
    33: "test_ambiguous_json.py",
    34: "test_slow_connections.py",
    35: "test_smuggling.py",
    36: "test_compressed_bombs.py",
    37: "test_retry_storm.py",
    38: "test_bad_deployment.py",
    42: "test_blocked_loop.py",
}
"""In tests/faults."""

MORE: dict[int, tuple[str, ...]] = {
    7: ("test_hedging.py",),
    9: ("test_failover.py",),
    37: ("test_stampede.py",),
}
"""Further files of a row that is in `SHOWN`."""

ELSEWHERE: dict[int, str] = {
    15: "faults/test_failover.py",
    18: "e2e/test_crowds.py",
    21: "e2e/test_batch_lane.py",
    39: "e2e/test_client_keys.py",
    40: "e2e/test_key_budgets.py",
}
"""Rows that are shown in another folder of tests, or in the file of another row."""


class Apart(NamedTuple):
    """Why something is not judged as the rest is."""

    points: frozenset[int]
    """Those of the oracle's ten that its own tests check."""
    why: str


def _own(*points: int, why: str) -> Apart:
    return Apart(frozenset(points), why)


MEANWHILE: dict[int, str] = {
    5: "test_names.py",
    6: "test_tls.py",
    16: "test_client_leaves.py",
    17: "test_slow_reader.py",
    19: "test_leader_fails.py",
    22: "test_disk_full.py",
    24: "test_disk_errors.py",
    32: "test_cardinality.py",
    33: "test_ambiguous_json.py",
    35: "test_smuggling.py",
}
"""Rows that are no outbreak: where their neighbours are asked."""

WITHOUT_NEIGHBOUR: dict[int, Apart] = {
    18: _own(8, why="all ask one question; its answers come within a bound of their own"),
    20: _own(9, why="the process is killed: what counts is that the next one starts and serves"),
    21: _own(9, why="the process is killed: what counts is that the next one goes on with its job"),
    23: _own(9, why="a file is harmed between two processes; the second one serves at once"),
    28: _own(9, why="a clock is set and nothing fails: no call goes on meanwhile"),
    29: _own(8, 9, why="workers are processes: the others serve, and the dead one is replaced"),
    30: _own(9, why="the process ends: who comes is refused, until the next one is there"),
    31: _own(8, 9, why="all traffic is the healthy one: no call fails under reloads"),
    34: _own(8, why="a process with thousands of connections; its others are served meanwhile"),
    38: _own(8, 9, why="the healthy ones are the other deployments, over half an hour of "
             "virtual time: error rate and percentiles"),
    39: _own(9, why="no provider fails: whose key is revoked is refused, others are not touched"),
    40: _own(9, why="no provider fails: a budget is used up, and hits go on"),
    42: _own(9, why="the event loop itself stands still: nobody is served, nobody is blamed"),
}  # fmt: skip
"""Rows whose tests judge points 8 and 9 themselves, as far as they have a meaning there."""

WITHOUT_LAB: dict[str, Apart] = {
    "faults/test_clock_jump.py": _own(4, why="two clocks are set; nothing fails, so nothing is "
                                      "billed, cut or lent"),
    "faults/test_cut_streams.py": _own(1, 4, 5, why="answers are recordings of providers, whose "
                                       "usage is theirs; thousands of cuts in one gateway"),
    "faults/test_killed_writer.py": _own(3, 4, why="the process is killed, and its books with it"),
    "faults/test_reload.py": _own(1, why="a process of its own, told by signals"),
    "faults/test_sigterm_drain.py": _own(1, why="a process of its own that ends"),
    "faults/test_slow_connections.py": _own(6, 8, why="a process of its own, for its memory and "
                                            "the number of its connections"),
    "faults/test_stampede.py": _own(9, 10, why="layers per target without a gateway, in several "
                                    "processes"),
    "faults/test_worker_crash.py": _own(1, 8, 9, why="workers are processes, and are killed"),
    "e2e/test_client_keys.py": _own(1, 3, 7, why="gateways with keys of their own: status, whose "
                                    "answer, and that no key is sent on"),
    "e2e/test_key_budgets.py": _own(2, 5, why="gateways with keys of their own: what is spent is "
                                    "what the ledger books, and what was reserved comes back"),
    "e2e/test_batch_lane.py": _own(2, 7, why="commands that are killed; the provider's charges, "
                                   "the job's books and its output are compared"),
    "e2e/test_crowds.py": _own(1, 6, 10, why="a process of its own, for its memory, and for as "
                               "many connections as a machine has files"),
}  # fmt: skip
"""Files of rows whose tests run without a laboratory."""

_SHARED = "waits for the shared store"
TO_COME: dict[int, str] = dict.fromkeys((25, 26, 27, 41), _SHARED)
"""Why there is no file yet."""

NO_ROW: dict[str, str] = {
    "test_bill.py": "the ledger against the provider's bill, under faults",
    "test_cancel_everywhere.py": "every kind of call, cancelled at every moment",
    "test_matrix.py": "holds this list to the tree",
    "test_neighbours.py": "every lasting fault of a provider: neighbours, and how it recovers",
    "test_oracle.py": "shows that the oracle can fail",
}
"""Files of tests/faults that belong to no row."""
