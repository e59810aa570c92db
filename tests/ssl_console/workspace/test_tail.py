"""Following files that grow: whole lines, none twice, none lost, for any content."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ssl_console.workspace.events import EventTail, LineTail, last_lines


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_line_is_given_out_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = LineTail(path)
    assert tail.poll() == []
    append(path, b"one\ntw")
    assert tail.poll() == [b"one"]
    assert tail.poll() == []
    append(path, b"o\n\nthree\n")
    assert tail.poll() == [b"two", b"", b"three"]


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=30), st.data())
def test_however_it_is_written_the_same_lines_are_read(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines)
    path = Path(f"/tmp/.tail-{os.getpid()}")
    path.write_bytes(b"")
    tail, read, start = LineTail(path), [], 0
    while start < len(text):
        stop = data.draw(st.integers(start + 1, len(text)))
        append(path, text[start:stop])
        read += tail.poll(limit=data.draw(st.integers(40, 80)))
        start = stop
    while more := tail.poll():
        read += more
    path.unlink()
    assert read == lines


def test_file_that_was_cut_short_or_replaced_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a long line\n")
    tail = LineTail(path)
    assert tail.poll() == [b"a long line"]
    path.write_bytes(b"cut\n")
    assert tail.poll() == [b"cut"]
    (tmp_path / "new").write_bytes(b"another file\n")
    (tmp_path / "new").replace(path)
    assert tail.poll() == [b"another file"]


def test_one_poll_reads_a_bounded_amount(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 99 + b"\n" + b"y" * 99 + b"\n")
    tail = LineTail(path)
    assert tail.poll(limit=150) == [b"x" * 99]
    assert tail.poll(limit=150) == [b"y" * 99]


def test_garbage_without_line_ends_is_passed_through_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(os.urandom(1 << 18).replace(b"\n", b" "))
    tail = LineTail(path)
    assert sum(map(len, tail.poll(1 << 17))) == 1 << 17
    assert sum(map(len, tail.poll(1 << 17))) == 1 << 17


def test_tail_of_a_long_file_begins_at_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(1000)))
    tail = LineTail(path)
    tail.skip_to_last(30)
    assert tail.poll() == [b"line 997", b"line 998", b"line 999"]


def test_line_that_is_no_event_is_counted_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(
        b'{"kind":"advance","time":1.0,"done":3}\n'
        b"\x00\xff\xfe\n"
        b'{"kind":"dance","time":1.0}\n'
        b'{"kind":"advance","time":1.0,"done":"many"}\n'
        b"[]\n\n"
        b'{"kind":"advance","time":2.0,"done":4,"from":"a newer version"}\n'
    )
    tail = EventTail.of(path)
    assert [event.done for event in tail.poll()] == [3, 4]
    assert tail.bad_lines == 4


def test_writer_that_dies_in_a_line_harms_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "events"
    program = 'import os; os.write(1, b\'{"kind":"heartbeat","time":1.0}\\n{"kind":"adv\'); os.kill(os.getpid(), 9)'
    with path.open("ab") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=False)
    tail = EventTail.of(path)
    assert len(tail.poll()) == 1
    append(path, b'\n{"kind":"heartbeat","time":2.0}\n')
    assert len(tail.poll()) == 1
    assert tail.bad_lines == 1


def test_last_lines_of_a_log_are_safe_for_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n 10%\r 50%\r100%\n\x1b[31mred\x1b[0m \xff\n\n")
    assert last_lines(path, 2) == ("100%", "red \N{REPLACEMENT CHARACTER}")
    assert last_lines(tmp_path / "none") == ()
