"""Planes of an image, encoded by a model: what answers prompts.

Nothing here touches napari; a `PlaneEncoder` is used by the worker only.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from napari_sam.core.steps import Run
from napari_sam.core.volumes.engine import PlaneEngine
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from napari_sam.core.embeddings.engine import Engine
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.pixels import PlanePixels
    from napari_sam.core.volumes.engine import PropagationEngine
    from napari_sam.types import Plane, RGBArray
    from napari_sam.viewer.image.source import PlaneSource

T = TypeVar("T")
_UNDER_WAY = 2
"""Most encodings begun and not finished."""


@dataclass(slots=True, eq=False)
class _Encoding:
    """A plane that is being encoded, and how many steps of it are done."""

    steps: Generator[None, None, None]
    done: int = 0


class PlaneEncoder:
    """Encoded planes of one image by one model.

    A new one is made whenever image, settings or model change, so a plane is
    enough to know an embedding by.

    Parameters
    ----------
    engine : Engine
        The model and its store.
    source : PlaneSource
        The image.
    ready : set of Plane, optional
        Which planes of the same pixels this model has encoded before; those that this
        object encodes are added.
    """

    def __init__(
        self, engine: Engine, source: PlaneSource, ready: set[Plane] | None = None
    ) -> None:
        self.engine = engine
        self.source = source
        self._ready = set() if ready is None else ready
        self._looked_for: set[Plane] = set()
        # Where the engine keeps each; it has the planes, within its budget.
        self._keys: dict[Plane, tuple[str, tuple[int, int]]] = {}
        # What reads parts of those that were not read at full resolution.
        self._pixels: dict[Plane, PlanePixels | None] = {}
        self._under_way: dict[Plane, _Encoding] = {}

    @property
    def ready(self) -> frozenset[Plane]:
        """The planes that are known to be encoded, whoever asked.  Thread-safe."""
        return frozenset(self._ready)

    def iter_get(self, plane: Plane) -> Generator[None, None, EncodedPlane]:
        """Return a plane ready to answer, reading and encoding it if needed."""
        encoded = self._live(plane)
        if encoded is None:
            encoded, _ = yield from self.iter_visit(plane)
        return encoded

    @property
    def propagation(self) -> PropagationEngine:
        """What follows objects through the planes of this image."""
        return PlaneEngine(self.iter_get)

    def pixels(self, plane: Plane) -> RGBArray | PlanePixels:
        """Return the pixels of a plane that was encoded, or what reads parts of it."""
        return self._pixels.get(plane) or self.source.read(plane)[0]

    def progress(self, plane: Plane) -> Progress:
        """Return how far the encoding of a plane is.  Thread-safe."""
        encoding = self._under_way.get(plane)
        done = 0 if encoding is None else encoding.done
        return Progress(done, self.engine.model.encoding_steps, "encoding this plane")

    def _live(self, plane: Plane) -> EncodedPlane | None:
        place = self._keys.get(plane)
        return None if place is None else self.engine.live(*place)

    def iter_visit(
        self, plane: Plane
    ) -> Generator[None, None, tuple[EncodedPlane, float]]:
        """Read the plane again, so that edited pixels are seen, and encode it.

        Returns
        -------
        encoded : EncodedPlane
            Ready to answer.
        seconds : float
            How long it took, without what was done between the steps.
        """
        watch = _Watch()
        encoded = yield from watch.over(self._iter_join(plane))
        return encoded, watch.seconds

    def _iter_join(self, plane: Plane) -> Generator[None, None, EncodedPlane]:
        """Encode a plane, going on with what another job has begun.

        A click while the plane is being encoded, or a second one, would
        otherwise start from nothing.
        """
        while True:
            encoding = self._under_way.get(plane)
            if encoding is None:
                # What was begun for planes left behind costs memory.
                while len(self._under_way) >= _UNDER_WAY:
                    oldest = next(iter(self._under_way))
                    self._under_way.pop(oldest).steps.close()
                encoding = _Encoding(self._iter_encode(plane))
                self._under_way[plane] = encoding
            try:
                # Not ``yield from``: a job that is cancelled must not close it.
                for _ in encoding.steps:
                    encoding.done += 1
                    yield
            except Exception:
                self._forget(plane, encoding)
                raise
            self._forget(plane, encoding)
            encoded = self._live(plane)
            if encoded is not None:
                return encoded

    def _forget(self, plane: Plane, encoding: _Encoding) -> None:
        if self._under_way.get(plane) is encoding:
            del self._under_way[plane]

    def _iter_encode(self, plane: Plane) -> Generator[None, None, None]:
        # What cannot be read any more is not ready, whatever it was.
        self._ready.discard(plane)
        rgb, size, pixels = self.source.read_with_pixels(plane)
        key = self.engine.key(rgb)
        yield from self.engine.iter_encode(rgb, size, key=key, pixels=pixels)
        self._keys[plane], self._pixels[plane] = (key, size), pixels
        self._ready.add(plane)

    def iter_find(self, planes: Iterable[Plane]) -> Generator[None, None, None]:
        """Find out which planes are in the store, each once; for small images.

        A plane is read and hashed to know it; one that cannot be read is not there.
        """
        for plane in planes:
            if plane in self._looked_for or plane in self._ready:
                continue
            with suppress(Exception):
                rgb, _ = self.source.read(plane)
                if self.engine.is_ready(self.engine.key(rgb)):
                    self._ready.add(plane)
            self._looked_for.add(plane)
            yield

    def iter_prepare(self, plane: Plane) -> Generator[None, None, float | None]:
        """Encode a plane into the store; seconds it took, None if it was there."""
        watch = _Watch()
        rgb, _ = self.source.read(plane)
        was_encoded = yield from watch.over(self.engine.iter_prepare(rgb))
        self._ready.add(plane)
        return watch.seconds if was_encoded else None


class _Watch:
    """Times the steps of a generator, not the pauses between them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = time.perf_counter()

    def over(self, steps: Generator[None, None, T]) -> Generator[None, None, T]:
        """Pass a generator through."""
        run = Run(steps)
        while True:
            goes_on = run.advance()
            self.seconds += time.perf_counter() - self._start
            if not goes_on:
                return run.value
            yield
            self._start = time.perf_counter()
