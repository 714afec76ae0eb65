"""The fault matrix: which file shows each row, and which rows are not shown yet, and why. The rows
are those of the design, by number; `tests/faults/test_matrix.py` holds this list to the tree.

To add a row: write the file, put it here, take its number out of `TO_COME`.
"""

from __future__ import annotations

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
}
"""Rows that are shown in another folder of tests, or in the file of another row."""

_SHARED = "waits for the shared store"
_LEDGER = "waits for keys, budgets and the ledger"
_JOBS = "waits for durable batches"
TO_COME: dict[int, str] = {
    **dict.fromkeys((25, 26, 27, 41), _SHARED),
    **dict.fromkeys((39, 40), _LEDGER),
    21: _JOBS,
}
"""Why there is no file yet."""

NO_ROW: dict[str, str] = {
    "test_bill.py": "the ledger against the provider's bill, under faults",
    "test_cancel_everywhere.py": "every kind of call, cancelled at every moment",
    "test_matrix.py": "holds this list to the tree",
    "test_neighbours.py": "every lasting fault of a provider: neighbours, and how it recovers",
    "test_oracle.py": "shows that the oracle can fail",
}
"""Files of tests/faults that belong to no row."""
