"""Puts together the image's root file system, in the base image: python3 minimal_root.py ROOT VENV

Of the base it takes the Python that the virtual environment VENV belongs to, `env`, the libraries that they and VENV
load, and Debian's entries of their packages, where scanners look for them in images without dpkg. No shell, no package
manager, no other program: nothing that a task helper does not use, and that would need updates. Why:
docs/operate/image.md.
"""

import os
import shutil
import subprocess  # nosec B404
import sys
import sysconfig
from pathlib import Path

# Of the standard library what the helper and botocore do not import: tests, installers, terminals, graphics, databases.
# The last three would each bring libraries. The image's tests import and call all that the helper does.
LEFT_OUT = shutil.ignore_patterns(
    *(
        "test",
        "_test*",
        "xxlimited*",
        "idlelib",
        "ensurepip",
        "venv",
        "pydoc_data",
        "macholib",
        "config-*",
        "__pycache__",
    ),
    *("site-packages", "dist-packages", "tkinter", "_tkinter*", "turtle*", "curses", "_curses*", "readline*"),
    *("dbm", "_dbm*", "_gdbm*", "sqlite3", "_sqlite3*"),
)

# blocks signals before it executes Python: tools/image-entry-point
ENV = Path("/usr/bin/env")

# how names are looked up; and which Debian this is, for scanners
SETTINGS = ("/etc/nsswitch.conf", "/etc/os-release", "/etc/debian_version")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # nosec B603


def take(root: Path, path: Path) -> None:
    """Copy a file into `root`, a link together with what it points to; folders have their real names there."""
    path = Path(os.path.realpath(path.parent), path.name)
    target = root / path.relative_to("/")
    if target.exists() or target.is_symlink():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.symlink_to(path.readlink())
        take(root, path.parent / path.readlink())
    else:
        shutil.copy2(path, target)


def libraries(program: Path) -> list[Path]:
    """The shared libraries that a program or library loads, and their loader."""
    lines = output("ldd", str(program)).splitlines()
    if missing := [line.strip() for line in lines if "not found" in line]:
        sys.exit(f"{program}: {missing}")
    return [Path(word) for line in lines for word in line.split() if word.startswith("/")]


def package(path: Path) -> str | None:
    """The Debian package that a file is of; None for the official image's Python, which is not Debian's."""
    command = ["dpkg-query", "--search", str(path.resolve())]
    found = subprocess.run(command, capture_output=True, text=True)  # nosec B603
    return found.stdout.partition(":")[0] or None


def main(root: Path, venv: Path) -> None:
    (root / "tmp").mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    # programs name their loader by these, which are links into /usr
    for folder in (Path("/lib"), Path("/lib64")):
        if folder.is_symlink():
            (root / folder.name).symlink_to(folder.readlink())

    standard_library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(standard_library, root / standard_library.relative_to("/"), symlinks=True, ignore=LEFT_OUT)
    python = (venv / "bin" / "python3").readlink()
    for program in (python, ENV):
        take(root, program)

    loaded = {
        library for each in (python, ENV, *root.rglob("*.so"), *venv.rglob("*.so")) for library in libraries(each)
    }
    for path in (*loaded, *map(Path, SETTINGS)):
        take(root, path)

    status = root / "var" / "lib" / "dpkg" / "status.d"
    status.mkdir(parents=True)
    for name in sorted({name for each in (python, ENV, *loaded) if (name := package(each))}):
        (status / name).write_text(output("dpkg-query", "--status", name))
        print("minimal_root:", name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
