"""Weights files that are damaged or made to harm: one sentence, at once, no memory."""

from __future__ import annotations

import os
import random
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_sam.errors import ModelError, SamError
from napari_sam.models.sam1.checkpoint import SamNetwork, load_network
from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
from napari_sam.models.sam1.sam import SamModel
from napari_sam.models.sam1.vit import SamViT, ViTShape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TINY = ViTShape(dim=16, depth=2, heads=2, grid=4, window=2, global_blocks=(1,), mlp=8)
FUZZ_RUNS = int(os.environ.get("NAPARI_SAM_FUZZ", "60"))
State = dict[Any, Any]


@pytest.fixture(scope="module")
def tiny() -> dict[str, torch.Tensor]:
    """Return random weights of SAM's own architecture, as small as can be."""
    torch.manual_seed(0)
    network = SamNetwork(
        SamViT(TINY), "vit_tiny", TINY.grid * 16, blend=MultimaskEnsemble()
    )
    state = {k: torch.randn_like(v) * 0.05 for k, v in network.state_dict().items()}
    return state | {"blend.temperature": torch.tensor(0.05)}


@contextmanager
def limited_memory(extra: int = 1 << 30) -> Iterator[None]:
    """Let this process have no more than so many further bytes."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refused(path: Path, content: object, says: str) -> None:
    torch.save(content, path)
    with limited_memory(), pytest.raises(ModelError, match=says) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_a_dictionary_that_contains_itself(tmp_path: Path) -> None:
    endless: dict[str, object] = {}
    endless["model"] = endless
    refused(tmp_path / "endless.pt", endless, "without end")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_encoder.pos_embed": torch.ones(4)}, "axes"),
        ({"image_encoder.blocks.0.attn.rel_pos_h": torch.ones(3)}, "axes"),
        ({"image_encoder.blocks.0.attn.rel_pos_h": torch.ones(3, 0)}, "unknown kind"),
        ({"image_encoder.blocks.0.attn.rel_pos_h": torch.ones(3, 7)}, "unknown kind"),
        ({"image_encoder.neck.0.weight": torch.tensor(1.0)}, "axes"),
        (
            {"image_encoder.blocks.0.mlp.lin1.weight": torch.empty(10**9, 0)},
            "do not fit",
        ),
        ({"mask_decoder.iou_token.weight": torch.ones(1).expand(10**11)}, "claims"),
        (
            {"mask_decoder.iou_token.weight": torch.ones(1, 256).to_sparse()},
            "plain array",
        ),
        (
            {"mask_decoder.iou_token.weight": torch.ones(1, 256, dtype=torch.cfloat)},
            "plain array",
        ),
        (
            {"mask_decoder.iou_token.weight": torch.ones(1, 256, device="meta")},
            "plain array",
        ),
        ({"mask_decoder.iou_token.weight": torch.full((1, 256), torch.nan)}, "finite"),
        ({"mask_decoder.iou_token.weight": torch.full((1, 256), torch.inf)}, "finite"),
        ({"blend.temperature": torch.tensor(1e-30)}, "temperature"),
        ({"image_encoder.x.bn.weight": torch.ones(3)}, "batch norm"),
        (
            {
                "image_encoder.x.c.weight": torch.ones(3, 3, 1, 1),
                "image_encoder.x.bn.weight": torch.tensor(1.0),
            },
            "batch norm",
        ),
    ],
)
def test_entries_that_no_model_has(
    tmp_path: Path,
    tiny: dict[str, torch.Tensor],
    changes: dict[str, torch.Tensor],
    says: str,
) -> None:
    refused(tmp_path / "wrong.pt", tiny | changes, says)


def test_names_that_are_no_text(tmp_path: Path, tiny: dict[str, torch.Tensor]) -> None:
    refused(tmp_path / "numbers.pt", dict(enumerate(tiny.values())), "image_encoder")


def test_weights_that_are_not_finite_in_safetensors(
    tmp_path: Path, tiny: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "nan.safetensors"
    key = "mask_decoder.iou_prediction_head.layers.0.weight"
    save_file(tiny | {key: tiny[key] * torch.nan}, path)
    with pytest.raises(ModelError, match="iou_prediction_head"):
        load_network(path)


def _value(rng: random.Random, old: torch.Tensor) -> object:
    """Return something in place of a tensor."""
    shape = list(old.shape)
    axis = rng.randrange(len(shape)) if shape else 0
    other = [*shape[:axis], rng.choice([0, 1, 3, 10**9]), *shape[axis + 1 :]]
    choices: list[Any] = [
        lambda: old * torch.nan,
        lambda: old + torch.inf,
        lambda: torch.tensor(1.0),
        lambda: old[None],
        lambda: old.flatten(),
        lambda: old.double(),
        lambda: old.to(torch.int64),
        lambda: old.to(torch.bool),
        lambda: old.to(torch.cfloat),
        lambda: old.to_sparse(),
        lambda: old.to("meta"),
        lambda: torch.zeros(1).expand(other or [10**9]),
        lambda: torch.empty(10**9, 0),
        lambda: old.tolist(),
        lambda: None,
        lambda: old * 1e38,
        lambda: torch.zeros_like(old),
    ]
    return rng.choice(choices)()


def _mutated(rng: random.Random, state: State) -> object:
    """Return a state dictionary with one to three faults."""
    content: State = dict(state)
    for _ in range(rng.randint(1, 3)):
        key = rng.choice(list(content))
        fault = rng.randrange(8)
        if fault == 0:
            del content[key]
        elif fault == 1:
            content[rng.choice([7, None, (1, 2), "", "x" * 999, b"k"])] = content[key]
        elif fault == 2:
            content[key.replace("0", "9", 1) if isinstance(key, str) else 0] = (
                content.pop(key)
            )
        elif fault == 3:
            content[f"{key}.bn.weight"] = torch.ones(rng.randint(0, 4))
        else:
            old = content[key]
            content[key] = _value(
                rng, old if isinstance(old, torch.Tensor) else torch.ones(2)
            )
    wrapper = rng.choice([None, None, "model", "state_dict", "loop", "list"])
    if wrapper == "loop":
        content["model"] = content
    elif wrapper == "list":
        return rng.choice([[content], (content,), next(iter(content.values()))])
    elif wrapper is not None:
        return {wrapper: content, "epoch": 3}
    return content


@pytest.mark.timeout(300 + FUZZ_RUNS)
def test_only_our_errors_come_out(
    tmp_path: Path, tiny: dict[str, torch.Tensor]
) -> None:
    """Whatever is wrong with a file, loading it or using it says so in a sentence."""
    rng = random.Random(0)
    path = tmp_path / "fuzzed.pt"
    image = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
    n_refused = 0
    with limited_memory(2 << 30):
        for run in range(FUZZ_RUNS):
            torch.save(_mutated(rng, tiny), path)
            if run % 3 == 0:
                raw = bytearray(path.read_bytes())
                for _ in range(rng.randint(1, 20)):
                    raw[rng.randrange(len(raw))] = rng.randrange(256)
                path.write_bytes(raw)
            try:
                plane = SamModel.from_file(path, device="cpu", dtype="float32").encode(
                    image
                )
                plane.predict(points=[(5, 5)])
            except SamError:
                n_refused += 1
    assert n_refused > FUZZ_RUNS // 2
