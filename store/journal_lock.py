"""Who may touch a journal: its holder while it lives, then one undertaker.

The lock is the kernel's (flock on `HOLDER.lock`), so it is free the moment its process is gone, however it went. Free
means dead: a holder has it from before its first file is there until it ends. Whoever finds it free may `take` it, book
what is left and remove the files; another one who tries meanwhile gets nothing.

The lock's file is deleted last, and only by who has the lock. One who opened it before that gets the lock of a file
that has no name any more, so after locking the name is looked up again.

A lock belongs to an open file, which a forked child shares: processes that run on after their parent are started by
exec (the descriptors are closed by it). It does not reach across machines: the directory is a local one.
"""

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from store.journal_format import JournalError, check_holder, file_paths, lock_path


class Lock:
    """The exclusive right to one holder's files, until `close` or the end of the `with`."""

    __slots__ = ("_descriptor", "_directory", "holder")

    def __init__(self, directory: Path, holder: str, descriptor: int) -> None:
        self.holder = holder
        self._directory = directory
        self._descriptor = descriptor

    def __repr__(self) -> str:
        return f"<Lock {self.holder} {'free' if self._descriptor < 0 else 'held'}>"

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def remove(self) -> None:
        """Delete the holder's files, the oldest first, then its lock; the lock is free afterwards.

        To be called when all of it is booked and the store has let the holder leave: killed in between, what is left
        is taken and removed again, but can no longer be read. Raises `OSError`.
        """
        assert self._descriptor >= 0, "a lock that is free gives no right to anything"
        for path in file_paths(self._directory, self.holder):
            path.unlink(missing_ok=True)
        lock_path(self._directory, self.holder).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Free the lock. Closing again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def create_lock(directory: Path, holder: str) -> Lock:
    """Return the lock of a holder that is new.

    Raises `OSError`: `FileExistsError` when there is or was one of that id, `BlockingIOError` when another process was
    faster to bury it than it to live; the id is not to be used then.
    """
    check_holder(holder)
    lock = _open(directory, holder, os.O_EXCL)
    if lock is None:
        raise BlockingIOError(
            errno.EWOULDBLOCK, "somebody has locked the new journal", str(lock_path(directory, holder))
        )
    return lock


def take(directory: Path, holder: str) -> Lock | None:
    """Return the lock of a holder that is dead; None while it lives, or another one has it. Raises `OSError`.

    Nothing is asked about files: of one that has none the lock is to be had too. Who takes it removes it.
    """
    check_holder(holder)
    return _open(directory, holder, 0)


def is_held(directory: Path, holder: str) -> bool:
    """Whether somebody has the lock: the holder, or who buries it. Changes nothing. Raises `OSError`.

    False may be out of date at once, so it gives no right; but then a `take` in the same moment may fail.
    """
    check_holder(holder)
    try:
        descriptor = os.open(lock_path(directory, holder), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove(directory: Path, holder: str) -> None:
    """Take the lock and delete everything of the holder, as `Lock.remove` does.

    For a holder that has closed its journal; who has taken the lock calls `Lock.remove`. Raises `JournalError` when the
    lock is not free, whoever has it, and `OSError`.
    """
    lock = take(directory, holder)
    if lock is None:
        raise JournalError(f"the journal of {holder} is locked: it is removed by who has the lock")
    with lock:
        lock.remove()


def _open(directory: Path, holder: str, flags: int) -> Lock | None:
    path = lock_path(directory, holder)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return Lock(directory, holder, descriptor)
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
