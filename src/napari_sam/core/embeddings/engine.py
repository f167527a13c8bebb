"""A model behind an embedding store: nothing is encoded twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam.core.embeddings.store import embedding_key
from napari_sam.core.steps import finish

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.core.embeddings.store import EmbeddingStore
    from napari_sam.core.model import EncodedPlane, Model
    from napari_sam.core.pixels import PlanePixels
    from napari_sam.types import Frame, RGBArray

_LiveKey = tuple[str, tuple[int, int]]


class Engine:
    """Encoded planes of one model, from memory, from the store or computed.

    Not thread-safe, like the model, except :meth:`key` and :meth:`is_ready`.

    Parameters
    ----------
    model : Model
        What encodes.
    store : EmbeddingStore
        Where embeddings are kept; several engines may share one.
    live : int
        How many encoded planes to keep ready to answer.  What a model prepares
        per plane for its decoder is larger than the embedding.
    live_bytes : int
        How many bytes these planes may keep: pixels and enlarged windows to look
        closer, and what is prepared for the decoder.  The one used last is kept
        whatever its size.
    """

    def __init__(
        self,
        model: Model,
        store: EmbeddingStore,
        *,
        live: int = 4,
        live_bytes: int = 512 << 20,
    ) -> None:
        self.model = model
        self.store = store
        self._max_live = live
        self._max_bytes = live_bytes
        self._live: OrderedDict[_LiveKey, EncodedPlane] = OrderedDict()
        self._live_lock = threading.Lock()

    def key(self, rgb: RGBArray) -> str:
        """Return the key of a plane's embedding by this model's image encoder.

        Models that share the encoder share the embeddings.
        Takes about a millisecond per megapixel and releases the GIL.
        """
        return embedding_key(rgb, self.model.encoder_fingerprint)

    def is_ready(self, key: str) -> bool:
        """Whether the plane of this key needs no encoding.  Thread-safe."""
        with self._live_lock:
            if any(live == key for live, _ in self._live):
                return True
        return key in self.store

    def live(self, key: str, image_size: tuple[int, int]) -> EncodedPlane | None:
        """Return a plane that is ready to answer, None if it is not kept any more.

        The only place that keeps planes: whoever would hold one asks here each
        time, so that one budget bounds what is kept.

        Parameters
        ----------
        key : str
            What :meth:`key` returned for its pixels.
        image_size : tuple of two int
            Height and width that prompts and masks refer to.
        """
        with self._live_lock:
            found = self._live.get((key, image_size))
            if found is None:
                return None
            self._live.move_to_end((key, image_size))
            # What a plane keeps grows with its use.
            self._drop()
            return found

    def encode(
        self,
        rgb: RGBArray,
        image_size: tuple[int, int] | None = None,
        *,
        key: str | None = None,
        frame: Frame | None = None,
        pixels: PlanePixels | None = None,
    ) -> EncodedPlane:
        """Return a plane ready to answer prompts.

        Blocks for as long as encoding takes unless :meth:`is_ready`.

        Parameters
        ----------
        rgb : uint8 array (H, W, 3)
            The plane's pixels.
        image_size : tuple of two int, optional
            Height and width that prompts and masks refer to, when ``rgb`` is a
            coarser pyramid level of the plane; that of ``rgb`` by default.
        key : str, optional
            What :meth:`key` returned for ``rgb``, to save hashing again.
        frame : Frame, optional
            How ``rgb`` sits in the input, where it is a view of a plane.  Views drop
            no plane that is kept ready.
        pixels : PlanePixels, optional
            The plane at its finest resolution, for views of it; ``rgb`` by default.
        """
        return finish(
            self.iter_encode(rgb, image_size, key=key, frame=frame, pixels=pixels)
        )

    def iter_encode(
        self,
        rgb: RGBArray,
        image_size: tuple[int, int] | None = None,
        *,
        key: str | None = None,
        frame: Frame | None = None,
        pixels: PlanePixels | None = None,
    ) -> Generator[None, None, EncodedPlane]:
        """Do what :meth:`encode` does in short steps.

        Between two steps other planes may be encoded and used.
        """
        if frame is not None:
            return (yield from self._iter_encode_view(rgb, frame))
        key = key or self.key(rgb)
        size = image_size or (rgb.shape[0], rgb.shape[1])
        live = self.live(key, size)
        if live is not None:
            return live
        embedding = self.store.get(key)
        if embedding is not None:
            # Stored once for all pyramids that the same pixels appear in.
            frame = replace(embedding.frame, image_size=size)
            embedding = replace(embedding, frame=frame)
            plane = self.model.restore(embedding, pixels or rgb, store=self.store)
        else:
            plane = yield from self.model.iter_encode_rgb(
                rgb, size, pixels=pixels, store=self.store
            )
            self.store.put(key, plane.embedding)
        with self._live_lock:
            self._live[(key, size)] = plane
            self._drop()
        return plane

    def _iter_encode_view(
        self, rgb: RGBArray, frame: Frame
    ) -> Generator[None, None, EncodedPlane]:
        key = embedding_key(rgb, self.model.encoder_fingerprint, frame)
        embedding = self.store.get(key)
        if embedding is not None:
            # The same pixels may stand for a finer part.
            return self.model.restore(replace(embedding, frame=frame))
        plane = yield from self.model.iter_encode_rgb(rgb, frame=frame)
        self.store.put(key, plane.embedding)
        return plane

    def _drop(self) -> None:
        """Drop the planes used longest ago beyond what may be kept."""
        while len(self._live) > 1 and (
            len(self._live) > self._max_live
            or sum(plane.nbytes for plane in self._live.values()) > self._max_bytes
        ):
            self._live.popitem(last=False)

    def prepare(self, rgb: RGBArray, *, key: str | None = None) -> bool:
        """Encode a plane into the store ahead of its use.

        Unlike :meth:`encode`, leaves the planes kept ready to answer alone.

        Returns
        -------
        bool
            Whether it had to be encoded; `False` if it was ready.
        """
        return finish(self.iter_prepare(rgb, key=key))

    def iter_prepare(
        self, rgb: RGBArray, *, key: str | None = None
    ) -> Generator[None, None, bool]:
        """Do what :meth:`prepare` does in short steps."""
        key = key or self.key(rgb)
        if self.is_ready(key):
            return False
        plane = yield from self.model.iter_encode_rgb(rgb)
        self.store.put(key, plane.embedding)
        return True
