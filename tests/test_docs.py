"""The documentation says what the program does."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from napari_sam.viewer.keys import KEYS, markdown_table

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])


def test_the_page_of_keys_lists_those_that_are_bound():
    assert markdown_table() in (ROOT / "docs" / "keys.md").read_text()


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


def test_what_is_cited_is_what_is_built():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["title"] == project["name"]
    assert cited["version"] == project["version"]
    assert [a["name"] for a in cited["authors"]] == [
        a["name"] for a in project["authors"]
    ]


def test_the_public_ci_runs_every_python_that_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    declared = [c for c in project["classifiers"] if c.startswith(prefix)]
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    job = workflow["jobs"]["test"]
    assert [
        f"{prefix}{v.split('.')[1]}" for v in job["strategy"]["matrix"]["python"]
    ] == (declared)
    steps = "\n".join(step.get("run", "") for step in job["steps"])
    for command in (ROOT / ".ci/run").read_text().splitlines():
        if command.startswith(("scripts/", ".venv/")):
            assert command in steps


def test_a_bug_report_asks_for_what_the_doctor_says():
    form = yaml.safe_load(
        (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8")
    )
    required = [
        part["attributes"]["label"]
        for part in form["body"]
        if part.get("validations", {}).get("required")
    ]
    assert any("napari-sam doctor" in label for label in required)


def test_every_page_is_in_the_table_of_contents():
    contents = (ROOT / "mkdocs.yml").read_text()
    assert all(page.name in contents for page in ROOT.glob("docs/*.md"))
