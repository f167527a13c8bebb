"""A promptable SAM model: image in, encoded plane out."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_sam.core.imaging import to_rgb
from napari_sam.core.pixels import ArrayPixels
from napari_sam.core.steps import finish
from napari_sam.core.views import SIDE
from napari_sam.errors import ImageError, ModelError
from napari_sam.models.devices import resolve_device, resolve_dtype
from napari_sam.models.families import Family
from napari_sam.models.image_encoders import ENCODER_KINDS
from napari_sam.models.sam1.checkpoint import (
    SamNetwork,
    encoder_fingerprint,
    fingerprint,
    network_fingerprint,
    network_of,
)
from napari_sam.models.sam1.encoding import iter_features
from napari_sam.models.sam1.fast_decoder import FastDecoder
from napari_sam.models.sam1.plane import SamPlane
from napari_sam.models.sam1.view_encoder import PlaneViews, ViewEncoder
from napari_sam.models.torch_errors import translated_errors
from napari_sam.models.weights_file import read_weights
from napari_sam.types import FEATURES, Embedding, Frame

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam.core.embeddings.store import EmbeddingStore
    from napari_sam.core.model import Capabilities
    from napari_sam.core.model_thresholds import ModelThresholds
    from napari_sam.core.pixels import PlanePixels
    from napari_sam.models.weights_file import WeightsFile
    from napari_sam.types import RGBArray


class SamModel:
    """A promptable segmentation model.  Not thread-safe.

    Parameters
    ----------
    network : SamNetwork
        Weights, in evaluation mode.
    name : str
        Registered name or file name.
    fingerprint : str
        Hash of architecture and weights.
    encoder_fingerprint : str
        Hash of architecture and image encoder.
    device : torch.device
        Where to run.
    dtype : torch.dtype
        Precision of the arithmetic, float32 or bfloat16.
    """

    def __init__(
        self,
        network: SamNetwork,
        *,
        name: str,
        fingerprint: str,
        encoder_fingerprint: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._network = network.to(device)
        # Channels-last: measured, a third less time than torch's default.
        self._encoder = network.image_encoder.to(dtype)
        for parameter in self._encoder.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.to(memory_format=torch.channels_last)
        self._name = name
        self._fingerprint = fingerprint
        self._encoder_fingerprint = encoder_fingerprint
        self._device = device
        self._dtype = dtype
        self._decoder = FastDecoder(self._network, dtype)
        self._view_encoder: ViewEncoder | None = None
        if self.capabilities.views:
            self._view_encoder = ViewEncoder(
                self._network, encoder_fingerprint, device, dtype
            )

    @classmethod
    def from_file(
        cls,
        path: Path,
        *,
        name: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> SamModel:
        """Load a weights file; see :func:`napari_sam.models.load_model`."""
        place = resolve_device(device)
        precision = resolve_dtype(dtype, place)
        return cls.from_weights(
            read_weights(path), name=name or path.stem, device=place, dtype=precision
        )

    @classmethod
    def from_weights(
        cls, file: WeightsFile, *, name: str, device: torch.device, dtype: torch.dtype
    ) -> SamModel:
        """Make a model of a weights file that was read.

        Parameters
        ----------
        file : WeightsFile
            Of SAM's networks.
        name : str
            What the model is called.
        device, dtype
            Where, and in which precision.

        Raises
        ------
        ModelError
            If the weights are none of SAM's.
        """
        network = network_of(file)
        with translated_errors("load the model", str(device)):
            return cls(
                network,
                name=name,
                fingerprint=fingerprint(file.path, network.architecture),
                encoder_fingerprint=encoder_fingerprint(network),
                device=device,
                dtype=dtype,
            )

    @classmethod
    def from_network(
        cls,
        network: SamNetwork,
        *,
        name: str,
        device: str = "auto",
        dtype: str = "auto",
    ) -> SamModel:
        """Use a network that is in no file, for instance one just trained.

        Parameters
        ----------
        network : SamNetwork
            In float32.  It is copied, so training may go on with it.
        name : str
            What the model is called.
        device, dtype : str
            As for :func:`napari_sam.models.load_model`.
        """
        place = resolve_device(device)
        precision = resolve_dtype(dtype, place)
        with translated_errors("load the model", str(place)):
            own = copy.deepcopy(network).float().eval().requires_grad_(False)
            return cls(
                own,
                name=name,
                fingerprint=network_fingerprint(own),
                encoder_fingerprint=encoder_fingerprint(own),
                device=place,
                dtype=precision,
            )

    @property
    def name(self) -> str:
        """Registered name or file name."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Hash of architecture and weights."""
        return self._fingerprint

    @property
    def encoder_fingerprint(self) -> str:
        """Hash of architecture and image encoder; part of every embedding's key.

        Models with the same one can restore each other's embeddings.
        """
        return self._encoder_fingerprint

    @property
    def thresholds(self) -> ModelThresholds:
        """When to believe its scores, as its weights file says."""
        return self._network.thresholds

    @property
    def encoding_steps(self) -> int:
        """How many steps `iter_encode_rgb` takes."""
        return len(self._encoder.steps())

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beyond answering prompts."""
        return self._network.capabilities

    @property
    def device(self) -> str:
        """Device it runs on: ``cpu``, ``cuda:0`` or ``mps``."""
        return str(self._device)

    @property
    def dtype(self) -> str:
        """Precision of the arithmetic: ``float32`` or ``bfloat16``."""
        return str(self._dtype).removeprefix("torch.")

    @property
    def architecture(self) -> str:
        """``vit_t`` for MobileSAM, ``vit_b``, ``vit_l`` or ``vit_h`` for SAM."""
        return self._network.architecture

    @property
    def side(self) -> int:
        """Side of the square input in pixels."""
        return self._network.side

    def encode(self, image: npt.ArrayLike) -> SamPlane:
        """Normalize an image of any type to RGB and encode it.

        Parameters
        ----------
        image : array (H, W) or (H, W, 3 or 4)
            Any real type; NaN and infinities count as background.

        Returns
        -------
        SamPlane
            Ready to answer prompts.

        Raises
        ------
        ImageError
            If the image is empty or of an unusable type.
        ModelError
            If the device fails; :class:`~napari_sam.errors.DeviceMemoryError`
            if its memory does not suffice.
        """
        return self.encode_rgb(to_rgb(image))

    def encode_rgb(
        self,
        rgb: RGBArray,
        image_size: tuple[int, int] | None = None,
        *,
        frame: Frame | None = None,
    ) -> SamPlane:
        """Encode an RGB image.

        Parameters
        ----------
        rgb : uint8 array (H, W, 3)
            The image, or a downsampled version of it.
        image_size : tuple of int, optional
            Height and width that prompts and masks refer to, where ``rgb`` is a
            level of a pyramid; its own size by default.
        frame : Frame, optional
            How ``rgb`` sits in the input, which may be that of a
            :class:`~napari_sam.core.views.View`; it fills the model's own by default.

        Returns
        -------
        SamPlane
            Ready to answer prompts.

        Raises
        ------
        ImageError
            If ``rgb`` is not a uint8 RGB image with at least one pixel.
        ModelError
            If the device fails, or the model has no input of the frame's size.
        """
        return finish(self.iter_encode_rgb(rgb, image_size, frame=frame))

    def iter_encode_rgb(
        self,
        rgb: RGBArray,
        image_size: tuple[int, int] | None = None,
        *,
        frame: Frame | None = None,
        pixels: PlanePixels | None = None,
        store: EmbeddingStore | None = None,
    ) -> Generator[None, None, SamPlane]:
        """Encode an RGB image in short steps.

        As `encode_rgb`, for callers that have something more urgent to do now
        and then: between two steps other planes may be encoded and prompts
        answered.  The generator's return value is the plane; closing it drops
        the work.  ``pixels``, by default those of ``rgb``, and ``store`` are as for
        `restore`.
        """
        rgb = np.ascontiguousarray(rgb)
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            raise ImageError(
                f"An array of shape {rgb.shape} and type {rgb.dtype} is not an RGB "
                f"image of uint8; use encode() for other images."
            )
        # The plane keeps them for its views, whatever becomes of the array; a view has
        # none of its own.
        if frame is None and pixels is None and self._prompted_views is not None:
            pixels = ArrayPixels(rgb.copy())
        sits = frame or Frame.fit((rgb.shape[0], rgb.shape[1]), self.side)
        self._decoder_of(sits.side)  # refused before the work, not after it
        features = yield from iter_features(
            self._encoder, rgb, sits, self._device, self._dtype
        )
        if image_size is not None:
            sits = replace(sits, image_size=(int(image_size[0]), int(image_size[1])))
        embedding = Embedding({FEATURES: features}, sits, self._encoder_fingerprint)
        return self.restore(embedding, pixels, store=store)

    def restore(
        self,
        embedding: Embedding,
        pixels: RGBArray | PlanePixels | None = None,
        *,
        store: EmbeddingStore | None = None,
    ) -> SamPlane:
        """Return the plane of an embedding computed earlier by this model.

        Parameters
        ----------
        embedding : Embedding
            Of this model's image encoder.
        pixels : PlanePixels or uint8 array (H, W, 3), optional
            Those of the plane, in which a model that blends its masks looks at views;
            an array is what was encoded, and is not copied.
        store : EmbeddingStore, optional
            Where the embeddings of these views are kept and found again.

        Raises
        ------
        ModelError
            If another image encoder computed it.
        """
        grid = embedding.frame.side // 16
        if embedding.model != self._encoder_fingerprint or embedding.features.shape != (
            256,
            grid,
            grid,
        ):
            raise ModelError(
                f"The embedding {embedding.features.shape} was not computed by "
                f"{self._name}; encode the image again."
            )
        decoder, views = self._decoder_of(embedding.frame.side), None
        if pixels is not None and self._prompted_views is not None:
            if isinstance(pixels, np.ndarray):
                pixels = ArrayPixels(pixels)
            views = PlaneViews(pixels, embedding.frame, self._prompted_views, store)
        return SamPlane(
            decoder,
            embedding,
            self._device,
            self._network.prompt_head,
            self._network.blend,
            views,
            self.thresholds,
            capabilities=self.capabilities,
        )

    @property
    def _prompted_views(self) -> ViewEncoder | None:
        """What encodes views for prompts, which only a blend knows how to join."""
        return self._view_encoder if self.capabilities.blends_masks else None

    def _decoder_of(self, side: int) -> FastDecoder:
        """Return the decoder for an input of this side."""
        if side == self.side:
            return self._decoder
        if side == SIDE and self._view_encoder is not None:
            return self._view_encoder.decoder
        raise ModelError(
            f"{self._name} has no input of {side} × {side} pixels; encode the image "
            f"again."
        )


SAM_FAMILIES = tuple(
    Family(kind.name, kind.matches, SamModel.from_weights, kind.encoder.capabilities)
    for kind in ENCODER_KINDS
)
"""SAM's networks, which differ in their image encoders."""
