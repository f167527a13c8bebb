"""What the rest of the package expects of a model.

``core``, ``viewer`` and ``cli`` see models only through these protocols; the
implementations live in ``models``, which imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_sam.core.embeddings.store import EmbeddingStore
    from napari_sam.core.model_thresholds import ModelThresholds
    from napari_sam.core.pixels import PlanePixels
    from napari_sam.core.results import MaskResult, PreviousAnswer
    from napari_sam.core.views import View
    from napari_sam.types import Box, Embedding, FloatArray, Frame, PromptSet, RGBArray


@dataclass(frozen=True, slots=True, eq=False)
class PointMasks:
    """Masks decoded from a batch of single-point prompts.

    Parameters
    ----------
    logits : float32 array (M, side / 4, side / 4)
        Low-resolution mask logits; positive is inside.
    predicted_iou : float32 array (M,)
        The model's own estimate of each mask's IoU.
    point : int array (M,)
        Which of the given points each mask belongs to.
    token : int array (M,)
        Which of the model's levels it is, from 0; 0 for a blend.
    """

    logits: FloatArray
    predicted_iou: FloatArray
    point: npt.NDArray[np.intp]
    token: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMaps:
    """Where a model sees objects without being asked.

    The maps cover the model's square input, of which ``frame`` says where the
    image is; what lies beyond it means nothing.

    Parameters
    ----------
    foreground : float32 array (side / 4, side / 4)
        Probability that a cell belongs to an object.
    center : float32 array (side / 4, side / 4)
        Near 1 in the middle of an object, falling towards its edge.
    frame : Frame
        How the image sits in the model's input.
    """

    foreground: FloatArray
    center: FloatArray
    frame: Frame


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do beyond answering prompts.

    Whoever does something only some models can asks for this, not for what a model is.

    Parameters
    ----------
    object_maps : bool
        It sees objects without being asked; see :meth:`EncodedPlane.objects`.
    blends_masks : bool
        It answers with a blend of its masks, from several views.
    views : bool
        It encodes parts of a plane at the size of a view.
    """

    object_maps: bool = False
    blends_masks: bool = False
    views: bool = False


@runtime_checkable
class EncodedPlane(Protocol):
    """An encoded plane, ready to answer prompts.  Not thread-safe."""

    @property
    def embedding(self) -> Embedding:
        """The embedding it answers from."""

    @property
    def frame(self) -> Frame:
        """How the plane sits in the model's input."""

    @property
    def thresholds(self) -> ModelThresholds:
        """Those of its model."""

    @property
    def capabilities(self) -> Capabilities:
        """What its model can do with this plane."""

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps beside the embedding; asked from any thread."""

    def predict(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        box: Box | Sequence[float] | None = None,
        mask: npt.ArrayLike | None = None,
        logits: npt.ArrayLike | PreviousAnswer | None = None,
    ) -> MaskResult:
        """Segment one object."""

    def predict_prompts(
        self, prompts: PromptSet, logits: npt.ArrayLike | PreviousAnswer | None = None
    ) -> MaskResult:
        """Segment one object from a prompt set."""

    def iter_prompts(
        self, prompts: PromptSet, logits: npt.ArrayLike | PreviousAnswer | None = None
    ) -> Generator[MaskResult | None, None, MaskResult]:
        """Segment one object in short steps.

        Yields a preliminary answer as soon as there is one, better ones as they come,
        and None in between; returns what `predict_prompts` does.
        """

    def predict_many(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        boxes: npt.ArrayLike | None = None,
    ) -> list[MaskResult]:
        """Segment N objects, one per point or box."""

    def iter_points(
        self, points: npt.ArrayLike, *, min_iou: float = 0.0, best_only: bool = False
    ) -> Iterator[PointMasks]:
        """Decode many single-point prompts in micro-batches.

        Masks whose predicted IoU is not above ``min_iou``, and with
        ``best_only`` all but the best of each point, are never upscaled and are
        left out.
        """

    def iter_view(
        self, view: View | None
    ) -> Generator[None, None, EncodedPlane | None]:
        """Return a view as a plane of its own, in short steps.

        It answers with one decoding; its masks count from the view's first pixel.  The
        view None is the whole plane.  None if there are no pixels to look at, or the
        model has no views for prompts.
        """

    def objects(self) -> ObjectMaps | None:
        """Return where the model sees objects, None if it cannot tell."""


@runtime_checkable
class Model(Protocol):
    """A promptable segmentation model.  Not thread-safe."""

    @property
    def name(self) -> str:
        """Registered name or file name."""

    @property
    def fingerprint(self) -> str:
        """Hash of architecture and weights."""

    @property
    def encoder_fingerprint(self) -> str:
        """Hash of architecture and image encoder; part of every embedding's key."""

    @property
    def thresholds(self) -> ModelThresholds:
        """When to believe its scores."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beyond answering prompts."""

    @property
    def encoding_steps(self) -> int:
        """How many steps `iter_encode_rgb` takes."""

    @property
    def device(self) -> str:
        """Device it runs on: ``cpu``, ``cuda:0`` or ``mps``."""

    @property
    def dtype(self) -> str:
        """Precision of the arithmetic: ``float32`` or ``bfloat16``."""

    def encode(self, image: npt.ArrayLike) -> EncodedPlane:
        """Normalize an image of any type to RGB and encode it."""

    def encode_rgb(
        self,
        rgb: RGBArray,
        image_size: tuple[int, int] | None = None,
        *,
        frame: Frame | None = None,
    ) -> EncodedPlane:
        """Encode an RGB image (H, W, 3) uint8.

        ``image_size`` is the height and width that prompts and masks refer to
        when ``rgb`` is a coarser pyramid level; that of ``rgb`` by default.
        ``frame`` is that of a view; by default the image fills the model's input.
        """

    def iter_encode_rgb(
        self,
        rgb: RGBArray,
        image_size: tuple[int, int] | None = None,
        *,
        frame: Frame | None = None,
        pixels: PlanePixels | None = None,
        store: EmbeddingStore | None = None,
    ) -> Generator[None, None, EncodedPlane]:
        """Encode in short steps, between which other planes may be used.

        Views of the plane are read from ``pixels``, by default those of ``rgb``, and
        kept in ``store``.
        """

    def restore(
        self,
        embedding: Embedding,
        pixels: RGBArray | PlanePixels | None = None,
        *,
        store: EmbeddingStore | None = None,
    ) -> EncodedPlane:
        """Return the plane of an embedding by this model's image encoder."""
