"""What else could make the image encoder faster, each way in turn on the same image.

    python benchmarks/variants.py [--rounds N]

Beside the time of one encoding of 1024 × 1024 pixels: how far the embedding is from
that of the encoder as it is, and the IoU of the masks of 24 clicks with its masks.
Needs onnx, onnxruntime and onnxscript, and for ``torch.compile`` a compiler.
"""

from __future__ import annotations

# Before torch, as in the program: it chooses how torch's idle threads wait.

# isort: split

import argparse
import contextlib
import copy
import io
import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from skimage import data
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from _common import interleaved, print_table
from napari_sam.core.imaging import to_rgb
from napari_sam.models import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from napari_sam.models.sam1.sam import SamModel

    Run = Callable[[Tensor], Tensor]


class OneStep(nn.Module):
    """An encoder that is not run block by block."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        return self.run(x)

    def steps(self) -> list[Run]:
        """Return the whole as one step."""
        return [self.forward]


def main() -> None:
    """Print a table of ways."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-compile", action="store_true", help="a minute less")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    model = load_model(device="cpu", dtype="float32")
    encoder = model._encoder
    rgb = to_rgb(data.coins())
    pixels = torch.randn(1, 3, 1024, 1024).to(memory_format=torch.channels_last)
    ways: dict[str, nn.Module] = {"as it is": encoder}
    plain = copy.deepcopy(encoder).to(memory_format=torch.contiguous_format)
    ways["not channels last"] = OneStep(lambda x: plain(x.contiguous()))

    def in_parts(x: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return encoder(x)

    ways["attention not fused"] = OneStep(in_parts)
    if not options.skip_compile:
        compiled = torch.compile(copy.deepcopy(encoder))
        begun = time.perf_counter()
        with torch.inference_mode():
            compiled(pixels)
        print(f"torch.compile: {time.perf_counter() - begun:.0f} s for the first image")
        ways["torch.compile"] = OneStep(compiled)
    ways["int8 matrices, torch"] = torch.ao.quantization.quantize_dynamic(
        with_plain_matrices(encoder), {nn.Linear}, dtype=torch.qint8
    )
    with tempfile.TemporaryDirectory() as folder:
        path = exported(encoder, pixels, Path(folder))
        ways["ONNX Runtime"] = OneStep(session(path))
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"onnxruntime {onnxruntime.__version__}"
    )
    places = np.random.default_rng(0).uniform(20, 280, (24, 2))
    truth = masks(model, encoder, rgb, places)
    calls = {}
    with torch.inference_mode():
        expected = encoder(pixels)
    for name, way in ways.items():

        def call(way: nn.Module = way) -> Tensor:
            with torch.inference_mode():
                return way(pixels)

        calls[name] = call
        error = float((call() - expected).norm() / expected.norm())
        overlap = [
            (a & b).sum() / max(1, (a | b).sum())
            for a, b in zip(truth, masks(model, way, rgb, places), strict=True)
        ]
        print(
            f"{name:32} relative difference {error:.1e}, IoU of masks "
            f"{np.mean(overlap):.3f}, lowest {min(overlap):.3f}"
        )
    print_table(
        "encode 1024 × 1024", interleaved(calls, options.rounds), base="as it is"
    )


def masks(
    model: SamModel, encoder: nn.Module, rgb: np.ndarray, places: np.ndarray
) -> list[np.ndarray]:
    """Return the mask of a click at each place, with that encoder."""
    before, model._encoder = model._encoder, encoder
    try:
        plane = model.encode_rgb(rgb)
        shape = rgb.shape[:2]
        return [
            plane.predict(points=[(row, column)]).crop().full(shape)
            for row, column in places
        ]
    finally:
        model._encoder = before


def with_plain_matrices(encoder: nn.Module) -> nn.Module:
    """Return a copy with torch's own linear layers, which are those it quantizes."""
    plain = copy.deepcopy(encoder)
    for module in list(plain.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                linear = nn.Linear(child.in_features, child.out_features)
                linear.load_state_dict(child.state_dict())
                setattr(module, name, linear)
    return plain.eval()


def exported(encoder: nn.Module, pixels: Tensor, folder: Path) -> Path:
    """Export the encoder; return the file."""
    path = folder / "encoder.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            encoder, (pixels.contiguous(),), path, dynamo=True, external_data=False
        )
    return path


def session(path: Path) -> Run:
    """Return what runs an exported encoder with as many threads as torch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    opened = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    name = opened.get_inputs()[0].name

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(opened.run(None, {name: x.contiguous().numpy()})[0])

    return run


if __name__ == "__main__":
    main()
