"""Which models are listed, and what is said of them without loading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from napari_sam.errors import ModelError
from napari_sam.models import (
    DEFAULT_MODEL,
    ModelSpec,
    find_model,
    list_models,
    load_model,
    registry,
)
from napari_sam.models.registry import MODELS_FOLDER_VARIABLE
from napari_sam.models.sam1.checkpoint import SamNetwork, save_network
from napari_sam.models.sam1.vit import SamViT, ViTShape

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ViTShape(dim=48, depth=3, heads=3, grid=8, window=6, global_blocks=(2,), mlp=96)


@pytest.fixture(scope="module")
def network() -> SamNetwork:
    torch.manual_seed(0)
    return SamNetwork(SamViT(SMALL), "vit_48x3", SMALL.grid * 16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's folder of models."""
    monkeypatch.setenv(MODELS_FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def own() -> list[ModelSpec]:
    return [spec for spec in list_models() if not spec.bundled]


def test_models_of_ones_own(folder: Path, network: SamNetwork) -> None:
    save_network(network, folder / "cells.safetensors")
    torch.save(network.state_dict(), folder / "cells.pt")
    (folder / "notes.txt").write_text("nothing")
    assert [s.name for s in own()] == ["cells", "cells.safetensors"]
    assert own()[0].licence == "unknown"
    model = load_model("cells.safetensors", device="cpu")
    assert model.name == "cells.safetensors"


def test_a_file_speaks_for_itself(folder: Path, network: SamNetwork) -> None:
    about = {
        "name": "My nuclei",
        "description": "Adapted to 50 nuclei\nof series 3\x1b[31m.",
        "licence": "CC0-1.0",
        "use_for": "DAPI",
    }
    save_network(network, folder / "a.safetensors", about)
    (spec,) = own()
    assert spec == ModelSpec(
        "My nuclei",
        "Adapted to 50 nuclei of series 3 [31m.",
        "CC0-1.0",
        folder / "a.safetensors",
        False,
        "DAPI",
    )
    model = load_model("My nuclei", device="cpu")
    assert model.name == "My nuclei"
    assert load_model(spec.path, device="cpu").name == "My nuclei"


def test_names_are_unique_and_bundled_ones_keep_theirs(
    folder: Path, network: SamNetwork
) -> None:
    for stem in ("a", "b", "c"):
        save_network(network, folder / f"{stem}.safetensors", {"name": "nuclei"})
    save_network(network, folder / "d.safetensors", {"name": "mobile-sam"})
    save_network(network, folder / "nuclei.safetensors")
    assert [s.name for s in own()] == ["nuclei", "b", "c", "d", "nuclei.safetensors"]
    assert find_model("mobile-sam").bundled


def test_long_and_empty_texts(folder: Path, network: SamNetwork) -> None:
    about = {"name": " ", "description": "x" * 5000, "licence": ""}
    save_network(network, folder / "a.safetensors", about)
    (spec,) = own()
    assert spec.name == "a"
    assert len(spec.description) == 200
    assert spec.licence == "unknown"


def test_damaged_and_half_written_files(folder: Path, network: SamNetwork) -> None:
    save_network(network, folder / "whole.safetensors")
    content = (folder / "whole.safetensors").read_bytes()
    (folder / "torn.safetensors").write_bytes(content[:1000])
    (folder / ".x-new.safetensors").write_bytes(content[:1000])
    assert [s.name for s in own()] == ["torn", "whole"]
    with pytest.raises(ModelError, match="damaged or cut short"):
        load_model("torn")


def test_the_default_comes_first_and_is_there(folder: Path) -> None:
    specs = list_models()
    assert specs[0].name == DEFAULT_MODEL
    assert all(spec.bundled and spec.path.is_file() for spec in specs)
    assert all(spec.use_for and spec.licence for spec in specs)


def test_a_bundled_model_is_listed_once_its_file_is_there(
    folder: Path, network: SamNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that a checkout lacks are left out of the list."""
    spec = ModelSpec("extra", "One more.", "MIT", folder / "e" / "x.safetensors", True)
    monkeypatch.setattr(registry, "_BUNDLED", (*registry._BUNDLED, spec))
    assert "extra" not in [s.name for s in list_models()]
    spec.path.parent.mkdir()
    save_file({"x": torch.ones(1)}, spec.path)
    assert "extra" in [s.name for s in list_models()]


def test_missing_models(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights file at .*none\.pt"):
        find_model(folder / "none.pt")
    with pytest.raises(ModelError, match=r"no model called 'sam-9'.*mobile-sam"):
        find_model("sam-9")
