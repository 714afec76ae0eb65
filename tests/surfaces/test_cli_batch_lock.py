"""One process a job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from programs import environment

from headgate.surfaces.cli_batch_lock import held, is_free

JOB, OTHER = f"job_{'a' * 32}", f"job_{'b' * 32}"
_HOLDER = """
import sys
from pathlib import Path
from headgate.surfaces.cli_batch_lock import held
with held(Path(sys.argv[1]), sys.argv[2]) as is_ours:
    print(is_ours, flush=True)
    sys.stdin.read()
"""


def test_a_job_is_held_by_one_process_and_free_when_that_is_killed(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.db"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(jobs), JOB], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        with held(jobs, JOB) as is_ours:
            assert not is_ours
        assert not is_free(jobs, JOB)
        assert is_free(jobs, OTHER)
        holder.kill()
        holder.wait(20)
        assert is_free(jobs, JOB)
        with held(jobs, JOB) as is_ours:
            assert is_ours


def test_the_file_of_the_lock_is_for_nobody_else(tmp_path: Path) -> None:
    with held(tmp_path / "jobs.db", JOB):
        assert (tmp_path / "jobs.db-lock").stat().st_mode & 0o777 == 0o600
