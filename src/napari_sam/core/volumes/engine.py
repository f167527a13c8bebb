"""What finds an object in the slices of a stack, whichever model does it.

The state of a session is a `Followed`: prompts by slice, what is known of the others,
and what is left.  It is a value, so an engine is started from it as often as is needed:
after a correction, and after a cancel.  `PlaneEngine` asks a 2-D model slice by slice;
a video model would be another engine.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Protocol

from napari_sam.core.model import EncodedPlane
from napari_sam.core.volumes.propagation import iter_propagate
from napari_sam.types import Plane

if TYPE_CHECKING:
    from napari_sam.core.volumes.followed import Followed
    from napari_sam.core.volumes.propagation import BlockedAt, PropagatedSlice

EncodePlane = Callable[[Plane], Generator[None, None, EncodedPlane]]
"""Encodes a plane, in short steps."""


class PropagationEngine(Protocol):
    """A way to follow objects through a stack."""

    def iter_left(
        self,
        followed: Followed,
        shape: tuple[int, int],
        *,
        blocked: BlockedAt | None = None,
    ) -> Generator[PropagatedSlice | None, None, None]:
        """Find what is left of an object, in short steps.

        What is found in a span depends on the prompted slices of the span alone.  An
        engine may keep what makes it faster from one call to the next, nothing else.

        Parameters
        ----------
        followed : Followed
            Prompted slices, limits, settings, and what is known.
        shape : tuple of int
            Height and width of the slices.
        blocked : callable, optional
            Of a position, returns the pixels that belong to others, which no mask gets.

        Yields
        ------
        PropagatedSlice or None
            A slice as soon as it is known, nearest to a prompted slice first, and
            nothing in between.  Closing the generator cancels.

        Raises
        ------
        PromptError
            If there is no prompted slice, or one is empty.
        ImageError, ModelError
            If a slice cannot be read or encoded.
        """


class PlaneEngine:
    """The engine that asks a model of single planes.

    Parameters
    ----------
    encode : callable
        Encodes a plane of the stack; see `EncodePlane`.
    """

    def __init__(self, encode: EncodePlane) -> None:
        self._encode = encode

    def iter_left(
        self,
        followed: Followed,
        shape: tuple[int, int],
        *,
        blocked: BlockedAt | None = None,
    ) -> Generator[PropagatedSlice | None, None, None]:
        """Find what is left of an object; see `PropagationEngine`."""
        return iter_propagate(
            lambda position: self._encode(followed.plane(position)),
            followed.prompted,
            followed.limits,
            shape,
            followed.settings,
            positions=followed.positions_left,
            blocked=blocked,
        )
