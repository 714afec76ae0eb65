"""Works on one job in the batch lane, in a process of its own that a test kills.

FOLDER URL KIND JOB [cancel]
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from batchlab import bench, config_of


async def main(folder: str, url: str, kind: str, name: str, *more: str) -> None:
    async with bench(Path(folder), config_of(url, kind)) as desk:
        job = desk.store.job(name, None)
        assert job is not None
        await desk.run(job, is_cancelling=more == ("cancel",))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
