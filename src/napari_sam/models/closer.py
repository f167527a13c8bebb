"""A closer look: small objects are asked about in an enlarged window of the image."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_sam.core.results import cells_inside
from napari_sam.core.windows import (
    SIDE,
    Window,
    contains,
    plan_window,
    prompt_windows,
)
from napari_sam.models.cells import CELL, sample
from napari_sam.models.fast_decoder import FastDecoder
from napari_sam.models.preprocess import preprocess
from napari_sam.models.prompt_encoder import TokenLabel
from napari_sam.models.tiny_vit import TinyViT
from napari_sam.types import Frame, Region

if TYPE_CHECKING:
    from napari_sam.models.checkpoint import SamNetwork
    from napari_sam.models.fast_decoder import ImageState
    from napari_sam.types import Box, RGBArray

_KEPT = 32  # windows of an image; prepared for the decoder each takes 3 MB
_OUTSIDE = -20.0  # logit of what lies beyond the image
_ROOM = 0.6  # of a window, at most, may be one object


class Lens:
    """Encode and decode at the size of a window.

    Parameters
    ----------
    network : SamNetwork
        Weights, on the device to run on; its encoder in ``dtype``.
    device : torch.device
        Where they are.
    dtype : torch.dtype
        Precision of the arithmetic.
    """

    def __init__(
        self, network: SamNetwork, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._network = network
        self._device = device
        self._dtype = dtype

    @staticmethod
    def fits(network: SamNetwork) -> bool:
        """Whether its encoder takes inputs of other sizes than its own."""
        return isinstance(network.image_encoder, TinyViT)

    @cached_property
    def decoder(self) -> FastDecoder:
        """For an embedding of a window."""
        return FastDecoder(self._network, self._dtype, cells=SIDE // TinyViT.patch)

    def prepare(self, rgb: RGBArray, frame: Frame) -> ImageState:
        """Encode the pixels of a window."""
        x = preprocess(np.ascontiguousarray(rgb), frame, self._device)
        x = x.to(self._dtype, memory_format=torch.channels_last)
        return self.decoder.prepare(self._network.image_encoder(x)[0])


class CloserLook:
    """Closer looks at one image.  Not thread-safe.

    Parameters
    ----------
    rgb : uint8 array (H, W, 3)
        The image, or a level of a pyramid of it.
    frame : Frame
        How the image sits in the model's input.
    lens : Lens
        What looks.
    """

    def __init__(self, rgb: RGBArray, frame: Frame, lens: Lens) -> None:
        self._rgb = rgb
        # Windows are planned in the pixels that there are, not in those of a finer
        # level of the pyramid.
        self._frame = Frame((rgb.shape[0], rgb.shape[1]), frame.input_size, frame.side)
        self._image_size = frame.image_size
        self._lens = lens
        self._kept: OrderedDict[Window, ImageState] = OrderedDict()
        self._nbytes = rgb.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and of the windows that are kept."""
        return self._nbytes

    def window(self, logits: Tensor, xy: Tensor, labels: Tensor) -> Window | None:
        """Return the window for an answer and the prompts to it, if it is small.

        Parameters
        ----------
        logits : float tensor (h, w)
            The answer over the whole input.
        xy, labels : tensors (T, 2) and (T,)
            Prompt tokens in pixels of the whole input.
        """
        rows, cols = cells_inside(self._frame, (logits.shape[0], logits.shape[1]))
        inside = (logits[:rows, :cols] > 0).nonzero()
        if not len(inside):
            return None
        given = _prompts(xy, labels)
        extent = self._extent(torch.cat([inside * CELL, (inside + 1) * CELL, given]))
        scale = self._frame.scale
        area = len(inside) * CELL**2 / (scale[0] * scale[1])
        return plan_window(extent, area, self._frame)

    def windows_around(self, xy: Tensor, labels: Tensor) -> list[Window]:
        """Return windows in which to ask about an object before it is found.

        Parameters
        ----------
        xy, labels : tensors (T, 2) and (T,)
            Prompt tokens in pixels of the whole input.
        """
        corners = xy[(labels == TokenLabel.BOX_START) | (labels == TokenLabel.BOX_END)]
        return prompt_windows(
            self._extent(_prompts(xy, labels)),
            self._extent(_places(corners)) if len(corners) else None,
            self._frame,
        )

    def decode(
        self, window: Window, xy: Tensor, labels: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ask in a window what was asked in the whole image.

        Parameters
        ----------
        window : Window
            From :meth:`window` or :meth:`windows_around`.
        xy, labels : tensors (1, T, 2) and (1, T)
            Prompt tokens in pixels of the whole input.
        mask : float tensor (112, 112), optional
            Logits over the window's input, given as a mask prompt.

        Returns
        -------
        logits : float32 tensor (1, 4, 112, 112)
            Over the window's input.
        iou : float32 tensor (1, 4)
        xy : float tensor (1, T, 2)
            The prompts in pixels of that input.
        """
        moved = self._to_window(window, xy + 0.5) - 0.5
        dense = None if mask is None else mask[None, None]
        logits, iou = self._lens.decoder.decode(
            self._state(window), moved, labels, dense
        )
        return logits.float(), iou.float(), moved

    def is_whole(self, window: Window, answer: Tensor) -> bool:
        """Return whether a window holds all of an object, and more than that.

        Parameters
        ----------
        window : Window
            The window.
        answer : float tensor (112, 112)
            Logits over its input.
        """
        rows, cols = cells_inside(window.frame, (answer.shape[0], answer.shape[1]))
        inside = answer[:rows, :cols] > 0
        r, (height, width) = window.region, self._frame.image_size
        is_cut = (
            (r.row0 > 0 and inside[0].any())
            or (r.row1 < height and inside[-1].any())
            or (r.col0 > 0 and inside[:, 0].any())
            or (r.col1 < width and inside[:, -1].any())
        )
        return not is_cut and 0 < float(inside.float().mean()) <= _ROOM

    def seen_in(self, window: Window, answer: Tensor) -> Tensor:
        """Return an answer over the whole input as one over a window's.

        Parameters
        ----------
        window : Window
            From :meth:`window`.
        answer : float tensor (h, w)
            Logits over the whole input.

        Returns
        -------
        float tensor (112, 112)
        """
        (rows, cols), (high, wide) = self._frame.scale, window.frame.scale
        middle = torch.arange(SIDE // CELL, device=answer.device) * CELL + CELL / 2
        y = (middle / high + window.region.row0) * rows
        x = (middle / wide + window.region.col0) * cols
        at = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        seen = sample(answer[None, None], at[None])[0, 0]
        height, width = cells_inside(window.frame, (len(middle), len(middle)))
        seen[height:] = _OUTSIDE
        seen[:, width:] = _OUTSIDE
        return seen

    def put_back(
        self, window: Window, closer: Tensor, answer: Tensor | None = None
    ) -> Tensor:
        """Return an answer over the whole input with a window's in its place.

        Parameters
        ----------
        window : Window
            The window.
        closer : float tensor (112, 112)
            Logits over the window's input.
        answer : float tensor (h, w), optional
            Logits over the whole input; nothing by default.
        """
        if answer is None:
            cells = self._frame.side // CELL
            answer = closer.new_full((cells, cells), _OUTSIDE)
        # Cells that lie wholly in the window; each is the mean of 4 × 4 samples.
        r, scale = window.region, self._frame.scale
        row0, col0 = (
            int(np.ceil(start * s / CELL))
            for start, s in zip((r.row0, r.col0), scale, strict=True)
        )
        row1, col1 = (
            int(stop * s / CELL)
            for stop, s in zip((r.row1, r.col1), scale, strict=True)
        )
        if row1 <= row0 or col1 <= col0:
            return answer
        y, x = (
            torch.arange(a * CELL, b * CELL, device=answer.device) + 0.5
            for a, b in ((row0, row1), (col0, col1))
        )
        at = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        sampled = sample(closer[None, None], self._to_window(window, at)[None])
        result = answer.clone()
        result[row0:row1, col0:col1] = F.avg_pool2d(sampled, CELL)[0, 0]
        return result

    def shown(self, window: Window) -> Window:
        """Return a window in the pixels that masks have."""
        return window.scaled(self._frame.image_size, self._image_size)

    def own(self, window: Window) -> Window:
        """Return a window in the pixels that there are, the reverse of `shown`."""
        return window.scaled(self._image_size, self._frame.image_size)

    def holds(self, window: Window, xy: Tensor, labels: Tensor) -> bool:
        """Return whether a window is of this image and all prompts lie in it.

        Parameters
        ----------
        window : Window
            The window.
        xy, labels : tensors (T, 2) and (T,)
            Prompt tokens in pixels of the whole input.
        """
        r = window.region
        is_inside = r == r.intersection(Region.whole(self._frame.image_size))
        return is_inside and contains(r, self._extent(_prompts(xy, labels)))

    def _extent(self, places: Tensor) -> Box:
        """Return what is around places, (N, 2), row and column in the whole input.

        In pixels of the image, none of them beyond it: cells at the border are.
        """
        low, high = places.amin(dim=0).tolist(), places.amax(dim=0).tolist()
        (rows, cols), (height, width) = self._frame.scale, self._frame.image_size
        return (
            max(low[0] / rows, 0.0),
            max(low[1] / cols, 0.0),
            min(high[0] / rows, height),
            min(high[1] / cols, width),
        )

    def _state(self, window: Window) -> ImageState:
        state = self._kept.get(window)
        if state is None:
            pixels = self._rgb[window.region.slices]
            state = self._lens.prepare(pixels, window.frame)
            self._kept[window] = state
            self._nbytes += state.nbytes
            while len(self._kept) > _KEPT:
                self._nbytes -= self._kept.popitem(last=False)[1].nbytes
        self._kept.move_to_end(window)
        return state

    def _to_window(self, window: Window, xy: Tensor) -> Tensor:
        """Move places from the whole input into a window's, from corner to corner."""
        (rows, cols), (high, wide) = self._frame.scale, window.frame.scale
        origin = xy.new_tensor([window.region.col0, window.region.row0])
        return (xy / xy.new_tensor([cols, rows]) - origin) * xy.new_tensor([wide, high])


def _prompts(xy: Tensor, labels: Tensor) -> Tensor:
    """Return where prompts are, as `_places`."""
    return _places(xy[labels != TokenLabel.PADDING])


def _places(xy: Tensor) -> Tensor:
    """Return row and column, measured from the corner of the input."""
    return xy.float().flip(-1) + 0.5
