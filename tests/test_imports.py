"""Importing the package and reading its manifest stay cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest

import napari_sam

HEAVY = ("torch", "napari", "qtpy", "PyQt6", "PySide6", "vispy", "skimage", "scipy")


def loaded_by(code: str, heavy: tuple[str, ...] = HEAVY) -> set[str]:
    """Return the heavy packages that some code loads in a new interpreter."""
    report = f"import sys; print(*(m for m in {heavy!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_the_package() -> None:
    assert loaded_by("import napari_sam") == set()


def test_loading_the_manifest() -> None:
    code = """
from npe2 import PluginManifest
manifest = PluginManifest.from_distribution("napari-sam")
assert manifest.display_name == "napari-sam", manifest
"""
    assert loaded_by(code) == set()


@pytest.mark.parametrize(
    "code",
    [
        "import napari_sam.types, napari_sam.errors",
        "import napari_sam.models; napari_sam.models.list_models()",
        "import napari_sam.io",
        "from napari_sam import EmbeddingStore, PromptSet, read_image, list_models",
        "from napari_sam.cli import main; main(['models']) and None",
    ],
)
def test_light_parts_stay_light(code: str) -> None:
    quiet = "import io, sys; out, sys.stdout = sys.stdout, io.StringIO()\n"
    assert loaded_by(f"{quiet}{code}\nsys.stdout = out") == set()


def test_the_first_answer_leaves_the_compiler_of_torch_alone() -> None:
    """With it, which torch needs for its meta device, loading takes five times as long.

    Nor is anything else imported that only everything mode or the window need.
    """
    code = """
import numpy as np, napari_sam
model = napari_sam.load_model(device="cpu", dtype="float32")
image = np.indices((90, 120)).sum(0).astype(np.uint8)
assert model.encode(image).predict(points=[(40, 60)]).best.shape == (90, 120)
"""
    compiler = ("torch._dynamo", "torch.fx.experimental.symbolic_shapes", "sympy")
    others = ("torch._inductor", "triton", "pandas", "skimage", "scipy", "napari")
    assert loaded_by(code, compiler + others) == set()


def test_core_and_samples_need_no_model_and_no_window() -> None:
    code = """
import importlib, pkgutil, napari_sam.core, napari_sam.samples, napari_sam.api
for module in pkgutil.iter_modules(napari_sam.core.__path__):
    importlib.import_module(f"napari_sam.core.{module.name}")
"""
    assert loaded_by(code) <= {"scipy", "skimage"}


@pytest.mark.parametrize("name", napari_sam.__all__)
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(napari_sam, name)
    assert value is getattr(napari_sam, name)
    assert name in dir(napari_sam)
    if name != "__version__":
        assert value.__doc__


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        napari_sam.no_such_name  # noqa: B018


def test_version() -> None:
    from importlib.metadata import version

    assert napari_sam.__version__ == version("napari-sam")
