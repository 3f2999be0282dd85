"""Writing a file as a whole or not at all."""

from __future__ import annotations

import codecs
from pathlib import Path


def replace_file(name: str, text: str) -> None:
    """Replace the content of the file `name` by `text`, as a whole or not at all; raises OSError.

    The file keeps its permissions and its byte order mark. If it is a symbolic link, its target is replaced.
    """
    file = Path(name).resolve()
    content = encoded(text)
    if file.read_bytes().startswith(codecs.BOM_UTF8):
        content = codecs.BOM_UTF8 + content
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(content)
    new.chmod(file.stat().st_mode)
    new.replace(file)


def encoded(text: str) -> bytes:
    """`text` in UTF-8. Half a surrogate pair, which UTF-8 cannot hold, becomes the escape that JSON has for it."""
    return text.encode(errors="backslashreplace")
