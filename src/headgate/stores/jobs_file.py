"""The database file of durable jobs.

It holds answers that were paid for, and which batches are under way at providers: a damaged one is
never replaced.
"""

from __future__ import annotations

from headgate.stores import jobs_schema
from headgate.stores.database import Form
from headgate.stores.database_kept import KeptFile

APPLICATION_ID = 0x48474A42
"""`HGJB`."""
SCHEMA_VERSION = 1
JOBS = KeptFile(
    # Answers are larger than rows of a ledger: pages of 8 KB hold them with less waste.
    Form(APPLICATION_ID, SCHEMA_VERSION, jobs_schema.SCHEMA, page_bytes=8192),
    key="batch.jobs.path",
    noun="file of jobs",
    advice="It holds answers that were paid for, so it is not replaced. Restore it from a backup; "
    "or save what can be read with `sqlite3 {name} .recover | sqlite3 {name}.recovered`; or move "
    "it away, with its -wal and -shm, to begin anew: what is under way at a provider is billed and "
    "not fetched then",
)
