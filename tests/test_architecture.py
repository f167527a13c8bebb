"""The arrows between the parts of the package, read from their imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import napari_sam

PACKAGE = Path(napari_sam.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [m.relative_to(PACKAGE).as_posix() for m in MODULES]

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

TORCH = {"models", "training"}
QT = {"qtpy", "superqt", "PyQt5", "PyQt6", "PySide2", "PySide6"}
MAX_LINES = 700
LONGER: dict[str, int] = {}
"""Modules that are to be split."""


def part_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


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


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_arrows_point_one_way(module: Path) -> None:
    part = part_of(module)
    if part == "__init__":
        assert not [name for name, is_eager in imports(module) if is_eager
                    and name.startswith("napari_sam")]  # fmt: skip
        return
    for name, is_eager in imports(module):
        if not name.startswith("napari_sam."):
            continue
        target = name.split(".")[1]
        assert target == part or target in MAY_IMPORT[part], f"{part} imports {name}"
        if is_eager:
            assert (part, target) not in LAZY_ONLY or name == "napari_sam.models", (
                f"{part} imports {name} at once"
            )


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_heavy_libraries_stay_in_their_place(module: Path) -> None:
    part = part_of(module)
    for name, is_eager in imports(module):
        top = name.split(".")[0]
        if top == "torch":
            # The doctor reports what torch sees, once it is loaded.
            is_doctor = module.name == "doctor.py" and not is_eager
            assert part in TORCH or is_doctor, f"{part} imports torch"
        if top == "napari":
            is_command = part == "cli" and not is_eager
            assert part in ("viewer", "widgets") or is_command, f"{part} imports napari"
        if top in QT or top == "magicgui" or name.startswith("napari.qt"):
            assert part == "widgets", f"{part} imports {name}"
        assert top not in ("dill", "cloudpickle", "shelve"), name


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_house_rules(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    n_lines = len(text.splitlines())
    limit = LONGER.get(module.relative_to(PACKAGE).as_posix(), MAX_LINES)
    assert n_lines <= limit, f"{n_lines} lines: one responsibility each"
    assert ast.get_docstring(tree), "a module says what it is for"
    names = [n.func.id for n in ast.walk(tree)
             if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]  # fmt: skip
    if part_of(module) != "cli":
        assert "print" not in names
    assert not any(isinstance(n, ast.Assert) for n in ast.walk(tree))
    assert not any(
        isinstance(n, ast.ExceptHandler) and n.type is None for n in ast.walk(tree)
    )
    # torch.load(weights_only=True) raises pickle's error; nothing else of it is used.
    assert set(re.findall(r"pickle\.(\w+)", text)) <= {"UnpicklingError"}
    assert not re.search(r"from pickle import (?!UnpicklingError$)", text, re.M)
    assert not re.search(r"allow_pickle\s*=\s*True|weights_only\s*=\s*False", text)


def test_the_rules_would_notice() -> None:
    """The reader of imports sees those in functions and under TYPE_CHECKING."""
    seen = dict(imports(PACKAGE / "api.py"))
    assert seen["napari_sam.models"] is False
    assert seen["napari_sam.core.proposals"] is False
    assert seen["napari_sam.errors"] is True
    assert set(map(part_of, MODULES)) - {"__init__"} <= MAY_IMPORT.keys()
