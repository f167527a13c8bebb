"""Keeping what we show above the images that would hide it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari.layers import Image

from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.layers import is_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.components import ViewerModel
    from napari.layers import Labels, Layer
    from napari.utils.events import Event


def is_cover(layer: Layer, chosen: Layer | None) -> bool:
    """Whether a layer hides what lies below it.

    The chosen image does in any case, and others unless they only add light.  A
    hidden image counts: it may be shown at any time.
    """
    if not isinstance(layer, Image) or is_ours(layer):
        return False
    return layer == chosen or str(layer.blending) != "additive"


def sunk(
    layers: Sequence[Layer], chosen: Layer | None, target: Layer | None
) -> tuple[list[int], int]:
    """Return which layers have to be raised, and above which.

    Parameters
    ----------
    layers : sequence of Layer
        The viewer's, lowest first.
    chosen : Layer or None
        The image that is segmented.
    target : Layer or None
        The Labels layer that is written to.

    Returns
    -------
    indices : list of int
        Our layers and the target below the topmost image that covers them, lowest
        first.
    top : int
        Index of that image.
    """
    covers = [i for i, layer in enumerate(layers) if is_cover(layer, chosen)]
    top = max(covers, default=-1)
    kept = [
        i
        for i, layer in enumerate(layers[: top + 1])
        if is_ours(layer) or (target is not None and layer == target)
    ]
    return kept, top


class LayerOrder:
    """Raises our layers and the labels above whatever image would cover them.

    How the user orders them otherwise stays.

    Parameters
    ----------
    viewer : ViewerModel
        Its layers.
    image, labels : callable
        Return the image that is segmented and the labels that are written to.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Callable[[], Layer | None],
        labels: Callable[[], Labels | None],
    ) -> None:
        self._viewer = viewer
        self._image = image
        self._labels = labels
        self._is_moving = False
        self._connections = ConnectionSet()
        self._blendings = ConnectionSet()
        events = viewer.layers.events
        # After napari's own callbacks, which make its counterpart of a new layer.
        self._connections.connect(events.inserted, self._on_inserted)
        self._connections.connect(events.removed, self._watch_blendings)
        self._connections.connect(events.reordered, self.restore)
        self._watch_blendings()

    def close(self) -> None:
        """Stop listening."""
        self._connections.clear()
        self._blendings.clear()

    def restore(self) -> None:
        """Raise what an image covers."""
        if self._is_moving:
            return
        layers = self._viewer.layers
        with self._moving():
            indices, top = sunk(layers, self._image(), self._labels())
            if not indices:
                return
            target = self._labels()
            labels = [i for i in indices if layers[i] == target]
            ours = [i for i in indices if layers[i] != target]
            above = top + 1
            if target is not None and target in layers and not labels:
                above = max(above, layers.index(target) + 1)
            layers.move_multiple([*labels, *ours], above)

    def _on_inserted(self, event: Event) -> None:
        if isinstance(event.value, Image):
            self._watch_blendings()
        self.restore()

    def _watch_blendings(self) -> None:
        self._blendings.clear()
        for layer in self._viewer.layers:
            if isinstance(layer, Image):
                self._blendings.connect(layer.events.blending, self.restore)

    @contextmanager
    def _moving(self) -> Iterator[None]:
        self._is_moving = True
        try:
            yield
        finally:
            self._is_moving = False
