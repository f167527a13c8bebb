"""napari's grid mode: image, labels and prompts in one cell.

The grid puts blocks of ``abs(stride)`` neighboring layers into a cell each; with a
negative stride it counts from the top of the list.  There is no way to give a layer a
cell, and all blocks have one length.  So the layers of an annotation are made the top
block, and what is left is divided into blocks of the same length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.plugin_layers import is_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer


def block(
    layers: Sequence[Layer], image: Layer | None, labels: Layer | None
) -> list[int]:
    """Return the layers that belong into one cell, lowest first.

    Parameters
    ----------
    layers : sequence of Layer
        The viewer's, lowest first.
    image, labels : Layer or None
        What is segmented, and what is written to.

    Returns
    -------
    list of int
        Indices: the image, then the others in the order they have.
    """
    if image is None or image not in layers:
        return []
    first = [i for i, layer in enumerate(layers) if layer == image]
    rest = [
        i
        for i, layer in enumerate(layers)
        if is_ours(layer) or (labels is not None and layer == labels)
    ]
    return first + rest


class GridCell:
    """Keeps the layers of an annotation in one cell while the grid is on.

    A stride that the user sets meanwhile stays.  Leaving the grid gives the stride
    back; the image stays above the others.

    Parameters
    ----------
    viewer : ViewerModel
        Its layers and grid.
    image, labels : callable
        Return what is segmented, and what is written to.
    tell : callable
        Shows a sentence to the user.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Callable[[], Layer | None],
        labels: Callable[[], Layer | None],
        tell: Callable[[str], None],
    ) -> None:
        self._viewer = viewer
        self._image = image
        self._labels = labels
        self._tell = tell
        self._before: int | None = None
        self._set: int | None = None
        self._is_moving = False
        self._connections = ConnectionSet()
        connect = self._connections.connect
        connect(viewer.canvas.grid.events.enabled, self._on_enabled)
        events = viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            connect(emitter, self.arrange)
        if viewer.canvas.grid.enabled:
            self._on_enabled()

    def close(self) -> None:
        """Stop listening, and give the stride back."""
        self._connections.clear()
        self._leave()

    def arrange(self) -> None:
        """Make the annotation's layers the top block, and blocks as long as it."""
        grid, layers = self._viewer.canvas.grid, self._viewer.layers
        if self._is_moving or self._set is None or grid.stride != self._set:
            return
        together = block(layers, self._image(), self._labels())
        if not together:
            return
        self._is_moving = True
        try:
            if together != list(range(len(layers) - len(together), len(layers))):
                layers.move_multiple(together, len(layers))
            self._set = -len(together)
            grid.stride = self._set
        finally:
            self._is_moving = False

    def _on_enabled(self) -> None:
        grid = self._viewer.canvas.grid
        if not grid.enabled:
            self._leave()
            return
        image = self._image()
        self._before = self._set = grid.stride
        self.arrange()
        if image is not None:
            self._tell(
                f"Grid: '{image.name}', its labels and its prompts share a cell; "
                f"other layers share cells too, {abs(grid.stride)} each."
            )

    def _leave(self) -> None:
        grid = self._viewer.canvas.grid
        if self._before is not None and grid.stride == self._set:
            grid.stride = self._before
        self._before = self._set = None
