"""The documentation says what the program does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from napari_sam.viewer.keys import KEYS, markdown_table

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])


def test_the_readme_lists_the_keys_that_are_bound():
    assert markdown_table() in (ROOT / "README.md").read_text()


def test_keys_are_letters_that_napari_leaves_free():
    assert len({key.key for key in KEYS}) == len(KEYS)
    plain = {key.key for key in KEYS if not key.key.startswith("Shift+")}
    assert plain <= {*"GHJKNQUW", "Escape"}
    shifted = {key.key.removeprefix("Shift+") for key in KEYS} - plain
    assert shifted.isdisjoint("ALPV")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [t for t in targets if "://" not in t]
    assert all((page.parent / target).exists() for target in local), local


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_are_python_and_name_what_exists(page):
    import napari_sam

    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        tree = ast.parse(block)
        names = [
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "ns"
        ]
        assert all(hasattr(napari_sam, name) for name in names), names


def test_every_page_is_in_the_table_of_contents():
    contents = (ROOT / "mkdocs.yml").read_text()
    assert all(page.name in contents for page in ROOT.glob("docs/*.md"))
