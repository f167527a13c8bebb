"""Agreement with the original ONNX files, computed by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage
import torch
from skimage import data
from skimage.io import imread

from napari_sam.models.sam1.prompt_encoder import TokenLabel

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile

    from napari_sam.models.sam1.plane import SamPlane
    from napari_sam.models.sam1.sam import SamModel

CASES = {"coins": 3, "astronaut": 3, "ihc": 2}


def rgb_image(name: str) -> np.ndarray:
    if name == "ihc":
        return imread(Path(skimage.__file__).parent / "data" / "ihc.png")[..., :3]
    image = getattr(data, name)()
    return np.stack([image] * 3, axis=-1) if image.ndim == 2 else image


@pytest.fixture(scope="module")
def reference(shared: Path) -> NpzFile:
    return np.load(shared / "weights" / "reference_outputs.npz")


@pytest.fixture(scope="module", params=CASES)
def encoded(request: pytest.FixtureRequest, model32: SamModel) -> tuple[str, SamPlane]:
    return request.param, model32.encode_rgb(rgb_image(request.param))


def test_embedding_agrees(encoded: tuple[str, SamPlane], reference: NpzFile) -> None:
    name, plane = encoded
    expected = reference[f"{name}/embedding"].astype(np.float32)
    found = plane.embedding.features.astype(np.float32)
    assert np.linalg.norm(found - expected) < 3e-3 * np.linalg.norm(expected)


def test_every_prompt_agrees(encoded: tuple[str, SamPlane], reference: NpzFile) -> None:
    name, plane = encoded
    for i in range(CASES[name]):
        case = {k: reference[f"{name}/{i}/{k}"] for k in ("low_res_logits", "iou")}
        xy, labels = _tokens(reference, f"{name}/{i}", plane)
        logits, iou = plane.decode_tokens(xy, labels)
        # The ONNX export takes the best of three for up to two tokens.
        pick = int(iou[0, 1:].argmax()) + 1 if labels.shape[1] <= 2 else 0
        difference = np.abs(logits[0, pick].numpy() - case["low_res_logits"])
        assert difference.mean() < 0.05, (name, i)
        assert difference.max() < 0.2, (name, i)
        assert float(iou[0, pick]) == pytest.approx(float(case["iou"][0]), abs=2e-3)


def _tokens(
    reference: NpzFile, key: str, plane: SamPlane
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens as the ONNX export makes them, in model coordinates."""
    scale = plane.frame.side / max(plane.frame.image_size)
    labels = list(reference[f"{key}/labels"])
    box = reference[f"{key}/box_xyxy"].reshape(-1, 2)
    points = reference[f"{key}/points_xy"].reshape(-1, 2)
    if len(box):
        labels += [TokenLabel.BOX_START, TokenLabel.BOX_END]
    else:
        box = np.zeros((1, 2))
        labels += [TokenLabel.PADDING]
    xy = np.concatenate([points, box]) * scale
    return (
        torch.tensor(xy[None], dtype=torch.float32),
        torch.tensor(labels)[None],
    )
