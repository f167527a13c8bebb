"""Keeping what we show above the images and labels that would hide it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari.layers import Image

from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.plugin_layers import is_ours

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
        The target if the topmost image covers it, then those of our layers that lie
        below that image or below the target; in the order that they are to have.
    above : int
        Index of what they are to lie above; -1 without anything.
    """
    covers = [i for i, layer in enumerate(layers) if is_cover(layer, chosen)]
    image = max(covers, default=-1)
    bound = next(
        (i for i, x in enumerate(layers) if target is not None and x == target), -1
    )
    above = max(image, bound)
    ours = [i for i, layer in enumerate(layers[: above + 1]) if is_ours(layer)]
    raised = [bound] if 0 <= bound < image else []
    return [*raised, *ours], above


class LayerOrder:
    """Raises our layers above the labels, and all of them above covering images.

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
        """Raise what an image or the labels cover."""
        if self._is_moving:
            return
        layers = self._viewer.layers
        with self._moving():
            indices, above = sunk(layers, self._image(), self._labels())
            if indices:
                layers.move_multiple(indices, above + 1)

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
