"""Writes where the project is published, and its version, into every file that names them.

    python tools/publishing.py                            the values as they are
    python tools/publishing.py --version 1.0.1            the next version, in all examples
    python tools/publishing.py --image registry.example.org/team/ecs-task-helper \\
        --repository https://git.example.org/team/ecs-task-helper --action team/ecs-task-helper

The values are in pyproject.toml: `version`, and the section [tool.publishing]. tests/docs/test_publishing.py compares
the files with them.
"""

from __future__ import annotations

import argparse
import re
import subprocess  # nosec B404
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

# these name other versions, or other projects' images, on purpose
OTHERS = (
    "CHANGELOG.md",
    "tests/",
    "poetry.lock",
    "requirements",
    "tools/",
    "lab/",
    "docs/evidence/",
    "docs/operate/image.md",
)


class Values(NamedTuple):
    """The version, the image without its tag, the address of the repository, and the repository's name for actions."""

    version: str
    image: str
    repository: str
    action: str


def values() -> Values:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return Values(version=project["project"]["version"], **project["tool"]["publishing"])


def files() -> list[Path]:
    """The files that name the values."""
    git = ["git", "ls-files"]
    names = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()  # nosec B603
    return [ROOT / name for name in names if not name.startswith(OTHERS)]


def rewritten(text: str, old: Values, new: Values) -> str:
    """`text` with the new values in place of the old ones; a version only where it is this project's."""
    version = re.escape(old.version)
    for before in (
        rf'(?m)^version = "{version}"$',
        # in any registry: the examples name one of Amazon's
        rf"/{re.escape(old.image.rpartition('/')[2])}:{version}\b",
        rf"(?<=@v){version}\b",
        rf"(?<=rev: v){version}\b",
    ):
        text = re.sub(before, lambda match: match[0].replace(old.version, new.version), text)
    # in one pass and the longest first, because an address may contain the image's name, and a new value an old one
    after = dict(zip(old[1:], new[1:], strict=True))
    longest_first = sorted(after, key=len, reverse=True)
    return re.sub(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest_first))})", lambda match: after[match[0]], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    old = values()
    for field, value in old._asdict().items():
        parser.add_argument(f"--{field}", default=value, help=f"now {value}")
    new = Values(**vars(parser.parse_args()))
    changed = 0
    for file in files():
        try:
            before = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if (after := rewritten(before, old, new)) != before:
            file.write_text(after, encoding="utf-8")
            changed += 1
    print(f"{new.image}:{new.version}  {new.repository}  {new.action}: {changed} files changed")


if __name__ == "__main__":
    main()
