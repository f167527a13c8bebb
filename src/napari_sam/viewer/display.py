"""What is done is seen: our layers lie above images, and are shown when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal

from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.coords import canvas_zoom
from napari_sam.viewer.grid_mode import GridCell
from napari_sam.viewer.image.model_input import ModelInput
from napari_sam.viewer.layer_order import LayerOrder, is_cover
from napari_sam.viewer.plugin_layers import uncover

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels
    from napari.utils.events import Event

    from napari_sam.viewer.context import Context
    from napari_sam.viewer.everything.mode import EverythingMode
    from napari_sam.viewer.everything.review import Review
    from napari_sam.viewer.image.binding import ImageBinding
    from napari_sam.viewer.labels.binding import LabelsBinding
    from napari_sam.viewer.prompting.annotator import Annotator

_DIMMED = 0.35
"""Opacity of the labels in a review, as a share of what it was."""


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
        # What was clicked last tells how large the next object will be.
        if areas:
            self._prompts.limit(min(areas))

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
