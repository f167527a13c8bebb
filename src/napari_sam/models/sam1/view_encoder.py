"""Views of a plane, encoded when they are first looked into."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_sam.core.embeddings.store import embedding_key
from napari_sam.core.results import cells_inside
from napari_sam.core.steps import finish
from napari_sam.core.views import SIDE, View, object_view, prompt_views
from napari_sam.models.sam1.encoding import iter_features
from napari_sam.models.sam1.fast_decoder import FastDecoder
from napari_sam.models.sam1.mask_stride import MASK_STRIDE, sample
from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.types import FEATURES, Embedding, Frame, Region

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.core.embeddings.store import EmbeddingStore
    from napari_sam.core.pixels import PlanePixels
    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.models.sam1.fast_decoder import ImageState
    from napari_sam.types import Box, RGBArray

_KEPT = 32  # views of a plane; prepared for the decoder each takes 3 MB
_BEGUN = 2  # views whose encoding was begun and not finished
_OUTSIDE = -20.0  # logit of what lies beyond a view, or beyond the image in it


class ViewEncoder:
    """Encoder and decoder at the size of a view's input.

    Parameters
    ----------
    network : SamNetwork
        Weights, on the device to run on; its encoder, which takes inputs of other sizes
        than its own, in ``dtype``.
    fingerprint : str
        Of the image encoder, by which embeddings are known.
    device : torch.device
        Where they are.
    dtype : torch.dtype
        Precision of the arithmetic.
    """

    def __init__(
        self,
        network: SamNetwork,
        fingerprint: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._network = network
        self._fingerprint = fingerprint
        self._device = device
        self._dtype = dtype

    @cached_property
    def decoder(self) -> FastDecoder:
        """For an embedding of a view."""
        cells = SIDE // self._network.image_encoder.patch
        return FastDecoder(self._network, self._dtype, cells)

    def iter_prepare(
        self, rgb: RGBArray, frame: Frame, store: EmbeddingStore | None = None
    ) -> Generator[None, None, ImageState]:
        """Encode the pixels of a view in short steps, unless they are in a store."""
        pixels = np.ascontiguousarray(rgb)
        key = embedding_key(pixels, self._fingerprint, frame)
        embedding = None if store is None else store.get(key)
        if embedding is None:
            features = yield from iter_features(
                self._network.image_encoder, pixels, frame, self._device, self._dtype
            )
            embedding = Embedding({FEATURES: features}, frame, self._fingerprint)
            if store is not None:
                store.put(key, embedding)
        with torch.inference_mode():
            x = torch.from_numpy(embedding.features).to(self._device)
            return self.decoder.prepare(x)


class PlaneViews:
    """Views of one plane, ready to answer prompts.  Not thread-safe.

    Parameters
    ----------
    pixels : PlanePixels
        The plane, or a level of a pyramid of it.
    frame : Frame
        How the plane sits in the model's input.
    encoder : ViewEncoder
        What encodes them.
    store : EmbeddingStore, optional
        Where their embeddings are kept and found again.
    """

    def __init__(
        self,
        pixels: PlanePixels,
        frame: Frame,
        encoder: ViewEncoder,
        store: EmbeddingStore | None = None,
    ) -> None:
        self._pixels = pixels
        self._store = store
        # Views are planned in the pixels that there are, not in those of a finer
        # level of the pyramid.
        self._frame = Frame(pixels.size, frame.input_size, frame.side)
        self._image_size = frame.image_size
        self._encoder = encoder
        self._kept: OrderedDict[View, ImageState] = OrderedDict()
        self._begun: OrderedDict[View, Generator[None, None, None]] = OrderedDict()
        self._nbytes = pixels.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and of the views that are kept."""
        return self._nbytes

    @property
    def whole(self) -> View:
        """The whole plane as the model's own input shows it."""
        return View(Region.whole(self._frame.image_size), self._frame)

    def of_object(
        self, view: View, logits: Tensor, xy: Tensor, labels: Tensor
    ) -> View | None:
        """Return the view that shows an object as large as is best, if one does.

        Parameters
        ----------
        view : View
            In which it is seen.
        logits : float tensor (h, w)
            The object, over the view's input.
        xy, labels : tensors (T, 2) and (T,)
            Prompt tokens in pixels of the whole input.
        """
        rows, cols = cells_inside(view.frame, (logits.shape[0], logits.shape[1]))
        inside = (logits[:rows, :cols] > 0).nonzero()
        if not len(inside):
            return None
        cells = torch.cat([inside, inside + 1]) * float(MASK_STRIDE)
        scale = cells.new_tensor(view.frame.scale)
        places = cells / scale + cells.new_tensor([view.region.row0, view.region.col0])
        extent = self._extent(torch.cat([places, self._places(_given(xy, labels))]))
        area = len(inside) * MASK_STRIDE**2 / float(scale.prod())
        return object_view(extent, area, self._frame.image_size, max(view.frame.scale))

    def of_prompts(self, xy: Tensor, labels: Tensor) -> list[View]:
        """Return views in which to look for an object before it is found.

        Parameters
        ----------
        xy, labels : tensors (T, 2) and (T,)
            Prompt tokens in pixels of the whole input.
        """
        corners = xy[(labels == TokenLabel.BOX_START) | (labels == TokenLabel.BOX_END)]
        return prompt_views(
            self._extent(self._places(_given(xy, labels))),
            self._extent(self._places(corners)) if len(corners) else None,
            self._frame.image_size,
            max(self._frame.scale),
        )

    def decode(
        self, view: View, xy: Tensor, labels: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode in a view the prompts to the whole plane.

        Parameters
        ----------
        view : View
            From :meth:`of_object` or :meth:`of_prompts`.
        xy, labels : tensors (1, T, 2) and (1, T)
            Prompt tokens in pixels of the whole input.
        mask : float tensor (112, 112), optional
            Logits over the view's input, given as a mask prompt.

        Returns
        -------
        logits : float32 tensor (1, 4, 112, 112)
            Over the view's input.
        iou : float32 tensor (1, 4)
        xy : float tensor (1, T, 2)
            The prompts in pixels of that input.
        """
        moved = self._to_view(view, xy + 0.5) - 0.5
        dense = None if mask is None else mask[None, None]
        logits, iou = self._encoder.decoder.decode(
            self._state(view), moved, labels, dense
        )
        return logits.float(), iou.float(), moved

    def holds_all(self, view: View, answer: Tensor) -> bool:
        """Return whether a view holds all of an object.

        Parameters
        ----------
        view : View
            The view.
        answer : float tensor (112, 112)
            Logits over its input.
        """
        rows, cols = cells_inside(view.frame, (answer.shape[0], answer.shape[1]))
        inside = answer[:rows, :cols] > 0
        r, (height, width) = view.region, self._frame.image_size
        is_cut = (
            (r.row0 > 0 and inside[0].any())
            or (r.row1 < height and inside[-1].any())
            or (r.col0 > 0 and inside[:, 0].any())
            or (r.col1 < width and inside[:, -1].any())
        )
        return not is_cut and bool(inside.any())

    def moved(self, logits: Tensor, source: View, view: View) -> Tensor:
        """Return logits over one view's input as logits over another's.

        Parameters
        ----------
        logits : float tensor (h, w)
            Logits over the input of ``source``.
        source : View
            Where they are seen.
        view : View
            Where they are wanted.

        Returns
        -------
        float tensor (112, 112)
        """
        at = (
            torch.arange(SIDE // MASK_STRIDE, device=logits.device) * MASK_STRIDE
            + MASK_STRIDE / 2.0
        )
        y, x = (
            (at / wanted + start - first) * scale
            for wanted, start, first, scale in zip(
                view.frame.scale,
                (view.region.row0, view.region.col0),
                (source.region.row0, source.region.col0),
                source.frame.scale,
                strict=True,
            )
        )
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        seen = sample(logits[None, None], places[None])[0, 0]
        height, width = source.frame.input_size
        seen[(y < 0) | (y > height)] = _OUTSIDE
        seen[:, (x < 0) | (x > width)] = _OUTSIDE
        return seen

    def put_back(
        self, view: View, closer: Tensor, answer: Tensor | None = None
    ) -> Tensor:
        """Return logits over the whole input with a view's in their place.

        Parameters
        ----------
        view : View
            The view.
        closer : float tensor (112, 112)
            Logits over its input.
        answer : float tensor (h, w), optional
            Logits over the whole input; nothing by default.
        """
        if answer is None:
            cells = self._frame.side // MASK_STRIDE
            answer = closer.new_full((cells, cells), _OUTSIDE)
        # Cells that lie wholly in the view; each is the mean of 4 × 4 samples.
        r, scale = view.region, self._frame.scale
        row0, col0 = (
            int(np.ceil(start * s / MASK_STRIDE))
            for start, s in zip((r.row0, r.col0), scale, strict=True)
        )
        row1, col1 = (
            int(stop * s / MASK_STRIDE)
            for stop, s in zip((r.row1, r.col1), scale, strict=True)
        )
        if row1 <= row0 or col1 <= col0:
            return answer
        y, x = (
            torch.arange(a * MASK_STRIDE, b * MASK_STRIDE, device=answer.device) + 0.5
            for a, b in ((row0, row1), (col0, col1))
        )
        at = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        sampled = sample(closer[None, None], self._to_view(view, at)[None])
        result = answer.clone()
        result[row0:row1, col0:col1] = F.avg_pool2d(sampled, MASK_STRIDE)[0, 0]
        return result

    def shown(self, view: View) -> View:
        """Return a view in the pixels that masks have."""
        return view.scaled(self._frame.image_size, self._image_size)

    def own(self, view: View) -> View:
        """Return a view in the pixels that there are, the reverse of `shown`."""
        return view.scaled(self._image_size, self._frame.image_size)

    def holds_prompts(self, view: View, xy: Tensor, labels: Tensor) -> bool:
        """Return whether a view is of this plane and all prompts lie in it.

        Parameters
        ----------
        view : View
            The view.
        xy, labels : tensors (T, 2) and (T,)
            Prompt tokens in pixels of the whole input.
        """
        r = view.region
        is_inside = r == r.intersection(Region.whole(self._frame.image_size))
        return is_inside and view.holds(self._extent(self._places(_given(xy, labels))))

    def _places(self, xy: Tensor) -> Tensor:
        """Return row and column in pixels of the plane, from its outer corner."""
        rowcol = xy.float().flip(-1) + 0.5
        return rowcol / rowcol.new_tensor(self._frame.scale)

    def _extent(self, places: Tensor) -> Box:
        """Return what is around places in the plane, (N, 2), none of it beyond it.

        Cells at the border are.
        """
        low, high = places.amin(dim=0).tolist(), places.amax(dim=0).tolist()
        height, width = self._frame.image_size
        return (
            max(low[0], 0.0),
            max(low[1], 0.0),
            min(high[0], height),
            min(high[1], width),
        )

    @property
    def decoder(self) -> FastDecoder:
        """For what `iter_prepare` returns."""
        return self._encoder.decoder

    def iter_prepare(self, view: View) -> Generator[None, None, ImageState]:
        """Return what all prompts in a view share, encoding it in short steps."""
        yield from self.iter_encode(view)
        self._kept.move_to_end(view)
        return self._kept[view]

    def is_encoded(self, view: View) -> bool:
        """Return whether a view can be decoded at once."""
        return view in self._kept

    def iter_encode(self, view: View) -> Generator[None, None, None]:
        """Encode a view in short steps, going on with what was begun before.

        What somebody has begun and given up is not lost: a click often wants the view
        that was being encoded while the pointer rested there.

        Parameters
        ----------
        view : View
            From :meth:`of_object` or :meth:`of_prompts`.
        """
        while view not in self._kept:
            steps = self._begun.get(view)
            if steps is None:
                while len(self._begun) >= _BEGUN:
                    self._begun.popitem(last=False)[1].close()
                steps = self._begun[view] = self._iter_state(view)
            try:
                # Not ``yield from``: who gives up must not close it.
                for _ in steps:
                    yield
            except BaseException as error:
                if not isinstance(error, GeneratorExit):
                    self._begun.pop(view, None)
                raise
            self._begun.pop(view, None)

    def _iter_state(self, view: View) -> Generator[None, None, None]:
        pixels = self._pixels.read(view.region, view.frame)
        state = yield from self._encoder.iter_prepare(pixels, view.frame, self._store)
        self._kept[view] = state
        self._nbytes += state.nbytes
        while len(self._kept) > _KEPT:
            self._nbytes -= self._kept.popitem(last=False)[1].nbytes

    def _state(self, view: View) -> ImageState:
        finish(self.iter_encode(view))
        self._kept.move_to_end(view)
        return self._kept[view]

    def _to_view(self, view: View, xy: Tensor) -> Tensor:
        """Map pixels of the whole input to a view's, from corner to corner."""
        (rows, cols), (high, wide) = self._frame.scale, view.frame.scale
        origin = xy.new_tensor([view.region.col0, view.region.row0])
        return (xy / xy.new_tensor([cols, rows]) - origin) * xy.new_tensor([wide, high])


def _given(xy: Tensor, labels: Tensor) -> Tensor:
    """Return the tokens that are places."""
    return xy[labels != TokenLabel.PADDING]
