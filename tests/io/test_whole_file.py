"""Files that appear when they are whole: no link followed, the umask kept, nothing left of those that fail."""

import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest
import samples

import hpcmp
from hpcmp import analysis
from hpcmp.errors import FileError
from hpcmp.io import h5, whole_file
from hpcmp.io.parallel import write_text
from hpcmp.io.trail_segment import write_file


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def rights_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def write_stream(path):
    with whole_file.stream_of(path) as out:
        out.write(b"new")


def test_every_writer_keeps_the_umask_and_leaves_one_file(comm, umask, shared_tmp):
    if comm.size > 1:
        pytest.skip("one rank writes")
    writers = {
        "stream": write_stream,
        "text": lambda path: write_text(comm, path, b"new"),
        "graph": samples.write_graph,
        "segment": lambda path: write_file(path, h5.SEGMENT, {}, {}),
    }
    for name, write in writers.items():
        write(shared_tmp / name)
        assert rights_of(shared_tmp / name) == 0o666 & ~umask, name
    assert sorted(os.listdir(shared_tmp)) == sorted(writers)


def test_a_part_has_a_name_of_its_own_each_time_and_is_made_anew(tmp_path, monkeypatch):
    names = {whole_file.new_part(tmp_path / "out.h5").name for _ in range(20)}
    assert len(names) == 20 and all(len(name.split(".")[-2]) == 16 for name in names)
    monkeypatch.setattr(whole_file.secrets, "token_hex", lambda n: "guessed")
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / ".out.h5.guessed.part").symlink_to(tmp_path / "theirs")
    with pytest.raises(FileError, match=r"out\.h5 cannot be written: File exists"):
        write_stream(tmp_path / "out.h5")
    assert (tmp_path / "theirs").read_text() == "kept"


def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / "out").symlink_to(tmp_path / "theirs")
    write_stream(tmp_path / "out")
    assert (tmp_path / "theirs").read_text() == "kept" and (tmp_path / "out").read_text() == "new"


def test_a_name_as_long_as_systems_take_can_be_written(tmp_path):
    write_stream(tmp_path / ("ä" * 127))
    assert [len(name.encode()) for name in os.listdir(tmp_path)] == [254]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, on_disk):
    write_stream(tmp_path / "out")
    part = on_disk[0]
    assert on_disk == [part, (part, str(tmp_path / "out")), str(tmp_path)]


def test_what_fails_leaves_the_file_before_and_no_part(tmp_path):
    (tmp_path / "out").write_text("old")
    with pytest.raises(KeyError), whole_file.stream_of(tmp_path / "out") as out:
        out.write(b"new")
        raise KeyError
    assert (tmp_path / "out").read_text() == "old" and os.listdir(tmp_path) == ["out"]


def listening():
    """Inodes of sockets of this process that wait for others to connect: set."""
    own = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            own.add(os.readlink(f"/proc/self/fd/{fd}"))
    found = set()
    for name, state, column, inode in (("tcp", "0A", 3, 9), ("tcp6", "0A", 3, 9), ("unix", "00010000", 3, 6)):
        lines = Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]
        found |= {f"socket:[{line.split()[inode]}]" for line in lines if line.split()[column] == state}
    return own & found


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="the system does not tell of sockets")
def test_nothing_listens_on_a_socket(tmp_path):
    before = listening()  # of MPI
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert len(listening() - before) == 1, "it would be seen"
    samples.write_run(tmp_path / "a.h5")
    analysis.open(tmp_path / "a.h5").verify_digest()
    hpcmp.open_graph(samples._comm(), samples.write_graph(tmp_path / "g.h5"))
    assert listening() <= before


FULL = (
    "[Errno 28] Can't write data\n(file write failed: time = now\n, errno = 28, error message = 'No space left', buf)"
)


@pytest.mark.parametrize(
    "error, says",
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError(FULL), "No space left on device"),
        (RuntimeError("MPI: i/o failed\nNo space left on device, stack:"), "No space left on device"),
        (RuntimeError("first\nsecond"), "first"),
        (RuntimeError(""), "RuntimeError"),
    ],
)
def test_what_libraries_say_becomes_one_sentence(error, says):
    assert whole_file.why(error) == says
