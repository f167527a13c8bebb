"""What is done is seen: our layers lie above images, and are shown when used."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal

from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.coords import canvas_zoom
from napari_sam.viewer.image.model_input import ModelInput
from napari_sam.viewer.plugin_layers import is_ours, uncover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.components import ViewerModel
    from napari.layers import Labels, Layer
    from napari.utils.events import Event

    from napari_sam.viewer.context import Context
    from napari_sam.viewer.everything.mode import EverythingMode
    from napari_sam.viewer.everything.review import Review
    from napari_sam.viewer.image.binding import ImageBinding
    from napari_sam.viewer.labels.binding import LabelsBinding
    from napari_sam.viewer.prompting.annotator import Annotator


_DIMMED = 0.35
"""Opacity of the labels in a review, as a share of what it was."""


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


class Display:
    """Arranges the layers of one viewer so that what happens is visible.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    images, labels
        What is segmented, and what is written to.
    annotator, everything, review
        Whose layers are arranged.

    Attributes
    ----------
    status : Signal(str)
        What the user is to know.
    """

    status = Signal(str)

    def __init__(
        self,
        context: Context,
        images: ImageBinding,
        labels: LabelsBinding,
        annotator: Annotator,
        everything: EverythingMode,
        review: Review,
    ) -> None:
        self._context = context
        self._labels = labels
        self._review = review
        self._overlays = (annotator.preview, everything.overlay)
        self._prompts = annotator.layer_sync.layers
        self._preview = annotator.preview
        self._dimmer = LabelsDimmer(context.viewer)
        self.order = LayerOrder(
            context.viewer, lambda: context.image, lambda: labels.layer
        )
        self.grid = GridCell(
            context.viewer, lambda: context.image, lambda: labels.layer, self._tell
        )
        self.model_input = ModelInput(context, self._tell)
        self._connections = ConnectionSet()
        connect = self._connections.connect
        connect(context.viewer.layers.events.inserted, self._on_inserted)
        connect(context.viewer.scene.camera.events.zoom, self._on_zoom)
        connect(images.placed, self._on_placed)
        connect(images.moved, self._on_moved)
        connect(images.renewed, self._on_moved)
        connect(labels.changed, self._on_labels)
        connect(annotator.layer_sync.changed, self._on_prompted)
        connect(annotator.written, self._on_written)
        connect(everything.written, self._on_written)
        connect(review.changed, self._on_review)
        connect(self._preview.drawn, self._on_drawn)

    def close(self) -> None:
        """Stop listening, and give back what was changed of the user's."""
        self._connections.clear()
        self.order.close()
        self.grid.close()
        if not self._context.is_window_gone:
            self._dimmer.dim(None)
            self.model_input.remove()

    def restyle(self) -> None:
        """Draw masks as the settings say."""
        for overlay in self._overlays:
            overlay.restyle(self._context.settings.preview)

    def toggle_model_input(self) -> None:
        """Show the plane as the model gets it, or stop showing it."""
        self.model_input.toggle()

    def _tell(self, text: str) -> None:
        self.status.emit(text)

    # -- order --------------------------------------------------------------

    def _on_inserted(self, event: Event) -> None:
        image, layer = self._context.image, event.value
        if image is None or layer == image or not isinstance(layer, Image):
            return
        if is_cover(layer, image):
            self.status.emit(
                f"'{image.name}' is still what is segmented; choose '{layer.name}' "
                "under Image to segment that."
            )

    def _on_placed(self) -> None:
        self._prompts.limit(None)
        self._arrange()

    def _on_labels(self) -> None:
        self._arrange()
        self._on_review()

    def _arrange(self) -> None:
        self.order.restore()
        self.grid.arrange()

    # -- use ----------------------------------------------------------------

    def _on_moved(self) -> None:
        """Let the prompt layers rest while there is no plane to place prompts on."""
        self.model_input.remove()
        self._prompts.rest(self._context.plane is None)
        self._on_zoom()

    def _on_prompted(self) -> None:
        self.model_input.remove()
        self._prompts.reveal()
        self._preview.reveal()
        if self._context.settings.live:
            self._on_written()

    def _on_written(self) -> None:
        if self._labels.layer is not None:
            uncover(self._labels.layer)

    # -- sizes on screen ----------------------------------------------------

    def _on_zoom(self) -> None:
        if self._context.image is not None:
            zoom = canvas_zoom(self._context.viewer, self._context.image)
            for overlay in self._overlays:
                overlay.zoomed(zoom)

    def _on_drawn(self) -> None:
        areas = [m.mask.area for m in self._preview.masks if m.mask.area]
        self._prompts.limit(min(areas, default=None))

    # -- review -------------------------------------------------------------

    def _on_review(self) -> None:
        self._dimmer.dim(self._labels.layer if self._review.is_active else None)


class LabelsDimmer:
    """Makes a Labels layer fainter for a while, and gives its opacity back.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Labels | None = None
        self._before = self._set = 1.0

    def dim(self, layer: Labels | None) -> None:
        """Dim this layer instead of the last one."""
        if layer == self._layer:
            return
        last, self._layer = self._layer, layer
        # An opacity that the user has chosen meanwhile stays.
        if last is not None and last.opacity == self._set:
            last.opacity = self._before
        if layer is not None:
            self._before = layer.opacity
            layer.opacity = self._before * _DIMMED
            self._set = layer.opacity
