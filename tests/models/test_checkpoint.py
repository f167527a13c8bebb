"""Weights of other origins, and files that are no weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_sam.errors import ModelError
from napari_sam.models import ModelSpec, list_models, load_model
from napari_sam.models.checkpoint import SamNetwork, fingerprint, load_network
from napari_sam.models.registry import MODELS_FOLDER_VARIABLE
from napari_sam.models.vit import SamViT, ViTShape

BUNDLED = list_models()[0].path
SMALL = ViTShape(dim=48, depth=3, heads=3, grid=8, window=6, global_blocks=(2,), mlp=96)


@pytest.fixture(scope="module")
def bundled() -> dict[str, torch.Tensor]:
    return {k: v.float() for k, v in load_file(BUNDLED).items()}


@pytest.fixture(scope="module")
def small_vit() -> dict[str, torch.Tensor]:
    """Return random weights of SAM's own architecture, small."""
    torch.manual_seed(0)
    network = SamNetwork(SamViT(SMALL), "vit_small", SMALL.grid * 16)
    return {k: torch.randn_like(v) * 0.05 for k, v in network.state_dict().items()}


def unfolded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo the folding of batch norm with norms of arbitrary statistics."""
    generator = torch.Generator().manual_seed(0)
    out = dict(state)
    for key in state:
        if not key.endswith(".c.weight"):
            continue
        stem = key.removesuffix("c.weight")
        n = len(state[key])
        mean = torch.randn(n, generator=generator)
        variance, gain = (0.5 + torch.rand(n, generator=generator) for _ in range(2))
        scale = gain / torch.sqrt(variance + 1e-5)
        out[key] = state[key] / scale[:, None, None, None]
        out |= {
            f"{stem}bn.weight": gain,
            f"{stem}bn.bias": out.pop(f"{stem}c.bias") + mean * scale,
            f"{stem}bn.running_mean": mean,
            f"{stem}bn.running_var": variance,
            f"{stem}bn.num_batches_tracked": torch.tensor(1),
        }
    return out


def test_batch_norms_are_folded(
    tmp_path: Path, bundled: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "official.pt"
    extra = {
        "image_encoder.norm_head.weight": torch.ones(320),
        "image_encoder.head.weight": torch.ones(10, 320),
        "image_encoder.layers.1.blocks.0.attn.attention_bias_idxs": torch.ones(49, 49),
    }
    torch.save(unfolded(bundled) | extra, path)
    found = load_network(path).state_dict()
    for key, value in bundled.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("wrapper", [None, "model_state", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "sam.", "module."])
def test_a_vit_of_any_packing_runs(
    tmp_path: Path,
    small_vit: dict[str, torch.Tensor],
    wrapper: str | None,
    prefix: str,
) -> None:
    path = tmp_path / "vit.pt"
    state = {prefix + k: v for k, v in small_vit.items()}
    content = state if wrapper is None else {wrapper: state, "epoch": 3}
    torch.save(content, path)
    model = load_model(path, device="cpu", dtype="float32")
    assert model.architecture == "vit_48x3"
    assert model.side == 128
    plane = model.encode(np.arange(40 * 30).reshape(40, 30) % 255)
    assert plane.embedding.features.shape == (256, 8, 8)
    result = plane.predict(points=[(3, 4)])
    assert result.logits.shape == (4, 32, 32)
    assert result.best.shape == (40, 30)


def test_unneeded_entries_of_meta_and_safetensors(
    tmp_path: Path, small_vit: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "vit.safetensors"
    save_file(small_vit | {"pixel_mean": torch.ones(3, 1, 1)}, path)
    assert load_network(path).architecture == "vit_48x3"


def test_no_code_in_a_weights_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "code.pt"
    torch.save({"image_encoder.x": Path("/")}, path)
    with pytest.raises(ModelError, match="safely"):
        load_network(path)


def test_a_file_cut_short(tmp_path: Path, small_vit: dict[str, torch.Tensor]) -> None:
    whole = tmp_path / "whole.pt"
    torch.save(small_vit, whole)
    for source, name in ((BUNDLED, "a.safetensors"), (whole, "a.pt"), (whole, "a.pth")):
        for keep in (0, 7, 1000, source.stat().st_size - 10):
            path = tmp_path / name
            path.write_bytes(source.read_bytes()[:keep])
            with pytest.raises(ModelError, match=f"{name}.*get the") as caught:
                load_model(path)
            assert "\n" not in str(caught.value)


def test_other_architectures(
    tmp_path: Path,
    bundled: dict[str, torch.Tensor],
    small_vit: dict[str, torch.Tensor],
) -> None:
    no_decoder = {k: v for k, v in bundled.items() if not k.startswith("mask_dec")}
    wide = dict(bundled) | {"mask_decoder.iou_token.weight": torch.zeros(1, 128)}
    more = dict(bundled) | {"mask_decoder.hf_token.weight": torch.zeros(1, 256)}
    other = {k: v for k, v in small_vit.items() if "pos_embed" not in k}
    no_blocks = {k: v for k, v in small_vit.items() if ".blocks." not in k}
    cases = [
        ({"layer.weight": torch.ones(2)}, "no image_encoder"),
        (no_decoder, "no mask_decoder"),
        (wide, "iou_token"),
        (more, "hf_token"),
        (other, "unknown kind"),
        (no_blocks, "unknown kind"),
    ]
    for i, (state, says) in enumerate(cases):
        path = tmp_path / f"{i}.safetensors"
        save_file(state, path)
        with pytest.raises(ModelError, match=says):
            load_network(path)


def test_not_a_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "list.pt"
    torch.save([1, 2, 3], path)
    with pytest.raises(ModelError, match="holds a list"):
        load_network(path)


def test_missing_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights file at .*none\.pt"):
        load_model(tmp_path / "none.pt")
    with pytest.raises(ModelError, match=r"no model called 'sam-9'.*mobile-sam"):
        load_model("sam-9")
    with pytest.raises(ModelError, match="no weights file"):
        load_network(tmp_path / "none.safetensors")


def test_unknown_devices_and_precisions() -> None:
    for device in ("abacus", "cuda:77", "meta"):
        with pytest.raises(ModelError, match="device"):
            load_model(device=device)
    with pytest.raises(ModelError, match="precision"):
        load_model(dtype="float12")


def test_models_of_ones_own(
    tmp_path: Path,
    small_vit: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_file(small_vit, tmp_path / "cells.safetensors")
    torch.save(small_vit, tmp_path / "cells.pt")
    (tmp_path / "notes.txt").write_text("nothing")
    monkeypatch.setenv(MODELS_FOLDER_VARIABLE, str(tmp_path))
    specs = list_models()
    assert all(isinstance(spec, ModelSpec) for spec in specs)
    assert [s.name for s in specs] == ["mobile-sam", "cells", "cells.safetensors"]
    assert [s.bundled for s in specs] == [True, False, False]
    model = load_model("cells.safetensors", device="cpu")
    assert model.name == "cells.safetensors"


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a.bin", tmp_path / "b.bin"
    a.write_bytes(b"one")
    b.write_bytes(b"one")
    assert fingerprint(a, "vit_t") == fingerprint(b, "vit_t")
    assert fingerprint(a, "vit_t") != fingerprint(a, "vit_b")
    before = fingerprint(a, "vit_t")
    a.write_bytes(b"another")
    assert fingerprint(a, "vit_t") != before
