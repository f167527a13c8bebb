"""The arrows between the parts of the package, read from their imports."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import napari_sam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(napari_sam.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

BASE = {"types", "errors"}
MAY_IMPORT = {
    "types": set(),
    "errors": set(),
    "core": BASE,
    "models": BASE | {"core"},
    "io": BASE | {"core"},
    "training": BASE | {"core", "models", "io"},
    "samples": BASE | {"io"},
    "api": BASE | {"core", "models", "io", "training"},
    "api_volumes": BASE | {"core", "models"},
    "projects": BASE | {"core", "models", "io"},
    "viewer": BASE | {"core", "models", "io", "training"},
    "widgets": BASE | {"core", "viewer", "models", "io"},
    "cli": BASE | {"core", "models", "io", "api", "api_volumes", "samples", "training"},
}
"""Which parts each part may import; ``__init__`` names all, lazily."""

LAZY_ONLY = {
    ("api", "models"),
    ("api", "training"),
    ("api_volumes", "models"),
    ("projects", "models"),
    ("viewer", "models"),
    ("viewer", "training"),
    ("widgets", "models"),
}
"""Allowed inside a function or for types, since torch comes with it."""

ROOMS = {
    "background": set(),
    "image": {"background"},
    "labels": {"background", "image"},
    "prompting": {"background", "image", "labels"},
    "everything": {"background", "image", "labels", "prompting"},
    "volumes": {"background", "image", "labels", "prompting"},
    "learning": {"background", "image", "prompting"},
    "projects": {"background", "image", "prompting"},
}
"""Which rooms of the viewer each room may look into; never back."""

SHARED_BY_ROOMS = {
    "connections",
    "context",
    "coords",
    "navigation",
    "overlay",
    "plugin_layers",
    "settings",
}
"""Modules of the viewer outside its rooms that rooms may import, and that import none.

`Context` names, for types, what the rooms share; the others outside put rooms together.
"""

TORCH = {"models", "training"}
QT = {"qtpy", "superqt", "PyQt5", "PyQt6", "PySide2", "PySide6"}
MAX_LINES = 700
LONGER: dict[str, int] = {}
"""Modules that are to be split."""


def part_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(module: Path) -> list[tuple[str, bool]]:
    """Return what a module imports, and whether that happens on its import."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, is_eager: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, is_eager) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"relative import in {module}"
                assert child.module is not None
                found.append((child.module, is_eager))
                if child.module == "napari_sam":
                    found.extend(
                        (f"napari_sam.{a.name}", is_eager) for a in child.names
                    )
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(
                child.test
            ):
                for statement in child.body:
                    visit(ast.Module([statement], []), False)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                visit(child, False)
            else:
                visit(child, is_eager)

    visit(ast.parse(module.read_text(encoding="utf-8")), True)
    return found


def arrows(module: Path) -> Iterator[str]:
    """Yield what a module imports against the arrows."""
    part = part_of(module)
    for name, is_eager in imports(module):
        if part == "__init__":
            if is_eager and name.startswith("napari_sam"):
                yield f"imports {name} at once"
            continue
        if not name.startswith("napari_sam."):
            continue
        target = name.split(".")[1]
        if target != part and target not in MAY_IMPORT[part]:
            yield f"{part} imports {name}"
        if is_eager and (part, target) in LAZY_ONLY and name != "napari_sam.models":
            yield f"{part} imports {name} at once"


def doors(module: Path) -> Iterator[str]:
    """Yield what a room of the viewer imports against the arrows between rooms."""
    if part_of(module) != "viewer":
        return
    *rooms, _ = module.relative_to(PACKAGE / "viewer").parts
    room = rooms[0] if rooms else module.stem
    if not rooms and room not in SHARED_BY_ROOMS:
        return
    may = ROOMS.get(room, set()) | SHARED_BY_ROOMS | {room}
    for name, is_eager in imports(module):
        if name.startswith("napari_sam.viewer."):
            target = name.split(".")[2]
            # Opening a project is done to all of the controller.
            is_type = not is_eager and (
                room == "context" or (room == "projects" and target == "controller")
            )
            if target not in may and not is_type:
                yield f"{room} imports {name}"


def heavy_libraries(module: Path) -> Iterator[str]:
    """Yield what a module imports of the libraries that have their place elsewhere."""
    part = part_of(module)
    for name, is_eager in imports(module):
        top = name.split(".")[0]
        # The doctor reports what torch sees, once it is loaded.
        is_doctor = module.name == "doctor.py" and not is_eager
        if top == "torch" and part not in TORCH and not is_doctor:
            yield f"{part} imports torch"
        is_command = part == "cli" and not is_eager
        if top == "napari" and part not in ("viewer", "widgets") and not is_command:
            yield f"{part} imports napari"
        is_qt = top in QT or top == "magicgui" or name.startswith("napari.qt")
        if is_qt and part != "widgets":
            yield f"{part} imports {name}"
        if top in ("dill", "cloudpickle", "shelve"):
            yield f"imports {name}"


def house_rules(module: Path) -> Iterator[str]:
    """Yield what is wrong with the text of a module."""
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    n_lines = len(text.splitlines())
    if n_lines > LONGER.get(module.relative_to(PACKAGE).as_posix(), MAX_LINES):
        yield f"{n_lines} lines: one responsibility each"
    if not ast.get_docstring(tree):
        yield "a module says what it is for"
    for node in ast.walk(tree):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if is_call and node.func.id == "print" and part_of(module) != "cli":
            yield f"line {node.lineno}: print"
        if isinstance(node, ast.Assert):
            yield f"line {node.lineno}: assert"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"line {node.lineno}: except without a type"
    # torch.load(weights_only=True) raises pickle's error; nothing else of it is used.
    if not set(re.findall(r"pickle\.(\w+)", text)) <= {"UnpicklingError"} or re.search(
        r"from pickle import (?!UnpicklingError$)", text, re.M
    ):
        yield "pickle"
    if re.search(r"allow_pickle\s*=\s*True|weights_only\s*=\s*False", text):
        yield "reads pickles"


@pytest.mark.parametrize("rule", [arrows, doors, heavy_libraries, house_rules])
def test_every_module_keeps_the_rule(rule: Callable[[Path], Iterator[str]]) -> None:
    broken = [f"{m.relative_to(PACKAGE)}: {what}" for m in MODULES for what in rule(m)]
    assert not broken, "\n".join(broken)


def test_no_modules_import_each_other() -> None:
    """Not even by a detour; what is imported for types alone does not count."""
    names = {
        ".".join(("napari_sam", *m.relative_to(PACKAGE).with_suffix("").parts)): m
        for m in MODULES
        if m.name != "__init__.py"
    }
    left = {
        name: {n for n, is_eager in imports(m) if is_eager and n in names}
        for name, m in names.items()
    }
    # Those that import nothing that is left are in no circle.
    while free := {name for name, needed in left.items() if not needed & left.keys()}:
        left = {name: needed for name, needed in left.items() if name not in free}
    assert not left, f"in a circle, or behind one: {sorted(left)}"


def test_the_rules_would_notice() -> None:
    """The reader of imports sees those in functions and under TYPE_CHECKING."""
    seen = dict(imports(PACKAGE / "api.py"))
    assert seen["napari_sam.models"] is False
    assert seen["napari_sam.core.everything.proposals"] is False
    assert seen["napari_sam.errors"] is True
    assert set(map(part_of, MODULES)) - {"__init__"} <= MAY_IMPORT.keys()


def room_of(name: str) -> str:
    """Return which room of the picture a module lies in."""
    first, *rest = name.removeprefix("napari_sam.").split(".")
    if first in ("types", "errors"):
        return "types"
    if first in ("api", "api_volumes", "projects"):
        return "api"
    folder = PACKAGE / first
    if first in HOUSES and rest and (folder / rest[0]).is_dir():
        return f"{first}/{rest[0]}"
    return first


HOUSES = {"viewer"}
"""Parts whose rooms are drawn one by one."""


def picture() -> str:
    """Draw the rooms and what they import, without what follows from other arrows."""
    found: dict[str, set[str]] = {}
    for module in MODULES:
        name = ".".join(module.relative_to(PACKAGE).with_suffix("").parts)
        if module.name == "__init__.py":
            continue
        room = room_of(name)
        found.setdefault(room, set())
        for imported, _ in imports(module):
            if imported.startswith("napari_sam."):
                found[room].add(room_of(imported))
    hidden = {"types", "samples"}
    arrows = {
        # What rooms of the viewer share lies outside of them, as what is made of them.
        room: others - hidden - {room} - ({"viewer"} if "/" in room else set())
        for room, others in found.items()
        if room not in hidden
    }

    def reached(room: str) -> set[str]:
        seen: set[str] = set()
        left = set(arrows[room])
        while left:
            other = left.pop()
            if other not in seen:
                seen.add(other)
                left |= arrows.get(other, set())
        return seen

    lines = ["flowchart BT"]
    for room in sorted(arrows):
        needed = arrows[room]
        lines += [
            f"    {other} --> {room}"
            for other in sorted(needed)
            if not any(other in reached(o) for o in needed - {other})
        ]
    return "\n".join(lines)


def test_the_picture_of_the_house_is_that_of_the_imports() -> None:
    page = Path(__file__).parents[1] / "docs" / "architecture.md"
    drawn = picture()
    assert drawn in page.read_text(encoding="utf-8"), f"draw it anew:\n{drawn}"
