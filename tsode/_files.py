"""Whole files: contents that stand under a name completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # on Windows, where a file that is being written cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

__all__ = ["whole_file"]

_PREFIX = ".tsode-"


@contextlib.contextmanager
def whole_file(path: Any) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of what is at `path` when the block ends, and only if it ends well.

    Until then nothing changes under that name. Contents are on the disk before they get the name. A file that is
    replaced hands down its mode and owner; a symbolic link is followed. What is no regular file (a pipe, a terminal)
    is written to as it is.

    Parameters
    ----------
    path : path

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    IsADirectoryError
        If there is a folder of that name.
    PermissionError
        If the file at `path` is read-only.
    FileExistsError
        If it has a second name (a hard link), which would keep the old contents.
    """
    target = Path(os.path.realpath(os.fsdecode(path)))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(target.parent)!r} to save to: make it first.")
    before = _stat_of(target)
    if before is not None and not stat.S_ISREG(before.st_mode):
        with target.open("wb") as file:
            yield file
        return
    _remove_leftovers(target.parent)
    temporary, descriptor = _open_temporary(target.parent, 0o666 if before is None else 0o600)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            if before is not None:
                _hand_down(before, temporary)
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _stat_of(target: Path) -> os.stat_result | None:
    """What is at `target` now, or None; an error where it must not be replaced."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{str(target)!r} is a folder: give the name of a file in it.")
    if stat.S_ISREG(found.st_mode):
        if not found.st_mode & 0o222 or not os.access(target, os.W_OK):
            raise PermissionError(f"{str(target)!r} is read-only: make it writable, or save under another name.")
        if found.st_nlink > 1:
            raise FileExistsError(
                f"{str(target)!r} has {found.st_nlink} names (hard links), of which the others would keep the old "
                "contents: remove this one first, or save under another name."
            )
    return found


def _open_temporary(folder: Path, mode: int) -> tuple[Path, int]:
    """A new file, locked as long as it is open; its short name fits where a longer one than the target's would not."""
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags, mode)
        _lock(descriptor)
        if os.fstat(descriptor).st_nlink or fcntl is None:  # else it was taken for a leftover before it was locked
            return path, descriptor
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they wrote have left: nobody holds its lock."""
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _lock(descriptor, wait=False):
                    path.unlink()
            finally:
                os.close(descriptor)


def _lock(descriptor: int, wait: bool = True) -> bool:
    """Lock a file until it is closed; whether that was possible."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # held by another, or a file system without locks
        return False
    return True


def _hand_down(before: os.stat_result, path: Path) -> None:
    """Give a file the owner and the mode of the one that it replaces."""
    if hasattr(os, "chown"):
        with contextlib.suppress(PermissionError):
            os.chown(path, before.st_uid, before.st_gid)
    os.chmod(path, stat.S_IMODE(before.st_mode))


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too, where a folder can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
