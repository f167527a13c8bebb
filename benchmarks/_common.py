"""What the model benchmarks share: fair timing, tables, transformers' SAM."""

from __future__ import annotations

import argparse
import re
import warnings
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from napari_sam.models.sam1.checkpoint import SamNetwork

# transformers' names for SAM's own, applied in order.
_RENAMED = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.(\d+)\.norm(\d)\.", r".layers.\1.layer_norm\2."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"(transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"((?:hypernetworks_mlps\.\d+|prediction_head))\.layers\.0\.", r"\1.proj_in."),
    (r"((?:hypernetworks_mlps\.\d+|prediction_head))\.layers\.1\.", r"\1.layers.0."),
    (r"((?:hypernetworks_mlps\.\d+|prediction_head))\.layers\.2\.", r"\1.proj_out."),
)
_POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


def folder_parser(
    description: str | None, objects: int | None = None
) -> argparse.ArgumentParser:
    """Return the options of what measures on folders of images.

    ``objects`` is how many of each image are measured by default, if it matters.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--split", choices=["train", "val"])
    parser.add_argument("--max-images", type=int, default=8)
    if objects is not None:
        parser.add_argument(
            "--objects", type=int, default=objects, help="of each image"
        )
    return parser


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, tuple[float, float]]:
    """Time calls in turn, so that a noisy neighbor disturbs all alike.

    Returns
    -------
    dict
        Minimum and median seconds of each.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = perf_counter()
            call()
            times[name].append(perf_counter() - start)
    return {name: (min(t), float(np.median(t))) for name, t in times.items()}


def print_table(
    title: str,
    times: Mapping[str, tuple[float, float]],
    *,
    base: str,
    count: int = 1,
) -> None:
    """Print milliseconds and the ratio to ``base``, divided by ``count``."""
    print(f"\n{title}")
    print(f"{'':34}{'min ms':>9}{'median ms':>11}{'min ratio':>11}{'med ratio':>11}")
    for name, (least, median) in times.items():
        print(
            f"{name:34}{least / count * 1e3:9.1f}{median / count * 1e3:11.1f}"
            f"{least / times[base][0]:11.2f}{median / times[base][1]:11.2f}"
        )


def transformers_sam(network: SamNetwork, vision: dict[str, Any]) -> torch.nn.Module:
    """Return transformers' ``SamModel`` with a network's weights.

    Parameters
    ----------
    network : SamNetwork
        Ours.
    vision : dict
        Arguments of ``SamVisionConfig``.  transformers has no TinyViT: its
        image encoder is left as it is unless ours is a SAM ViT.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import SamConfig, SamModel, SamVisionConfig

        model = SamModel(SamConfig(vision_config=SamVisionConfig(**vision).to_dict()))
    has_vit = network.architecture != "vit_t"
    state = {
        _renamed(key): value
        for key, value in network.state_dict().items()
        if has_vit or not key.startswith("image_encoder.")
    }
    positions = state.pop(_POSITIONS)
    state["prompt_encoder.shared_embedding.positional_embedding"] = positions
    state["shared_image_embedding.positional_embedding"] = positions
    missing, unexpected = model.load_state_dict(state, strict=False)
    left = [k for k in missing if has_vit or not k.startswith("vision_encoder.")]
    if left or unexpected:
        raise RuntimeError(f"weights do not fit transformers: {left} {unexpected}")
    # transformers sets 1e-6 throughout; SAM's decoder was trained with torch's
    # 1e-5, and logits differ by 0.2 otherwise.
    for module in model.mask_decoder.modules():
        if type(module).__name__ == "LayerNorm":
            module.eps = 1e-5
    return model.eval()


def _renamed(key: str) -> str:
    for pattern, new in _RENAMED:
        key = re.sub(pattern, new, key)
    return key
