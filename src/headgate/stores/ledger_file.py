"""The ledger's database file.

It holds money. After the start nothing is refused: a file that breaks or a disk that fills up costs
rows, which are counted, and never an answer.
"""

from __future__ import annotations

from headgate.stores import ledger_rows
from headgate.stores.database import Form
from headgate.stores.database_kept import KeptFile

APPLICATION_ID = 0x48474C45
"""`HGLE`."""
SCHEMA_VERSION = 1
LEDGER = KeptFile(
    Form(APPLICATION_ID, SCHEMA_VERSION, ledger_rows.SCHEMA),
    key="ledger.path",
    noun="ledger",
    advice="It holds what calls have cost, so it is not replaced. Restore it from a backup; or "
    "save what can be read with `sqlite3 {name} .recover | sqlite3 {name}.recovered`; or move it "
    "away, with its -wal and -shm, to begin a new ledger",
)
