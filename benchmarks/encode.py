"""Time to encode an image, against ONNX Runtime on the same network.

Our encoder is exported with ``torch.onnx`` and run by ONNX Runtime with as many
threads as torch has, in the same process, in turn.  Also checks our SAM ViT
against transformers' with the same small random weights.

    python benchmarks/encode.py [--rounds N]
"""

from __future__ import annotations

# Before torch, as in the program: it chooses how torch's idle threads wait.
import napari_sam.models

# isort: split

import argparse
import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from _common import interleaved, print_table, transformers_sam
from napari_sam.models import load_model
from napari_sam.models.registry import list_models
from napari_sam.models.sam1.checkpoint import SamNetwork, load_network
from napari_sam.models.sam1.vit import SamViT, ViTShape


def main() -> None:
    """Print a table of encoders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    rgb = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    pixels = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 60 - 2
    session, feed = _onnx(pixels)
    models = [
        load_model(device="cpu", dtype="float32"),
        load_model(device="cpu", dtype="auto"),
    ]
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, idle threads "
        f"{'sleep' if napari_sam.models.THREADS_SLEEP else 'spin'}; onnxruntime "
        f"{onnxruntime.__version__}; auto is {models[1].dtype}"
    )
    _print_vit_agreement()
    calls = {"onnxruntime, network alone": lambda: session.run(None, feed)}
    for label, model in zip(("float32", "auto"), models, strict=True):
        encoder = model._encoder
        x = pixels.to(model._dtype, memory_format=torch.channels_last)

        def network(encoder: torch.nn.Module = encoder, x: torch.Tensor = x) -> object:
            with torch.inference_mode():
                return encoder(x)

        calls[f"ours, {label}, network alone"] = network
        calls[f"ours, {label}, from RGB"] = lambda m=model: m.encode_rgb(rgb)
    with torch.inference_mode():
        expected = torch.from_numpy(session.run(None, feed)[0])
        for name, call in calls.items():
            if "ours" in name and "alone" in name:
                error = (call().float() - expected).norm() / expected.norm()
                print(f"{name}: relative difference to onnxruntime {error:.1e}")
    print_table(
        "encode 1024 × 1024",
        interleaved(calls, rounds),
        base="onnxruntime, network alone",
    )


def _onnx(
    pixels: torch.Tensor,
) -> tuple[onnxruntime.InferenceSession, dict[str, np.ndarray]]:
    """Export our encoder and open it with ONNX Runtime."""
    encoder = load_network(list_models()[0].path).image_encoder
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        path = Path(folder) / "encoder.onnx"
        torch.onnx.export(encoder, (pixels,), path, dynamo=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    return session, {session.get_inputs()[0].name: pixels.numpy()}


def _print_vit_agreement() -> None:
    """Print how well our SAM ViT agrees with transformers' of random weights."""
    shape = ViTShape(
        dim=96, depth=3, heads=3, grid=16, window=6, global_blocks=(2,), mlp=192
    )
    torch.manual_seed(0)
    network = SamNetwork(SamViT(shape), "vit_96x3", shape.grid * 16).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.05)
    reference = transformers_sam(
        network,
        {
            "hidden_size": shape.dim,
            "num_hidden_layers": shape.depth,
            "num_attention_heads": shape.heads,
            "image_size": shape.grid * 16,
            "window_size": shape.window,
            "global_attn_indexes": list(shape.global_blocks),
            "mlp_dim": shape.mlp,
            "output_channels": shape.out,
        },
    )
    pixels = torch.randn(1, 3, shape.grid * 16, shape.grid * 16)
    with torch.inference_mode():
        ours = network.image_encoder(pixels)
        theirs = reference.get_image_embeddings(pixels)
    error = (ours - torch.as_tensor(theirs)).norm() / ours.norm()
    print(f"SAM ViT: relative difference to transformers {error:.1e}")


if __name__ == "__main__":
    main()
