"""Files that appear whole or not at all: under their name, with their mode, and without leftovers."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tsode._files import whole_file


def save(path, content=b"new"):
    with whole_file(path) as file:
        file.write(content)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "m"
    path.write_bytes(b"old")
    path.chmod(mode)
    save(path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


def test_nobody_else_can_read_what_is_written_before_a_private_file_is_replaced(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with whole_file(path):
        assert [stat.S_IMODE(found.stat().st_mode) for found in tmp_path.iterdir()] == [0o600, 0o600]


def test_a_new_file_has_the_mode_of_any_other(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    save(tmp_path / "m")
    assert (tmp_path / "m").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_read_only_file_is_refused_and_stays(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match=r"m' is read-only: make it writable, or save under another name"):
        save(path)
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["m"])


@pytest.mark.parametrize("is_there", [True, False])
def test_a_symbolic_link_is_followed_and_stays_one(tmp_path, is_there):
    (tmp_path / "deep").mkdir()
    target, link = tmp_path / "deep" / "m", tmp_path / "link"
    if is_there:
        target.write_bytes(b"old")
    link.symlink_to(Path("deep") / "m")
    save(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(tmp_path / "deep") == ["m"]


def test_a_file_of_two_names_is_refused_as_the_other_would_stay_old(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"old")
    os.link(path, tmp_path / "other")
    with pytest.raises(FileExistsError, match=r"m' has 2 names \(hard links\).*remove this one first"):
        save(path)
    assert {found.read_bytes() for found in tmp_path.iterdir()} == {b"old"}


@pytest.mark.parametrize("name", ["m" * 255, "é" * 127, os.fsdecode(b"\xff\xfe.st"), ".m", "a b"])
def test_any_name_that_the_system_takes_is_taken(tmp_path, name):
    save(tmp_path / name)
    save(os.fsencode(tmp_path / name), b"newer")
    assert (tmp_path / name).read_bytes() == b"newer"
    assert names(tmp_path) == [name]


def test_what_fails_or_is_stopped_midway_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"old")

    def write_half(error):
        with whole_file(path) as file:
            file.write(b"ne")
            raise error

    for error in (OSError("No space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_half(error)
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["m"])


def test_contents_are_on_the_disk_before_they_get_the_name(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("sync"), sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), replace(*paths)))
    save(tmp_path / "m")
    assert calls == ["sync", "rename", "sync"]


def test_a_folder_that_is_none_and_a_folder_in_place_of_a_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*deep' to save to: make it first"):
        save(tmp_path / "deep" / "m")
    with pytest.raises(IsADirectoryError, match="is a folder: give the name of a file in it"):
        save(tmp_path)


def test_a_device_is_written_to_and_never_replaced():
    save("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


KILLED = """
import sys, time
from tsode._files import whole_file
with whole_file(sys.argv[1]) as file:
    file.write(b"ne")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_what_a_killed_process_leaves_is_removed_by_the_next_save_and_what_another_writes_is_not(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"old")
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        save(tmp_path / "other")
        assert len(names(tmp_path)) == 3  # half a file of a process that lives
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 3
    assert path.read_bytes() == b"old"
    save(path)
    assert names(tmp_path) == ["m", "other"]
