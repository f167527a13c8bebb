"""Windows of embeddings around objects, as batches to train on.

Decoding a part of the embedding takes a part of the time: what surrounds an
object by more than its own size hardly changes its mask.  Embeddings cannot be
turned or mirrored, so what varies is where the window lies, where it is said to
lie in the frame, and the prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_sam.core.metrics import deepest_point
from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.training import simulated_clicks
from napari_sam.training.data.batches import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam.training.adapt.examples import Example, Target
    from napari_sam.types import BoolArray, FloatArray, Frame, MaskCrop

STRIDE = 16
"""Model pixels per cell of the embedding."""

_MARGIN = 0.75
"""A window is used for objects that fill at most so much of its side."""


@dataclass(frozen=True, slots=True)
class Window:
    """A square of cells of one embedding."""

    example: int
    row: int
    col: int
    side: int


def window_side(mask: MaskCrop, frame: Frame, side: int) -> int:
    """Return how many cells to decode around an object: ``side``, or all."""
    r = mask.region
    rows, cols = frame.scale
    longest = max((r.row1 - r.row0) * rows, (r.col1 - r.col0) * cols)
    cells = frame.side // STRIDE
    return side if longest <= _MARGIN * side * STRIDE else cells


def draw_window(
    rng: np.random.Generator, target: Target, example: Example, side: int
) -> Window:
    """Return a window of ``side`` cells with a whole object somewhere inside."""
    frame, r = example.embedding.frame, example.objects[target.mask].region
    room = frame.side // STRIDE - side
    corner = []
    for first, last, scale in zip(
        (r.row0, r.col0), (r.row1, r.col1), frame.scale, strict=True
    ):
        low = max(0, int(np.ceil(last * scale / STRIDE)) - side)
        high = min(room, int(first * scale / STRIDE))
        corner.append(int(rng.integers(min(low, high), max(low, high) + 1)))
    return Window(target.example, corner[0], corner[1], side)


def make_batch(
    rng: np.random.Generator,
    targets: Sequence[Target],
    examples: Sequence[Example],
    side: int,
    boxes: float,
) -> tuple[Batch, list[Window]]:
    """Return masks and first prompts of objects, and the windows they are in.

    Parameters
    ----------
    rng : Generator
        Of everything random.
    targets : sequence of Target
        One object each.
    examples : sequence of Example
        What they refer to.
    side : int
        Cells along a window.
    boxes : float
        Share of first prompts that are noisy boxes.

    Returns
    -------
    batch : Batch
        Without images and maps: the encoder has no part in this.
    windows : list of Window
        One per object.
    """
    masks, windows = [], []
    for target in targets:
        example = examples[target.example]
        window = draw_window(rng, target, example, side)
        windows.append(window)
        crop, frame = example.objects[target.mask], example.embedding.frame
        mask = window_mask(crop, frame, window)
        if not mask.any():
            # A thin object between the points where a large plane is sampled.
            mask[_middle(crop, frame, window)] = True
        masks.append(mask)
    cells = examples[targets[0].example].embedding.frame.side // STRIDE
    col, row = (STRIDE * int(n) for n in rng.integers(0, cells - side + 1, 2))
    xy = np.zeros((len(masks), 2, 2), np.float32)
    kinds = np.empty((len(masks), 2), np.int64)
    for i, mask in enumerate(masks):
        xy[i], kinds[i] = _first_prompt(rng, mask, boxes)
    seed = tuple(int(n) for n in rng.integers(0, 2**31, 2))
    nothing = torch.empty(0)
    batch = Batch(
        nothing,
        torch.from_numpy(np.stack(masks)),
        torch.from_numpy(xy),
        torch.from_numpy(kinds),
        nothing,
        (col, row),
        nothing,
        seed,
    )
    return batch, windows


def window_mask(mask: MaskCrop, frame: Frame, window: Window) -> BoolArray:
    """Return an object in model pixels, bool (16 side, 16 side)."""
    inside, steps = [], []
    region = mask.region
    for start, scale, low, high in zip(
        (window.row, window.col),
        frame.scale,
        (region.row0, region.col0),
        (region.row1, region.col1),
        strict=True,
    ):
        # Model pixel i covers i … i + 1 of the scaled plane.
        centers = start * STRIDE + np.arange(window.side * STRIDE) + 0.5
        pixel = np.floor(centers / scale).astype(np.intp)
        inside.append((pixel >= low) & (pixel < high))
        steps.append(np.clip(pixel - low, 0, high - low - 1))
    out = mask.mask[np.ix_(*steps)]
    return np.asarray(out & inside[0][:, None] & inside[1], bool)


def _middle(crop: MaskCrop, frame: Frame, window: Window) -> tuple[int, int]:
    """Return the model pixel of a window that an object's deepest pixel is in."""
    row, col, _ = deepest_point(crop)
    rows, cols = frame.scale
    return (
        int((row + 0.5) * rows) - window.row * STRIDE,
        int((col + 0.5) * cols) - window.col * STRIDE,
    )


def _first_prompt(
    rng: np.random.Generator, mask: BoolArray, boxes: float
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return the two tokens of a box, or of a click and padding."""
    if rng.random() < boxes:
        ends = np.array([TokenLabel.BOX_START, TokenLabel.BOX_END])
        return simulated_clicks.noisy_box(rng, mask), ends
    click = np.array([simulated_clicks.first_click(rng, mask), (0.0, 0.0)], np.float32)
    return click, np.array([TokenLabel.POSITIVE, TokenLabel.PADDING])


def cut(features: Sequence[Tensor], windows: Sequence[Window]) -> Tensor:
    """Cut windows out of embeddings (256, g, g), float32 (N, 256, side, side)."""
    return torch.stack(
        [
            features[w.example][
                :, w.row : w.row + w.side, w.col : w.col + w.side
            ].float()
            for w in windows
        ]
    )
