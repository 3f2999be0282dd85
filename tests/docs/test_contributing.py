"""CONTRIBUTING draws the modules as the code imports them."""

from pathlib import Path

import pytest

from tools.modules import draw, imports, levels

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize(("folder", "package"), [("src", "task_helper"), ("src", "task_helper_taskdef"), (".", "lab")])
def test_drawing_of_the_modules(folder: str, package: str) -> None:
    """The drawing of each package is what tools/modules.py prints."""
    assert draw(imports(ROOT / folder, package)) in PAGE


def test_levels_of_modules_in_a_circle() -> None:
    """Modules that import each other have no level."""
    with pytest.raises(ValueError, match="in a circle: a, b"):
        levels({"a": {"b"}, "b": {"a"}, "c": set()})


def test_drawing_has_the_highest_level_first() -> None:
    """A module stands above everything that it imports, with the nearest first."""
    drawing = draw({"story": {"words", "facts"}, "facts": {"words"}, "words": set()})

    assert [
        " 3  story  → facts, words",
        " 2  facts  → words",
        " 1  words",
        "3 modules on 3 levels, 3 imports between them",
    ] == drawing.splitlines()
