"""Draws which modules import which, as text: one line a module or folder, on levels, each above all that it imports.

    .venv/bin/python tools/modules.py src task_helper               folders of the package as one module each
    .venv/bin/python tools/modules.py src task_helper --files       every file by itself

CONTRIBUTING.md has the drawings of this project, which tests/docs/test_contributing.py compares with the code.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from grimp import build_graph

Imports = Mapping[str, set[str]]


def imports(root: Path, package: str, *, files: bool = False) -> Imports:
    """For each module of `package`, which lies in the folder `root`, the modules of the package that it imports.

    Unless `files`, a folder counts as one module. The package's own `__init__` is left out.
    """
    sys.path.insert(0, str(root))
    graph = build_graph(package, cache_dir=None)
    if not files:
        for module in sorted(graph.find_children(package)):
            graph.squash_module(module)
    names = graph.modules - {package}
    if files:  # a folder's __init__ that imports nothing is no module to draw
        names = {
            name for name in names if not graph.find_children(name) or graph.find_modules_directly_imported_by(name)
        }
    return {
        name.removeprefix(f"{package}."): {
            # a folder whose __init__ imports its own files does not import itself
            other.removeprefix(f"{package}.")
            for other in graph.find_modules_directly_imported_by(name) & (names - {name})
        }
        for name in names
    }


def levels(found: Imports) -> list[list[str]]:
    """The modules by level, the ground first; raises ValueError for modules that import each other in a circle."""
    left = {name: set(others) for name, others in found.items()}
    result: list[list[str]] = []
    while left:
        below = {name for level in result for name in level}
        level = sorted(name for name, others in left.items() if others <= below)
        if not level:
            raise ValueError(f"these modules import each other in a circle: {', '.join(sorted(left))}")
        result.append(level)
        for name in level:
            del left[name]
    return result


def draw(found: Imports) -> str:
    """The drawing, the highest level first, and a last line with the counts."""
    floors = levels(found)
    arrows = sum(map(len, found.values()))
    width = max(map(len, found))
    lines = []
    for number, floor in reversed(list(enumerate(floors, 1))):
        for name in floor:
            others = ", ".join(sorted(found[name], key=lambda other: (-_level(other, floors), other)))
            lines.append(f"{number:2}  {name:{width}}  → {others}" if others else f"{number:2}  {name}")
    return "\n".join([*lines, f"{len(found)} modules on {len(floors)} levels, {arrows} imports between them"])


def _level(name: str, floors: list[list[str]]) -> int:
    return next(number for number, floor in enumerate(floors) if name in floor)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw which modules of a package import which.")
    parser.add_argument("root", type=Path, help="the folder that contains the package")
    parser.add_argument("package")
    parser.add_argument("--files", action="store_true", help="draw every file, not every folder")
    options = parser.parse_args()
    print(draw(imports(options.root, options.package, files=options.files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
