"""Writing a file as a whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from task_helper_taskdef.formats import decoded
from task_helper_taskdef.formats.tree import Tree


class NotWritten(Exception):
    """A file was left as it is; the message says why."""


def replace_file(name: str, text: str, tree: Tree) -> None:
    """Replace the content of the file `name`, from which `tree` was read, by `text`; raises NotWritten.

    The file keeps its owner, its permissions, its encoding and its byte order mark. If it is a symbolic link, the file
    that the link names is replaced. A file that is read-only, that has more names (hard links), or that has changed
    since it was read is left as it is. The new content is first written to a file of a random name in the same folder,
    which no failure leaves behind.
    """
    file = Path(name).resolve()
    try:
        status = file.stat()
        _refuse(name, file, status, tree)
        # opened with O_EXCL and O_NOFOLLOW, readable by this user only
        handle, temporary = tempfile.mkstemp(prefix=".task-helper-", dir=file.parent)
        try:
            with open(handle, "wb") as new:
                new.write(encoded(text, tree))
                new.flush()
                _keep_owner(new.fileno(), status)
                os.fchmod(new.fileno(), stat.S_IMODE(status.st_mode))
                os.fsync(new.fileno())
            os.replace(temporary, file)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _flush_folder(file.parent)
    except OSError as error:
        raise NotWritten(f"{name}: cannot be written: {error.strerror or error}") from None


def _refuse(name: str, file: Path, status: os.stat_result, tree: Tree) -> None:
    """Raise NotWritten, or OSError, for a file that must not be replaced."""
    if not stat.S_ISREG(status.st_mode):
        raise NotWritten(f"{name}: cannot be written: it is not a regular file")
    # root could write a read-only file, but must not
    if not status.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(file, os.W_OK):
        raise NotWritten(f"{name}: cannot be written: it is read-only")
    if status.st_nlink > 1:
        raise NotWritten(
            f"{name}: has {status.st_nlink} names (hard links), and a new file would separate them; copy it, or use"
            " standard output"
        )
    if decoded(file.read_bytes()) != tree.text:
        raise NotWritten(f"{name}: has changed since it was read; run the command again")


def _keep_owner(descriptor: int, status: os.stat_result) -> None:
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _flush_folder(folder: Path) -> None:
    """Flush the folder, so that the new name is durable. Some file systems cannot; the content is written by then."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def encoded(text: str, tree: Tree) -> bytes:
    """`text` in the encoding of the file from which `tree` was read, with its byte order mark."""
    mark, encoding = tree.encoding
    return mark + text.encode(encoding, "surrogatepass")
