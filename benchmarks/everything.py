"""Everything mode: does it find the reference's masks, and at what cost.

    python benchmarks/everything.py --check     # against transformers' SamModel
    python benchmarks/everything.py             # time per image, memory, filtering
    python benchmarks/everything.py --model mobile-sam-microscopy --prompts objects

``--check`` runs SAM's published automatic mask generation, written out plainly
below, on the outputs of transformers' ``SamModel`` (prompt encoder and mask
decoder) with the same weights and the same image embedding, and compares its
masks with ours at the same settings.  Two masks match if their IoU is above 0.9;
each is used once.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import torch
from safetensors.torch import load_file
from scipy.optimize import linear_sum_assignment
from skimage import data
from torch.nn.functional import interpolate
from transformers import SamConfig, SamModel

import napari_sam
from napari_sam.core.everything.search import EverythingSettings, iter_everything, run
from napari_sam.core.imaging import to_rgb
from napari_sam.models import load_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.core.model import EncodedPlane
    from napari_sam.types import Frame, Progress

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
WEIGHTS = Path(napari_sam.__file__).parent / "weights" / "mobile_sam.safetensors"
IMAGES = [
    "dsb2018/images/00071198d059ba7f.png",
    "dsb2018/images/01d44a26f6680c42.png",
    "usiigaci_phase/images/train_set1.png",
    "usiigaci_phase/images/train_set10.png",
    "wsu_chloroplast_em2d/images/z001.png",
    "ctc_psc_st_timelapse/images/t000.png",
    "tiny_coco_natural/images/train_000000005802.jpg",
    "tiny_coco_natural/images/train_000000012448.jpg",
    "tiny_coco_natural/images/train_000000051191.jpg",
]
SKIMAGE = ["coins", "astronaut", "camera", "coffee"]

# --- transformers' decoder with our weights -----------------------------------

RENAMED = [
    ("mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    ("mask_downscaling.0.", "mask_embed.conv1."),
    ("mask_downscaling.1.", "mask_embed.layer_norm1."),
    ("mask_downscaling.3.", "mask_embed.conv2."),
    ("mask_downscaling.4.", "mask_embed.layer_norm2."),
    ("mask_downscaling.6.", "mask_embed.conv3."),
    ("point_embeddings.", "point_embed."),
    (
        "pe_layer.positional_encoding_gaussian_matrix",
        "shared_embedding.positional_embedding",
    ),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    (".norm3.", ".layer_norm3."),
    (".norm4.", ".layer_norm4."),
    (".norm_final_attn.", ".layer_norm_final_attn."),
]


def transformers_sam() -> SamModel:
    """Return transformers' SAM with the bundled prompt encoder and decoder."""
    model = SamModel(SamConfig(vision_config={"num_hidden_layers": 1})).eval()
    state = {}
    for key, value in load_file(WEIGHTS).items():
        if key.startswith("image_encoder."):
            continue
        name = key
        for old, new in RENAMED:
            name = name.replace(old, new)
        if "iou_prediction_head" in name or "hypernetworks_mlps" in name:
            name = name.replace("layers.0.", "proj_in.")
            name = name.replace("layers.2.", "proj_out.").replace(
                "layers.1.", "layers.0."
            )
        state[name] = value.float()
    matrix = state["prompt_encoder.shared_embedding.positional_embedding"]
    state["shared_image_embedding.positional_embedding"] = matrix
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [m for m in missing if not m.startswith("vision_encoder.")]
    if wrong or unexpected:
        raise SystemExit(f"weights do not fit: missing {wrong}, extra {unexpected}")
    return model


# --- the published algorithm, plainly -----------------------------------------


def decode(
    sam: SamModel, plane: EncodedPlane, xy: np.ndarray
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield full-size logits and predicted IoU of points in image pixels (x, y)."""
    frame = plane.frame
    scale = np.array([frame.scale[1], frame.scale[0]])
    features = torch.from_numpy(plane.embedding.features)[None].float()
    for start in range(0, len(xy), 16):
        points = torch.from_numpy(xy[start : start + 16] * scale).float()
        with torch.inference_mode():
            out = sam(
                image_embeddings=features,
                input_points=points[None, :, None],
                input_labels=torch.ones(1, len(points), 1, dtype=torch.long),
                multimask_output=True,
            )
        for logits, scores in zip(out.pred_masks[0], out.iou_scores[0], strict=True):
            full = postprocess(logits, frame).numpy()
            yield from zip(full, scores.tolist(), strict=True)


def postprocess(logits: torch.Tensor, frame: Frame) -> torch.Tensor:
    """Upscale (3, 256, 256) to the image: to 1024, cut the padding, to its size."""
    x = interpolate(logits[None], (frame.side,) * 2, mode="bilinear")
    x = x[..., : frame.input_size[0], : frame.input_size[1]]
    return interpolate(x, frame.image_size, mode="bilinear")[0]


def to_box(mask: np.ndarray) -> list[int]:
    """Return first and last pixel as x0, y0, x1, y1."""
    rows, cols = np.nonzero(mask)
    return [int(cols.min()), int(rows.min()), int(cols.max()), int(rows.max())]


def nms(boxes: list[list[int]], scores: list[float], threshold: float) -> list[int]:
    """Return kept boxes, best first."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(box_iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def box_iou(a: list[int], b: list[int]) -> float:
    """Return intersection over union of two x0, y0, x1, y1 boxes."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / both if both else 0.0


def reference(
    sam: SamModel, model: Any, rgb: np.ndarray, s: EverythingSettings
) -> list[np.ndarray]:
    """Run automatic mask generation; return masks."""
    height, width = rgb.shape[:2]
    crops = [(0, [0, 0, width, height])]
    for layer in range(1, s.crop_n_layers + 1):
        n = 2**layer
        overlap = int(s.crop_overlap_ratio * min(height, width) * (2 / n))
        w = math.ceil((overlap * (n - 1) + width) / n)
        h = math.ceil((overlap * (n - 1) + height) / n)
        xs = [int((w - overlap) * i) for i in range(n)]
        ys = [int((h - overlap) * i) for i in range(n)]
        crops += [
            (layer, [x, y, min(x + w, width), min(y + h, height)])
            for x, y in product(xs, ys)
        ]
    found: list[tuple[np.ndarray, list[int], float]] = []
    for layer, crop in crops:
        found += one_crop(sam, model, rgb, s, layer, crop)
    if len(crops) > 1:
        keep = nms([f[1] for f in found], [f[2] for f in found], s.crop_nms_thresh)
        found = [found[i] for i in keep]
    return [f[0] for f in found]


def one_crop(
    sam: SamModel,
    model: Any,
    rgb: np.ndarray,
    s: EverythingSettings,
    layer: int,
    crop: list[int],
) -> list[tuple[np.ndarray, list[int], float]]:
    """Return masks, boxes and preference of one crop, in image pixels."""
    x0, y0, x1, y1 = crop
    height, width = rgb.shape[:2]
    plane = model.encode_rgb(np.ascontiguousarray(rgb[y0:y1, x0:x1]))
    n = s.points_per_side // s.crop_n_points_downscale_factor**layer
    line = np.linspace(1 / (2 * n), 1 - 1 / (2 * n), n)
    xy = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    masks, boxes, scores = [], [], []
    thresholds = s.thresholds((height, width))
    for logits, score in decode(sam, plane, xy * [x1 - x0, y1 - y0]):
        if score <= thresholds.min_score:
            continue
        high = np.count_nonzero(logits > s.stability_score_offset)
        low = np.count_nonzero(logits > -s.stability_score_offset)
        if not low or high / low < thresholds.min_stability:
            continue
        mask = logits > 0
        box = to_box(mask)
        box = [box[0] + x0, box[1] + y0, box[2] + x0, box[3] + y0]
        if any(
            abs(b - c) <= 20 and abs(b - i) > 20
            for b, c, i in zip(box, crop, [0, 0, width, height], strict=True)
        ):
            continue
        masks.append(mask)
        boxes.append(box)
        scores.append(score)
    result = []
    for i in nms(boxes, scores, s.box_nms_thresh):
        full = np.zeros((height, width), bool)
        full[y0:y1, x0:x1] = masks[i]
        result.append((full, boxes[i], 1 / ((x1 - x0) * (y1 - y0))))
    return result


# --- comparison ---------------------------------------------------------------


def mask_ious(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """Return the IoU of every pair of masks."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    x, y = (np.stack([m.ravel() for m in masks]).astype(np.float32) for masks in (a, b))
    shared = x @ y.T
    return shared / (x.sum(1)[:, None] + y.sum(1)[None] - shared)


def named_images() -> Iterator[tuple[str, np.ndarray]]:
    """Yield real images as RGB uint8."""
    for name in SKIMAGE:
        yield name, to_rgb(getattr(data, name)())
    for path in IMAGES:
        if (SHARED / path).exists():
            yield path.split("/images/")[0], to_rgb(iio.imread(SHARED / path))


def check(options: argparse.Namespace) -> None:
    """Compare with the reference and print a table."""
    model = load_model("mobile-sam", device=options.device, dtype=options.dtype)
    sam = transformers_sam()
    print(f"points per side {options.points}, dtype {model.dtype}")
    print("| image | crops | reference | ours | matched | mean IoU |")
    print("| --- | --- | --- | --- | --- | --- |")
    ours_total = reference_total = matched_total = 0
    overlaps: list[float] = []
    for number, (name, rgb) in enumerate(named_images()):
        if number >= options.images:
            break
        # Two images with crop layers: they cost five encodings each.
        layers = 1 if number < options.crops else 0
        settings = EverythingSettings(
            points_per_side=options.points,
            crop_n_layers=layers,
            crop_n_points_downscale_factor=2,
            min_area=0,
            max_area_share=1,
            prompts="grid",
        )
        expected = reference(sam, model, rgb, settings)
        proposals = run(iter_everything(rgb, model.encode_rgb, settings))
        ours = [m.full(rgb.shape[:2]) for m in proposals.iter_masks()]
        table = mask_ious(expected, ours)
        rows, cols = linear_sum_assignment(table, maximize=True)
        good = table[rows, cols][table[rows, cols] > 0.9]
        reference_total += len(expected)
        ours_total += len(ours)
        matched_total += len(good)
        overlaps += good.tolist()
        mean = f"{good.mean():.4f}" if len(good) else ""
        print(
            f"| {name} | {4**layers if layers else 0} | {len(expected)} | {len(ours)} "
            f"| {len(good)} | {mean} |",
            flush=True,
        )
    print(
        f"\nmatched {matched_total / max(1, reference_total):.4f} of the reference's "
        f"masks and {matched_total / max(1, ours_total):.4f} of ours, "
        f"mean IoU {np.mean(overlaps):.4f}"
    )


def measure(options: argparse.Namespace) -> None:
    """Time everything mode and filtering."""
    model = load_model(options.model, device=options.device, dtype=options.dtype)
    print(
        "| image | size | prompts | s | of it decoding | candidates | shown "
        "| mask MB | filter ms |"
    )
    print("| --- " * 9 + "|")
    settings = EverythingSettings(
        prompts=options.prompts, points_per_side=options.points
    )
    for number, (name, rgb) in enumerate(named_images()):
        if number >= options.images:
            break
        plane = model.encode_rgb(rgb)
        plane.predict(points=[(0, 0)])
        steps: list[Progress] = []
        started = time.perf_counter()
        proposals = run(
            iter_everything(rgb, model.encode_rgb, settings, plane=plane), steps.append
        )
        seconds = time.perf_counter() - started
        n_prompts = steps[-1].done
        grid = [
            ((i + 0.5) * rgb.shape[0] / 8, (j + 0.5) * rgb.shape[1] / 8)
            for i, j in product(range(8), range(8))
        ]
        started = time.perf_counter()
        for _ in plane.iter_points(grid, min_iou=proposals.floor[0]):
            pass
        decoding = (time.perf_counter() - started) / 64 * n_prompts
        times = []
        for score in np.linspace(0.6, 0.99, 15):
            started = time.perf_counter()
            proposals.filter(min_score=float(score), min_stability=0.6)
            times.append(time.perf_counter() - started)
        size = sum(m.runs.nbytes for m in proposals.candidates.masks) / 1e6
        print(
            f"| {name} | {rgb.shape[0]} x {rgb.shape[1]} | {n_prompts} "
            f"| {seconds:.1f} | {decoding / seconds:.0%} "
            f"| {len(proposals.candidates)} | {len(proposals)} | {size:.1f} "
            f"| {np.median(times) * 1000:.1f} |",
            flush=True,
        )


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--model", default="mobile-sam", help="to be timed")
    parser.add_argument(
        "--prompts", choices=["auto", "grid", "objects"], default="auto"
    )
    parser.add_argument("--points", type=int, default=16, help="points per side")
    parser.add_argument("--images", type=int, default=99)
    parser.add_argument("--crops", type=int, default=2, help="images with crops")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    (check if options.check else measure)(options)


if __name__ == "__main__":
    main()
