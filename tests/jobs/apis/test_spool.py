"""What is to be sent, on disk: read again from its beginning by every try, gone afterwards."""

from __future__ import annotations

from headgate.jobs.apis.spool import Spooled


def test_every_try_reads_all_of_it_from_the_beginning() -> None:
    with Spooled() as spooled:
        spooled.file.write(b"a" * 10)
        for _ in range(2):
            with spooled.upload.open() as opened:
                assert opened.read() == b"a" * 10


def test_what_a_try_has_left_open_is_closed() -> None:
    with Spooled() as spooled:
        spooled.file.write(b"abc")
        opened = spooled.upload.open()
        assert opened.read(1) == b"a"
    assert opened.closed
    assert spooled.file.closed
