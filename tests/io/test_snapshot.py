"""Checkpoints in a folder: what is written is read by any ranks, and what is damaged is not used."""

import json
import os
import stat
import zlib

import numpy as np
import pytest

from hpcmp.comm import world
from hpcmp.errors import FileError, FormatError
from hpcmp.io import snapshot
from hpcmp.io.whole_file import new_part_folder

N = 1000
FACTS = {"values": {"residual": float("inf")}, "text": "ä"}


def tables_of(comm):
    mine = np.arange(comm.rank, N, comm.size)
    rows = {
        "order": mine,
        "x": np.sqrt(mine),
        "pair": np.stack([mine, -mine], 1).astype(np.float32),
        "flag": mine % 2 == 0,
    }
    return {"vertices": rows, "steps": {"n": np.arange(5 if comm.rank == 0 else 0)}}


def write(comm, folder, step, tables=None):
    writer = snapshot.Writer(comm, folder)
    try:
        writer.begin(step, FACTS, tables or tables_of(comm))
        writer.commit()
    finally:
        writer.close()


@pytest.fixture
def folder(tmp_path):
    write(world(), tmp_path / "ck", 7)
    write(world(), tmp_path / "ck", 9)
    return tmp_path / "ck"


def load(folder):
    said = []
    return snapshot.load_newest(world(), folder, said.append), said


def test_any_ranks_read_what_others_wrote(comm, shared_tmp):
    write(comm, shared_tmp / "ck", 3)
    half = comm.Split(color=comm.rank % 2, key=comm.rank)  # fewer ranks than wrote
    for ranks in (comm, half):
        found = snapshot.load_newest(ranks, shared_tmp / "ck", print)
        assert (found.step, found.facts) == (3, FACTS)
        rows = {name: np.concatenate(ranks.allgather(a)) for name, a in found.tables["vertices"].items()}
        order = np.argsort(rows["order"])
        everything = np.arange(N)
        assert np.array_equal(rows["order"][order], everything)
        assert np.array_equal(rows["x"][order], np.sqrt(everything))
        assert np.array_equal(rows["pair"][order], np.stack([everything, -everything], 1))
        assert rows["pair"].dtype == np.float32 and rows["flag"].dtype == np.bool_
        assert np.array_equal(np.concatenate(ranks.allgather(found.tables["steps"]["n"])), np.arange(5))
    half.Free()


def test_rows_are_read_across_blocks_and_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "BLOCK_BYTES", 64)
    write(world(), tmp_path, 1)
    found = snapshot.open_snapshot(snapshot.path_of(tmp_path, 1))
    for lo, hi in ((0, 0), (0, 1), (7, 9), (8, 16), (3, 500), (999, 1000), (0, N)):
        assert np.array_equal(found.read("vertices", lo, hi)["x"], np.sqrt(np.arange(lo, hi)))
    asked = []
    monkeypatch.setattr(snapshot, "refuse_more_than_is_free", lambda n_bytes, what: asked.append(n_bytes))
    found.check()
    assert max(asked) == 64 and sum(asked) == N * (8 + 8 + 8 + 1) + 5 * 8, "each byte once, a block at a time"


def test_all_is_on_the_disk_before_it_has_its_name(tmp_path, on_disk):
    write(world(), tmp_path / "ck", 5)
    part, step = on_disk[2], str(snapshot.path_of(tmp_path / "ck", 5))
    files = [f"{part}/part-00000.bin", f"{part}/{snapshot.RECORD}"]
    assert on_disk == [*files, part, (part, step), str(tmp_path / "ck")]


def test_two_are_kept_and_those_of_a_run_that_was_left_go(tmp_path):
    for step in (1, 2, 3, 4):
        write(world(), tmp_path, step)
    assert snapshot.steps_in(tmp_path) == [3, 4]
    write(world(), tmp_path, 2)  # a run that went on from an older one
    assert snapshot.steps_in(tmp_path) == [2]
    write(world(), tmp_path, 2)
    assert snapshot.steps_in(tmp_path) == [2]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_every_byte_counts(folder):
    """A flipped byte anywhere in the newest is reported, and the one before is used."""
    newest = snapshot.path_of(folder, 9)
    for path in (newest / "part-00000.bin", newest / snapshot.RECORD):
        good = path.read_bytes()
        for at in range(0, len(good), max(1, len(good) // 97)):
            path.write_bytes(good[:at] + bytes([good[at] ^ 16]) + good[at + 1 :])
            found, said = load(folder)
            assert (found.step, len(said)) == (7, 1), f"byte {at} of {path.name}"
            assert "step 9 cannot be used" in said[0]
        path.write_bytes(good)
    assert load(folder)[0].step == 9


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def grow(path):
    path.write_bytes(path.read_bytes() + b"x")


def replace_by_link(path):
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


CHANGES = [cut, grow, os.unlink, replace_by_link, replace_by_folder, replace_by_pipe]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["part-00000.bin", snapshot.RECORD])
def test_a_damaged_newest_is_reported_and_the_one_before_is_used(folder, name, change):
    change(snapshot.path_of(folder, 9) / name)
    found, said = load(folder)
    assert found.step == 7 and len(said) == 1 and str(snapshot.path_of(folder, 9)) in said[0]


def test_without_a_good_one_there_is_none(folder, tmp_path):
    for step in (7, 9):
        cut(snapshot.path_of(folder, step) / "part-00000.bin")
    found, said = load(folder)
    assert found is None and len(said) == 2
    assert load(tmp_path / "nowhere") == (None, [])


HOSTILE = {
    "more rows than bytes": lambda r: r["parts"][0]["rows"].update(vertices=10**15),
    "rows below none": lambda r: r["parts"][0]["rows"].update(vertices=-1),
    "rows in words": lambda r: r["parts"][0]["rows"].update(vertices="many"),
    "objects": lambda r: r["tables"][0][1][1].__setitem__(1, "|O8"),
    "no type": lambda r: r["tables"][0][1][1].__setitem__(1, "os.system"),
    "a wide row": lambda r: r["tables"][0][1][1].__setitem__(2, [1 << 40, 1 << 40]),
    "a row of less than nothing": lambda r: r["tables"][0][1][1].__setitem__(2, [-8]),
    "no parts": lambda r: r.pop("parts"),
    "no crc": lambda r: r["parts"][0]["crc"].clear(),
    "another version": lambda r: r.update(version=99),
    "a list": lambda r: r.update(facts=[1]),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_record_that_lies_is_refused_before_its_rows_are_read(folder, case):
    path = snapshot.path_of(folder, 9) / snapshot.RECORD
    record = json.loads(path.read_text())["record"]
    HOSTILE[case](record)
    text = json.dumps(record)
    path.write_text(json.dumps({"crc": zlib.crc32(text.encode()), "record": record}))
    with pytest.raises(FormatError, match=str(path.parent)):
        snapshot.open_snapshot(path.parent)


def test_what_cannot_be_written_leaves_the_old_ones_alone(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name, broken in (("write", full), ("fsync", full), ("rename", full)):
        with monkeypatch.context() as patch:
            patch.setattr(snapshot.os, name, broken)
            with pytest.raises(FileError, match="cannot be written: No space left on device"):
                write(world(), folder, 11)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert snapshot.steps_in(folder) == [7, 9]


def test_folders_and_files_have_the_users_umask_and_no_name_that_can_be_guessed(tmp_path):
    before = os.umask(0o027)
    try:
        writer = snapshot.Writer(world(), tmp_path / "ck")
        writer.begin(1, {}, tables_of(world()))
        (part,) = (tmp_path / "ck").iterdir()
        assert part.name.startswith(".step-000000000001.") and len(part.name) >= len(".step-000000000001.") + 8
        writer.commit()
        writer.close()
    finally:
        os.umask(before)
    for path in (tmp_path / "ck").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_what_a_killed_run_left_is_removed(folder):
    new_part_folder(snapshot.path_of(folder, 11))
    write(world(), folder, 13)
    assert sorted(path.name for path in folder.iterdir()) == ["step-000000000009", "step-000000000013"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "ck").write_text("")
    with pytest.raises(FileError, match="is a file; name a folder"):
        snapshot.Writer(world(), tmp_path / "ck")
    with pytest.raises(FileError, match="does not exist; make it first"):
        snapshot.Writer(world(), tmp_path / "none" / "ck")
