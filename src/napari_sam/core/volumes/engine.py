"""What propagates an object, whichever model does it.

The protocols are those of a video model as well: a session is started from prompts by
slice, has a state of its own, and is asked for slices.  `PlaneEngine` is the one that
asks a 2-D model slice by slice, and its state is nothing but what it has found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from napari_sam.core.volumes.propagation import (
    PropagationSettings,
    iter_propagate,
    spans,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from napari_sam.core.volumes.propagation import (
        BlockedAt,
        EncodeAt,
        PropagatedSlice,
        Span,
    )
    from napari_sam.types import MaskCrop


class PropagationSession(Protocol):
    """One object on its way through a stack.  Not thread-safe."""

    @property
    def prompted(self) -> Mapping[int, MaskCrop]:
        """The prompted slices."""

    @property
    def slices(self) -> Mapping[int, PropagatedSlice]:
        """What is known of the others and depends on these prompted slices alone."""

    def prompt(self, position: int, mask: MaskCrop) -> None:
        """Add a prompted slice, or correct one; what depends on it is forgotten."""

    def forget(self, position: int) -> None:
        """Take a prompted slice back; what depends on it is forgotten."""

    def redo(self, position: int) -> None:
        """Forget what was found in the span of a slice."""

    def iter_slices(self) -> Generator[PropagatedSlice | None, None, None]:
        """Find what is not known, in short steps, nearest to a prompted slice first."""


class PropagationEngine(Protocol):
    """A way to follow objects through a stack."""

    def start(
        self,
        prompted: Mapping[int, MaskCrop],
        limits: tuple[int, int],
        shape: tuple[int, int],
        settings: PropagationSettings | None = None,
        *,
        blocked: BlockedAt | None = None,
    ) -> PropagationSession:
        """Return a session; parameters are those of `iter_propagate`."""


class PlaneEngine:
    """The engine that asks a model of single planes.

    Parameters
    ----------
    encode : callable
        See `propagation.EncodeAt`.
    """

    def __init__(self, encode: EncodeAt) -> None:
        self._encode = encode

    def start(
        self,
        prompted: Mapping[int, MaskCrop],
        limits: tuple[int, int],
        shape: tuple[int, int],
        settings: PropagationSettings | None = None,
        *,
        blocked: BlockedAt | None = None,
    ) -> PlaneSession:
        """Return a session; parameters are those of `iter_propagate`."""
        chosen = settings or PropagationSettings()
        return PlaneSession(self._encode, prompted, limits, shape, chosen, blocked)


class PlaneSession:
    """A session of `PlaneEngine`: what is known, span by span."""

    def __init__(
        self,
        encode: EncodeAt,
        prompted: Mapping[int, MaskCrop],
        limits: tuple[int, int],
        shape: tuple[int, int],
        settings: PropagationSettings,
        blocked: BlockedAt | None,
    ) -> None:
        spans(prompted, limits)  # refused before anything is asked
        self._encode = encode
        self._prompted = dict(prompted)
        self._limits = limits
        self._shape = shape
        self._settings = settings
        self._blocked = blocked
        self._slices: dict[int, PropagatedSlice] = {}
        self._done: set[Span] = set()

    @property
    def prompted(self) -> Mapping[int, MaskCrop]:
        """The prompted slices."""
        return self._prompted

    @property
    def slices(self) -> Mapping[int, PropagatedSlice]:
        """What is known of the others and depends on these prompted slices alone."""
        return self._slices

    def prompt(self, position: int, mask: MaskCrop) -> None:
        """Add a prompted slice, or correct one; what depends on it is forgotten."""
        spans([*self._prompted, position], self._limits)
        self._prompted[position] = mask
        self._drop(position)

    def forget(self, position: int) -> None:
        """Take a prompted slice back; what depends on it is forgotten."""
        rest = {z: mask for z, mask in self._prompted.items() if z != position}
        spans(rest, self._limits)
        self._prompted = rest
        self._drop(position)

    def redo(self, position: int) -> None:
        """Forget what was found in the span of a slice."""
        self._drop(position)

    def iter_slices(self) -> Generator[PropagatedSlice | None, None, None]:
        """Find what is not known, in short steps, nearest to a prompted slice first."""
        missing = [s for s in self._spans() if s not in self._done]
        wanted = {
            z for span in missing for z in span.positions if z not in self._slices
        }
        for step in iter_propagate(
            self._encode,
            self._prompted,
            self._limits,
            self._shape,
            self._settings,
            positions=wanted,
            blocked=self._blocked,
        ):
            if step is not None:
                self._slices[step.position] = step
            yield step
        self._done.update(missing)

    def _spans(self) -> tuple[Span, ...]:
        return spans(self._prompted, self._limits)

    def _drop(self, position: int) -> None:
        """Forget the spans that a slice is in, or is a prompted slice of."""
        self._slices.pop(position, None)
        for span in self._spans():
            if position in span.prompted or position in span.positions:
                self._done.discard(span)
                for z in span.positions:
                    self._slices.pop(z, None)
