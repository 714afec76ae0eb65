"""The tables of durable jobs. What may never happen is said here a second time, with triggers:
a terminal item changes no more, and no result or ledger row is rewritten.

Inside the file a job is a number and an item the number of its line: fifty thousand rows then name
their job in a few bytes. `allowed` repeats `jobs.states.ITEM_AFTER`; a test compares the two.
"""

from __future__ import annotations

SCHEMA = """
CREATE TABLE file(
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    purpose TEXT NOT NULL, name TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    created_s REAL NOT NULL, sha256 TEXT NOT NULL
) STRICT;
CREATE INDEX file_tenant ON file(tenant, number);

CREATE TABLE job(
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    dialect TEXT NOT NULL, endpoint TEXT NOT NULL, input_file_id TEXT NOT NULL,
    created_s REAL NOT NULL, deadline_s REAL NOT NULL, state TEXT NOT NULL,
    options BLOB NOT NULL, errors BLOB NOT NULL, ended_s REAL, cancel_asked_s REAL,
    cost_nanos INTEGER NOT NULL DEFAULT 0, saved_cache_nanos INTEGER NOT NULL DEFAULT 0,
    saved_batch_nanos INTEGER NOT NULL DEFAULT 0, at_risk_nanos INTEGER NOT NULL DEFAULT 0,
    lease_owner TEXT NOT NULL DEFAULT '', lease_until_s REAL NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX job_tenant ON job(tenant, number);
CREATE INDEX job_open ON job(number)
    WHERE state NOT IN ('completed', 'failed', 'expired', 'cancelled');
CREATE INDEX job_input ON job(input_file_id);

CREATE TABLE shard(
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, job INTEGER NOT NULL,
    provider TEXT NOT NULL, submit_token TEXT NOT NULL UNIQUE, model TEXT NOT NULL,
    state TEXT NOT NULL, created_s REAL NOT NULL, items INTEGER NOT NULL,
    input_file_id TEXT NOT NULL DEFAULT '', provider_batch_id TEXT NOT NULL DEFAULT '',
    detail BLOB NOT NULL
) STRICT;
CREATE INDEX shard_job ON shard(job, number);

CREATE TABLE item(
    job INTEGER NOT NULL, line_no INTEGER NOT NULL, custom_id TEXT NOT NULL, model TEXT NOT NULL,
    request_digest BLOB NOT NULL, byte_offset INTEGER NOT NULL, byte_length INTEGER NOT NULL,
    tokens_estimated INTEGER NOT NULL, leader INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sharded', 'submitted',
        'cache_hit', 'succeeded', 'failed', 'expired', 'cancelled')),
    attempt INTEGER NOT NULL DEFAULT 0, shard INTEGER,
    PRIMARY KEY(job, line_no)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX item_named ON item(job, custom_id);
CREATE INDEX item_leading ON item(job, state, line_no) WHERE leader = 0;
CREATE INDEX item_following ON item(job, leader) WHERE leader > 0;
CREATE INDEX item_sharded ON item(shard) WHERE shard IS NOT NULL;

CREATE TABLE tally(
    job INTEGER NOT NULL, state TEXT NOT NULL, items INTEGER NOT NULL CHECK (items >= 0),
    PRIMARY KEY(job, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE body(
    number INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, content BLOB NOT NULL
) STRICT;
CREATE TABLE result(
    job INTEGER NOT NULL, line_no INTEGER NOT NULL, status_code INTEGER NOT NULL, body INTEGER,
    error_code TEXT NOT NULL, error_message TEXT NOT NULL,
    PRIMARY KEY(job, line_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX result_body ON result(body) WHERE body IS NOT NULL;
CREATE TABLE ledger(
    job INTEGER NOT NULL, line_no INTEGER NOT NULL, cost_nanos INTEGER,
    saved_cache_nanos INTEGER NOT NULL, saved_batch_nanos INTEGER NOT NULL,
    at_risk_nanos INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
    tokens_cached INTEGER NOT NULL, tokens_cache_write INTEGER NOT NULL,
    tokens_cache_write_1h INTEGER NOT NULL, tokens_reasoning INTEGER NOT NULL,
    target TEXT NOT NULL, lane TEXT NOT NULL,
    PRIMARY KEY(job, line_no)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER item_terminal BEFORE UPDATE ON item
WHEN OLD.state IN ('cache_hit', 'succeeded', 'failed', 'expired', 'cancelled')
BEGIN SELECT RAISE(ABORT, 'a terminal item never changes'); END;
CREATE TRIGGER item_moves BEFORE UPDATE OF state ON item
WHEN NEW.state <> OLD.state AND NOT CASE OLD.state
    WHEN 'queued' THEN NEW.state IN
        ('sharded', 'cache_hit', 'succeeded', 'failed', 'expired', 'cancelled')
    WHEN 'sharded' THEN NEW.state IN ('submitted', 'queued', 'cancelled')
    WHEN 'submitted' THEN NEW.state IN
        ('cache_hit', 'succeeded', 'failed', 'expired', 'cancelled', 'queued')
    ELSE FALSE END
BEGIN SELECT RAISE(ABORT, 'an item may not take this step'); END;
CREATE TRIGGER item_identity BEFORE UPDATE OF job, line_no, custom_id, request_digest, leader,
    byte_offset, byte_length ON item
BEGIN SELECT RAISE(ABORT, 'an item keeps its identity'); END;
CREATE TRIGGER item_stays BEFORE DELETE ON item
WHEN EXISTS (SELECT 1 FROM job WHERE number = OLD.job)
BEGIN SELECT RAISE(ABORT, 'an item goes with its job only'); END;
CREATE TRIGGER result_fixed BEFORE UPDATE ON result
BEGIN SELECT RAISE(ABORT, 'a result never changes'); END;
CREATE TRIGGER result_stays BEFORE DELETE ON result
WHEN EXISTS (SELECT 1 FROM job WHERE number = OLD.job)
BEGIN SELECT RAISE(ABORT, 'a result goes with its job only'); END;
CREATE TRIGGER ledger_fixed BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'a ledger row never changes'); END;
CREATE TRIGGER ledger_stays BEFORE DELETE ON ledger
WHEN EXISTS (SELECT 1 FROM job WHERE number = OLD.job)
BEGIN SELECT RAISE(ABORT, 'a ledger row goes with its job only'); END;
CREATE TRIGGER fence_rises BEFORE UPDATE OF fence ON job WHEN NEW.fence < OLD.fence
BEGIN SELECT RAISE(ABORT, 'a fence never falls'); END;
CREATE TRIGGER job_terminal BEFORE UPDATE OF state ON job
WHEN OLD.state IN ('completed', 'failed', 'expired', 'cancelled') AND NEW.state <> OLD.state
BEGIN SELECT RAISE(ABORT, 'a job that has ended stays what it is'); END;
"""

STAGED = """
CREATE TEMP TABLE staged(
    line_no INTEGER PRIMARY KEY, custom_id TEXT NOT NULL, model TEXT NOT NULL,
    request_digest BLOB NOT NULL, byte_offset INTEGER NOT NULL, byte_length INTEGER NOT NULL,
    tokens_estimated INTEGER NOT NULL
) STRICT
"""
"""Where the items of a job wait until all of them are known: a file of this connection, so that
nobody waits for a lock of the shared one meanwhile."""
