"""Weights of other origins, and files that are no weights."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_sam.core.views import SIDE
from napari_sam.errors import FileFormatError, ModelError
from napari_sam.models import find_model, load_model
from napari_sam.models.devices import is_bfloat16_faster, resolve_dtype
from napari_sam.models.image_encoders import tiny_vit_name
from napari_sam.models.metadata import read_metadata
from napari_sam.models.sam1.checkpoint import (
    SamNetwork,
    encoder_fingerprint,
    fingerprint,
    load_network,
    network_fingerprint,
    save_network,
)
from napari_sam.models.sam1.prompt_head import PromptHead
from napari_sam.models.sam1.sam import SamModel
from napari_sam.models.sam1.tiny_vit import TinyViT
from napari_sam.models.sam1.vit import SamViT, ViTShape
from napari_sam.types import PointPrompt, PromptSet

BUNDLED = find_model("mobile-sam").path
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


def test_processors_that_emulate_bfloat16_do_not_try_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tried(*_: object) -> None:
        raise AssertionError("a second of emulated arithmetic")

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch, "mm", tried)
    is_bfloat16_faster.cache_clear()
    assert resolve_dtype("auto", torch.device("cpu")) is torch.float32
    is_bfloat16_faster.cache_clear()


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a.bin", tmp_path / "b.bin"
    a.write_bytes(b"one")
    b.write_bytes(b"one")
    assert fingerprint(a, "vit_t") == fingerprint(b, "vit_t")
    assert fingerprint(a, "vit_t") != fingerprint(a, "vit_b")
    before = fingerprint(a, "vit_t")
    a.write_bytes(b"another")
    assert fingerprint(a, "vit_t") != before


# --- the prompt head and writing ----------------------------------------------


@pytest.fixture
def network(small_vit: dict[str, torch.Tensor]) -> SamNetwork:
    """Return a small network with a prompt head."""
    made = SamNetwork(SamViT(SMALL), "vit_48x3", SMALL.grid * 16)
    made.load_state_dict(small_vit)
    made.prompt_head = PromptHead()
    made.prompt_head.reset_parameters(seed=1)
    return made


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def test_a_network_comes_back_as_it_was_written(
    tmp_path: Path, network: SamNetwork
) -> None:
    path = tmp_path / "mine.safetensors"
    save_network(network, path, {"name": "Mine", "base": "mobile-sam"}, torch.float32)
    again = load_network(path)
    assert same(network, again)
    assert read_metadata(path) == {
        "format": "pt",
        "name": "Mine",
        "base": "mobile-sam",
        "architecture": "vit_48x3",
        "encoder": encoder_fingerprint(network),
        "thresholds": network.thresholds.to_text(),
    }
    assert encoder_fingerprint(again) == encoder_fingerprint(network)
    assert network_fingerprint(again) == network_fingerprint(network)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.safetensors"]


def test_a_file_tells_the_side_of_an_input(tmp_path: Path) -> None:
    """Only where the encoder does not show it; embeddings of others do not fit."""
    whole = load_network(BUNDLED)
    network = SamNetwork(TinyViT(), tiny_vit_name(448), 448)
    network.load_state_dict(whole.state_dict())
    path = tmp_path / "small.safetensors"
    save_network(network, path)
    again = load_network(path)
    assert (again.architecture, again.side) == ("vit_t_448", 448)
    assert whole.side == 1024
    assert encoder_fingerprint(again) != encoder_fingerprint(whole)
    for side in (0, 100, 450, 999_984):
        save_file(
            load_file(path), path, {"format": "pt", "architecture": f"vit_t_{side}"}
        )
        with pytest.raises(ModelError, match=f"input is {side} pixels a side"):
            load_network(path)


def test_inputs_as_small_as_a_view_answer_and_smaller_ones_are_refused(
    tmp_path: Path,
) -> None:
    """What is encoded enlarged for a click must not be larger than the input."""
    path = tmp_path / "small.safetensors"
    whole = load_network(find_model("mobile-sam-microscopy").path)
    assert whole.blend is not None
    points = PointPrompt(20, 20), PointPrompt(5, 5, positive=False)
    for side in (SIDE - TinyViT.patch, SIDE):
        network = SamNetwork(
            TinyViT(), tiny_vit_name(side), side, whole.prompt_head, whole.blend
        )
        network.load_state_dict(whole.state_dict())
        save_network(network, path)
        if side < SIDE:
            with pytest.raises(ModelError, match=f"from {SIDE} to 4096"):
                SamModel.from_file(path)
            continue
        plane = SamModel.from_file(path).encode(np.zeros((50, 60), np.uint8))
        assert plane.embedding.features.shape == (256, 28, 28)
        assert plane.predict_prompts(PromptSet(points)).best.shape == (50, 60)


def test_float16_is_written_unless_told(tmp_path: Path, network: SamNetwork) -> None:
    path = tmp_path / "small.safetensors"
    save_network(network, path)
    assert {v.dtype for v in load_file(path).values()} == {torch.float16}
    again = load_network(path)
    found = again.state_dict()
    for key, value in network.state_dict().items():
        expected = value.half().float()
        torch.testing.assert_close(found[key], expected, atol=0, rtol=0)
    # The stated fingerprint is that of the numbers in the file.
    assert read_metadata(path)["encoder"] == encoder_fingerprint(again)
    assert encoder_fingerprint(again) != encoder_fingerprint(network)


def test_the_bundled_model_survives_float16(tmp_path: Path) -> None:
    network = load_network(BUNDLED)
    path = tmp_path / "again.safetensors"
    save_network(network, path)
    assert same(load_network(path), network)


def test_training_forms_are_written_alike(tmp_path: Path, network: SamNetwork) -> None:
    path = tmp_path / "trained.safetensors"
    save_network(network, path, dtype=torch.float32)
    trained = copy.deepcopy(network).train().requires_grad_(True)
    for parameter in trained.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    other = tmp_path / "other.safetensors"
    save_network(trained, other, dtype=torch.float32)
    assert same(load_network(path), load_network(other))
    assert trained.training
    assert all(p.requires_grad for p in trained.parameters())


def test_a_head_is_built_only_for_its_weights(
    tmp_path: Path, network: SamNetwork, small_vit: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "head.safetensors"
    save_network(network, path)
    assert load_network(path).prompt_head is not None
    assert load_model(path, device="cpu").capabilities.object_maps
    assert not load_model("mobile-sam", device="cpu").capabilities.object_maps
    whole = load_file(path)
    part = {k: v for k, v in whole.items() if k != "prompt_head.out.bias"}
    more = whole | {"prompt_head.extra": torch.zeros(1)}
    for i, (state, says) in enumerate([(part, "out.bias"), (more, "extra")]):
        save_file(state, tmp_path / f"{i}.safetensors")
        with pytest.raises(ModelError, match=says):
            load_network(tmp_path / f"{i}.safetensors")


def test_models_with_one_encoder_share_embeddings(
    tmp_path: Path, network: SamNetwork
) -> None:
    """An encoder that was not trained keeps its embeddings, in any precision."""
    base = tmp_path / "base.safetensors"
    save_network(network, base, dtype=torch.float32)
    adapted = load_network(base)
    with torch.no_grad():
        adapted.mask_decoder.iou_token.weight += 1 / 3
        adapted.mask_decoder.mask_tokens.weight.mul_(2)
    child = tmp_path / "child.safetensors"
    save_network(adapted, child, dtype=None)
    a, b = load_model(base, device="cpu"), load_model(child, device="cpu")
    assert a.fingerprint != b.fingerprint
    assert a.encoder_fingerprint == b.encoder_fingerprint
    assert read_metadata(child)["encoder"] == a.encoder_fingerprint
    plane = a.encode(np.arange(40 * 30).reshape(40, 30) % 255)
    restored = b.restore(plane.embedding)
    assert not np.array_equal(
        plane.predict(points=[(3, 4)]).logits, restored.predict(points=[(3, 4)]).logits
    )
    with torch.no_grad():
        adapted.image_encoder.pos_embed[0, 0, 0, 0] += 1e-3
    other = SamModel.from_network(adapted, name="other", device="cpu")
    with pytest.raises(ModelError, match="not computed by other"):
        other.restore(plane.embedding)


def test_entries_are_as_small_as_they_can_be_exactly(
    tmp_path: Path, network: SamNetwork
) -> None:
    with torch.no_grad():
        for parameter in network.image_encoder.parameters():
            parameter.copy_(parameter.half().float())
    path = tmp_path / "exact.safetensors"
    save_network(network, path, dtype=None)
    assert same(load_network(path), network)
    kinds = {k: v.dtype for k, v in load_file(path).items()}
    encoder = {t for k, t in kinds.items() if k.startswith("image_encoder.")}
    assert encoder == {torch.float16}
    assert kinds["mask_decoder.iou_token.weight"] == torch.float32


def test_a_network_in_no_file_answers_like_its_file(
    tmp_path: Path, network: SamNetwork
) -> None:
    path = tmp_path / "n.safetensors"
    save_network(network, path, dtype=torch.float32)
    filed = load_model(path, device="cpu", dtype="float32")
    live = SamModel.from_network(network, name="n", device="cpu", dtype="float32")
    assert live.encoder_fingerprint == filed.encoder_fingerprint
    image = np.arange(40 * 30).reshape(40, 30) % 255
    answers = [m.encode(image).predict(points=[(9, 9)]).logits for m in (live, filed)]
    np.testing.assert_array_equal(*answers)
    before = answers[0]
    with torch.no_grad():
        network.mask_decoder.mask_tokens.weight.zero_()
    after = live.encode(image).predict(points=[(9, 9)]).logits
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_are_no_numbers_are_not_written(
    tmp_path: Path, network: SamNetwork, value: float
) -> None:
    path = tmp_path / "good.safetensors"
    save_network(network, path)
    before = path.read_bytes()
    with torch.no_grad():
        network.mask_decoder.iou_token.weight[0, 3] = value
    with pytest.raises(ModelError, match=r"iou_token.*finite"):
        save_network(network, path)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written(tmp_path: Path, network: SamNetwork) -> None:
    with pytest.raises(FileFormatError, match=r"mine\.pt is not"):
        save_network(network, tmp_path / "mine.pt")
    with pytest.raises(FileFormatError, match="cannot be written"):
        save_network(network, tmp_path / "no folder" / "mine.safetensors")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from napari_sam.errors import FileFormatError
from napari_sam.models.sam1.checkpoint import load_network, save_network
path = Path(sys.argv[1])
network = load_network(path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_network(network, path)
except FileFormatError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, network: SamNetwork) -> None:
    path = tmp_path / "mine.safetensors"
    save_network(network, path, {"name": "old"})
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "mine.safetensors cannot be written" in done.stdout
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mine.safetensors"]


def test_metadata_of_files_that_have_none(
    tmp_path: Path, small_vit: dict[str, torch.Tensor]
) -> None:
    plain, torn = tmp_path / "plain.safetensors", tmp_path / "torn.safetensors"
    save_file(small_vit, plain)
    torn.write_bytes(plain.read_bytes()[:100])
    with safe_open(plain, "pt") as file:
        assert file.metadata() is None
    missing = tmp_path / "missing.safetensors"
    for path in (plain, torn, missing, tmp_path / "other.pt"):
        assert read_metadata(path) == {}
