"""Which image is segmented, which plane of it is on screen, and its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.coords import displayed_plane
from napari_sam.viewer.image.encoder import PlaneEncoder
from napari_sam.viewer.image.source import snapshot
from napari_sam.viewer.plugin_layers import is_ours
from napari_sam.viewer.settings import Normalization

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.components import ViewerModel
    from napari.layers import Layer
    from napari.utils.events import Event

    from napari_sam.types import Plane
    from napari_sam.viewer.background.model_loader import ModelLoader
    from napari_sam.viewer.context import Context

_PLACE = ("data", "scale", "translate", "rotate", "shear", "affine", "units")
_APPEARANCE = (
    "visible",
    "contrast_limits",
    "gamma",
    "colormap",
    "opacity",
    "blending",
)
"""Layer properties that the displayed composition depends on."""


_LAST = "napari_sam_last"

NO_IMAGE = "Open an image, or File → Open Sample → napari-sam."
NOT_CHOSEN = "Choose an image at the top of this panel."


def images_of(layers: Iterable[Layer]) -> list[Image]:
    """Return the images that can be segmented, in the order of the layers."""
    return [x for x in layers if isinstance(x, Image) and not is_ours(x)]


def first_image(viewer: ViewerModel) -> Image | None:
    """Return the image to begin with: what `note_last` left, the selected, the top."""
    images = images_of(viewer.layers)
    for image in images:
        if image.metadata.pop(_LAST, False):
            return image
    active = viewer.layers.selection.active
    return active if active in images else images[-1] if images else None


def note_last(image: Image) -> None:
    """Note that this image is segmented, for who begins here next."""
    image.metadata[_LAST] = True


class ImageWatch:
    """Listens to one image, and on demand to the displayed composition.

    Attributes
    ----------
    edited : Signal()
        The image has other data or another place.
    restyled : Signal()
        The displayed composition looks different.
    """

    edited = Signal()
    restyled = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._image_connections = ConnectionSet()
        self._appearance_connections = ConnectionSet()

    def watch(self, image: Image | None) -> None:
        """Listen to this image instead of the last one."""
        self._image_connections.clear()
        if image is not None:
            for name in _PLACE:
                self._image_connections.connect(
                    getattr(image.events, name), self._on_edited
                )

    def watch_composition(self, wanted: bool) -> None:
        """Listen to all that the displayed composition is made of, or stop."""
        self._appearance_connections.clear()
        if not wanted:
            return
        connect = self._appearance_connections.connect
        for name in ("inserted", "removed", "reordered"):
            connect(getattr(self._viewer.layers.events, name), self._on_layers)
        for image in images_of(self._viewer.layers):
            for name in (*_APPEARANCE, *_PLACE):
                connect(getattr(image.events, name), self._on_restyled)

    def close(self) -> None:
        """Stop listening."""
        self._image_connections.clear()
        self._appearance_connections.clear()

    def _on_edited(self) -> None:
        self.edited.emit()

    def _on_restyled(self) -> None:
        self.restyled.emit()

    def _on_layers(self, event: Event) -> None:
        # Our own layers come and go without changing the picture.
        layer = getattr(event, "value", None)
        if layer is None or images_of([layer]):
            self.restyled.emit()


class ImageBinding:
    """Follows the chosen image and the viewer's sliders.

    Parameters
    ----------
    context : Context
        Its ``image``, ``plane`` and ``planes`` are kept here.
    loader : ModelLoader
        Has the engine.

    Attributes
    ----------
    leaving : Signal()
        Another image is about to take this one's place.
    placed : Signal(Image)
        An image was chosen, or has another shape or place.
    dropped : Signal()
        Pixels or model are other ones: what was computed means nothing now.
    renewed : Signal()
        There are new pixels to work on, if image and model are there.
    moved : Signal()
        Another plane, or none, is on screen.
    status : Signal(str)
        What the user is to know or do.
    """

    leaving = Signal()
    placed = Signal(object)
    dropped = Signal()
    renewed = Signal()
    moved = Signal()
    status = Signal(str)

    def __init__(self, context: Context, loader: ModelLoader) -> None:
        self._context = context
        self._loader = loader
        self._watch = ImageWatch(context.viewer)
        self._watch.edited.connect(self._on_edited)
        self._watch.restyled.connect(self.renew)
        self._connections = ConnectionSet()
        self._problem = ""
        # Of these pixels, by the image encoder's fingerprint.
        self._encoded: dict[str, set[Plane]] = {}
        events = context.viewer.dims.events
        for emitter in (events.point, events.order, events.ndisplay, events.ndim):
            self._connections.connect(emitter, self.follow)

    def close(self) -> None:
        """Stop listening."""
        self._connections.clear()
        self._watch.close()

    def choose(self, layer: Image | None) -> None:
        """Segment this image from now on."""
        context = self._context
        if layer is context.image or (layer is not None and layer == context.image):
            return
        self.leaving.emit()
        context.image = layer
        context.plane = None
        self._watch.watch(layer)
        if layer is not None:
            self.placed.emit(layer)
        self.renew()

    def renew(self, *, same_pixels: bool = False) -> None:
        """Take a new snapshot of the pixels and start over.

        Parameters
        ----------
        same_pixels : bool
            Whether only the model is another one: the planes that it has encoded
            before are still encoded.
        """
        if not same_pixels:
            self._encoded.clear()
        context, engine = self._context, self._loader.engine
        context.encoder = None
        self._problem = ""
        self._watch.watch_composition(
            context.settings.normalization is Normalization.DISPLAYED
        )
        self.dropped.emit()
        if context.image is not None and engine is not None:
            others = images_of(context.viewer.layers)
            try:
                source = snapshot(context.image, context.settings.normalization, others)
                known = self._encoded.setdefault(
                    engine.model.encoder_fingerprint, set()
                )
                context.encoder = PlaneEncoder(engine, source, known)
            except SamError as error:
                self._problem = context.report(error)
                self.status.emit(self._problem)
        context.plane = None
        self.follow()
        self.renewed.emit()
        if context.image is not None and context.plane is None:
            self._tell_why_no_plane()
        if context.image is None:
            self.status.emit(self.rest_reason)

    def follow(self) -> None:
        """Take over which plane is on screen."""
        context = self._context
        if context.image is None or context.image not in context.viewer.layers:
            return
        plane = displayed_plane(context.viewer, context.image)
        if plane == context.plane or self._is_outdated(plane):
            return
        context.plane = plane
        self.moved.emit()
        if plane is None:
            self._tell_why_no_plane()

    def _on_edited(self) -> None:
        if self._context.image is not None:
            self.placed.emit(self._context.image)
            self.renew()

    def _is_outdated(self, plane: Plane | None) -> bool:
        """Whether the image just got other axes.

        The sliders change before the layer says that its data was replaced.
        """
        encoder = self._context.encoder
        return (
            plane is not None
            and encoder is not None
            and plane.ndim != len(encoder.source.shape)
        )

    @property
    def has_choice(self) -> bool:
        """Whether the viewer has images that can be chosen."""
        return bool(images_of(self._context.viewer.layers))

    @property
    def rest_reason(self) -> str:
        """Why nothing can be segmented now, in a sentence; empty if it can."""
        context = self._context
        if context.image is None:
            return NOT_CHOSEN if self.has_choice else NO_IMAGE
        if context.plane is None:
            return _why_no_plane(context.viewer.dims.ndisplay)
        if self._loader.engine is None:
            return (
                "The model is loading."
                if self._loader.is_loading
                else "There is no model; choose one under Model."
            )
        return self._problem

    def _tell_why_no_plane(self) -> None:
        self.status.emit(_why_no_plane(self._context.viewer.dims.ndisplay))


def _why_no_plane(ndisplay: int) -> str:
    if ndisplay != 2:
        return "Switch the viewer to 2-D to place prompts."
    return "The sliders are outside the image."
