"""Time from prompt to mask, against transformers' ``SamModel``.

Same weights, same embedding, same process, calls in turn.  Ours includes what a
user waits for, checking the prompt and upscaling the mask to the image;
transformers' is its forward pass alone.

    python benchmarks/decode.py [--rounds N]
"""

from __future__ import annotations

# Before torch, as in the program: it chooses how torch's idle threads wait.
import napari_sam.models

# isort: split

import argparse
from typing import TYPE_CHECKING

import numpy as np
import torch
from skimage import data

from _common import interleaved, print_table, transformers_sam
from napari_sam.core.imaging import to_rgb
from napari_sam.models import find_model, load_model
from napari_sam.models.sam1.checkpoint import load_network
from napari_sam.models.sam1.prompt_encoder import TokenLabel

if TYPE_CHECKING:
    from napari_sam.models.sam1.plane import SamPlane

MANY = 64
MIN_IOU = 0.88  # of everything mode


def main() -> None:
    """Print two tables: one prompt, and 64."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    image = data.coins()
    models = [
        load_model("mobile-sam", device="cpu", dtype="float32"),
        load_model("mobile-sam", device="cpu", dtype="auto"),
    ]
    default = load_model(device="cpu", dtype="auto")
    plane_of_default = default.encode(image)
    planes = [model.encode(image) for model in models]
    reference = transformers_sam(
        load_network(find_model("mobile-sam").path), {"num_hidden_layers": 1}
    )
    embedding = torch.from_numpy(planes[0].embedding.features)[None].float()
    grid = np.linspace(0, 1, 8)
    points = np.array([(r, c) for r in grid * 302 for c in grid * 383])
    scale = np.array(planes[0].frame.scale)
    xy = torch.tensor(((points + 0.5) * scale - 0.5)[:, ::-1].copy()).float()

    def transformers(count: int) -> torch.Tensor:
        with torch.inference_mode():
            return reference(
                image_embeddings=embedding,
                input_points=xy[None, :count, None],
                input_labels=torch.ones(1, count, 1, dtype=torch.int64),
                multimask_output=True,
            ).pred_masks

    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, idle threads "
        f"{'sleep' if napari_sam.models.THREADS_SLEEP else 'spin'}; "
        f"auto is {models[1].dtype}"
    )
    _print_agreement(planes[0], transformers(8), xy[:8])
    names = ["ours, float32", f"ours, auto ({models[1].dtype})"]
    one = {"transformers": lambda: transformers(1)}
    many = {"transformers": lambda: transformers(MANY)}
    for name, plane in zip(names, planes, strict=True):
        one[name] = lambda p=plane: p.predict(points[:1]).crop()
        many[name] = lambda p=plane: p.predict_many(points)
        many[f"{name}, IoU > {MIN_IOU}"] = lambda p=plane: list(
            p.iter_points(points, min_iou=MIN_IOU)
        )
    tiled = to_rgb(np.tile(image, (5, 4)))
    near, fast = (default.encode_rgb(tiled) for _ in range(2))
    coin = np.array([[124, 205]])
    small = coin + 2 * np.array(image.shape)
    one["ours, auto, default model, in a large image"] = lambda: fast.predict(
        small
    ).crop()
    # A plane that has no view yet; preparing it for the decoder is part of this.
    one["the same, first click near a place"] = lambda: default.restore(
        near.embedding, tiled
    ).predict(small)
    one["ours, auto, default model"] = lambda: plane_of_default.predict(coin).crop()
    many["ours, auto, default model"] = lambda: plane_of_default.predict_many(points)
    base = "transformers"
    print_table("one prompt, image encoded", interleaved(one, rounds), base=base)
    print_table(
        f"{MANY} prompts, per prompt",
        interleaved(many, max(1, rounds // 5)),
        base=base,
        count=MANY,
    )


def _print_agreement(plane: SamPlane, expected: torch.Tensor, xy: torch.Tensor) -> None:
    """Print how well our float32 masks agree with transformers', (1, N, 3, h, w)."""
    points = torch.stack([xy, torch.zeros_like(xy)], dim=1)
    labels = torch.tensor([[TokenLabel.POSITIVE, TokenLabel.PADDING]] * len(xy))
    ours = plane.decode_tokens(points, labels)[0][:, 1:] > 0
    theirs = expected[0] > 0
    both, either = (ours & theirs).sum((-1, -2)), (ours | theirs).sum((-1, -2))
    iou = (both / either.clamp(min=1)).mean()
    print(f"float32 masks agree with transformers at {iou:.5f} mean IoU")


if __name__ == "__main__":
    main()
