"""One viewer, one controller: binds layers, follows the viewer, takes intents.

The controller owns no pixels and shows nothing: images, labels and prompts live
in napari's layers, the widget reads the controller's state.  All its methods
are for the GUI thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from psygnal import Signal

from napari_sam.errors import PromptError, SamError
from napari_sam.types import MaskLevel, Plane, Progress, Region
from napari_sam.viewer.annotator import Annotator
from napari_sam.viewer.binding import LabelsBinding
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.context import Context
from napari_sam.viewer.coords import data_to_world, displayed_plane, layer_shape
from napari_sam.viewer.everything import EverythingMode
from napari_sam.viewer.image_watch import ImageWatch
from napari_sam.viewer.keys import KeyBinder
from napari_sam.viewer.layers import ROLE, is_ours
from napari_sam.viewer.loader import ModelLoader
from napari_sam.viewer.pointer import Pointer
from napari_sam.viewer.predict import PlaneEncoder
from napari_sam.viewer.prefetcher import SHOWN_SLOT, Prefetcher
from napari_sam.viewer.settings import AnnotationSettings, Normalisation, Tool
from napari_sam.viewer.source import snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer
    from napari.utils.events import Event

    from napari_sam.core.engine import Engine
    from napari_sam.core.store import EmbeddingStore
    from napari_sam.viewer.worker import Runner

_MODES = {
    Tool.POINT: ("points", "add"),
    Tool.BOX: ("shapes", "add_rectangle"),
    Tool.OUTLINE: ("shapes", "add_polygon_lasso"),
    Tool.ELLIPSE: ("shapes", "add_ellipse"),
    Tool.SCRIBBLE: ("shapes", "add_path"),
    Tool.EDIT: ("points", "select"),
}


class Controller:
    """Segment Anything in one viewer.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer, or napari's public proxy of it.
    runner : Runner
        The background thread; closed with the controller.
    store : EmbeddingStore, optional
        Where embeddings are kept; the user's cache folder by default.
    settings : AnnotationSettings, optional
        First settings.

    Attributes
    ----------
    changed : Signal()
        Something a panel shows has changed.
    strip_changed : Signal()
        Which planes are encoded has changed.
    status_changed : Signal(str)
        The status line.
    """

    changed = Signal()
    strip_changed = Signal()
    status_changed = Signal(str)

    def __init__(
        self,
        viewer: ViewerModel,
        runner: Runner,
        *,
        store: EmbeddingStore | None = None,
        settings: AnnotationSettings | None = None,
    ) -> None:
        self.viewer = viewer
        self.context = Context(viewer, runner, settings or AnnotationSettings())
        self.labels = LabelsBinding(self.context)
        self.annotator = Annotator(self.context, self.labels.new)
        self.prefetcher = Prefetcher(self.context)
        self.everything = EverythingMode(self.context, self.labels.new)
        self.loader = ModelLoader(self.context, store)
        self._watch = ImageWatch(viewer)
        self.pointer = Pointer(self.context, self.annotator.prompting, self.prefetcher)
        self.status = "Loading the model."
        self.tool = Tool.POINT
        self._closed = False
        self._viewer_connections = ConnectionSet()
        self._keys = KeyBinder(self)
        self._connect()

    # -- life ---------------------------------------------------------------

    def _connect(self) -> None:
        viewer, parts = self.viewer, self._viewer_connections
        parts.connect(viewer.layers.events.removed, self._on_layer_removed)
        parts.connect(viewer.dims.events.point, self._on_dims)
        parts.connect(viewer.dims.events.order, self._on_dims)
        parts.connect(viewer.dims.events.ndisplay, self._on_dims)
        parts.connect(viewer.dims.events.ndim, self._on_dims)
        parts.connect(self.loader.loaded, self._on_loaded)
        parts.connect(self.loader.failed, self._on_load_failed)
        parts.connect(self._watch.edited, self._on_image_edited)
        parts.connect(self._watch.restyled, self._renew_source)
        parts.connect(self.labels.changed, self._on_labels_changed)
        parts.connect(self.labels.undone, self.annotator.on_undone)
        parts.connect(self.labels.redone, self.annotator.on_redone)
        parts.connect(self.labels.selected, self.annotator.select_object)
        parts.connect(self.annotator.changed, self._on_part_changed)
        parts.connect(self.everything.changed, self._on_part_changed)
        parts.connect(self.everything.written, self.annotator.labels_taken)
        parts.connect(self.prefetcher.changed, self._on_strip_changed)
        parts.connect(self.prefetcher.shown_ready, self._on_shown_ready)
        parts.connect(self.prefetcher.failed, self._on_failed)
        parts.connect(self.annotator.status, self.set_status)
        parts.connect(self.everything.status, self.set_status)
        self._keys.bind_viewer(viewer)

    def close(self, *_: object) -> None:
        """Let go of the viewer; may be called any number of times.

        The user's layers stay as they are; ours are removed.
        """
        if self._closed:
            return
        self._closed = True
        self.context.runner.close()
        self._viewer_connections.clear()
        self._watch.close()
        self.labels.release()
        self._keys.unbind()
        self.pointer.close()
        self.everything.close()
        self.annotator.close()
        self.context.planes = None
        self.loader.engine = None

    @property
    def is_closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    def set_status(self, text: str) -> None:
        """Show a sentence in the status line."""
        self.status = text
        self.status_changed.emit(text)

    @property
    def settings(self) -> AnnotationSettings:
        """What the user chose."""
        return self.context.settings

    def change_settings(self, **changes: Any) -> None:
        """Change settings and redo what depends on them."""
        before = self.context.settings
        after = replace(before, **changes)
        if after == before:
            return
        self.context.settings = after
        if after.normalisation != before.normalisation:
            self._renew_source()
        if after.cleaning != before.cleaning:
            self.annotator.prompting.recompute()
        if after.live != before.live and after.live:
            self.annotator.prompting.request()
        if after.filters != before.filters:
            self.everything.refilter()
        if not self.pointer.is_hovering:
            self.annotator.prompting.end_hover()
        self.changed.emit()

    # -- model --------------------------------------------------------------

    def load_model(self, name: str = "mobile-sam", device: str = "auto") -> None:
        """Load a model in the background; labels and prompts stay."""
        self.loader.load(name, device)
        self.set_status(f"Loading model {name} …")
        self.changed.emit()

    def use_engine(self, engine: Engine) -> None:
        """Answer with this engine from now on."""
        self.loader.use(engine)

    @property
    def model_name(self) -> str | None:
        """Name of the model that is loaded or on its way."""
        return self.loader.name

    @property
    def is_loading(self) -> bool:
        """Whether a model is on its way."""
        return self.loader.is_loading

    @property
    def device(self) -> str | None:
        """Device of the loaded model."""
        return self.loader.device

    def _on_loaded(self) -> None:
        self._renew_source()
        self.changed.emit()

    def _on_load_failed(self, error: Exception) -> None:
        self.set_status(self.context.report(error))
        self.changed.emit()

    # -- image --------------------------------------------------------------

    def choose_image(self, layer: Image | None) -> None:
        """Segment this image from now on; labels stay as they are."""
        context = self.context
        if layer is context.image or (layer is not None and layer == context.image):
            return
        self.annotator.discard_silently()
        context.image = layer
        context.plane = None
        self._watch.watch(layer)
        if layer is not None:
            self._fit_layers(layer)
        self._renew_source()

    def _fit_layers(self, image: Image) -> None:
        """Give our layers the image's dimensions and place; check the labels."""
        self._ensure_layers()
        self.annotator.mirror.layers.follow(image)
        self.annotator.preview.remove()
        self.labels.drop_if_unfit()

    def _renew_source(self) -> None:
        """Pixels or model are other ones: take a new snapshot and start over."""
        context = self.context
        context.planes = None
        self._watch.watch_composition(
            self.settings.normalisation is Normalisation.DISPLAYED
        )
        self.prefetcher.reset()
        self.everything.source_changed()
        if context.image is not None and self.loader.engine is not None:
            others = [x for x in self.viewer.layers if isinstance(x, Image)]
            try:
                source = snapshot(context.image, context.settings.normalisation, others)
                context.planes = PlaneEncoder(self.loader.engine, source)
            except SamError as error:
                self.set_status(context.report(error))
        context.plane = None
        self._on_dims()
        self.annotator.source_changed()
        self.annotator.prompting.prepare()
        if context.image is not None and context.plane is None:
            self._tell_why_no_plane()
        if context.image is None:
            self.set_status("Open an image, or File → Open Sample → napari-sam.")

    def _on_image_edited(self) -> None:
        image = self.context.image
        if image is not None:
            self._fit_layers(image)
            self._renew_source()

    def _ensure_layers(self) -> None:
        image = self.context.image
        if image is None:
            return
        mirror = self.annotator.mirror
        before = mirror.layers.shapes
        mirror.ensure(image)
        if mirror.layers.shapes is not None and mirror.layers.shapes is not before:
            self._keys.bind_shapes(mirror.layers.shapes)

    # -- labels -------------------------------------------------------------

    def choose_labels(self, layer: Labels | None) -> None:
        """Write accepted objects into this layer from now on.

        Raises
        ------
        LabelsError
            If the layer cannot take masks of the chosen image.
        """
        self.labels.choose(layer)

    def new_labels(self) -> None:
        """Add an empty Labels layer that matches the image, and write to it."""
        self.labels.new()

    # -- the viewer ---------------------------------------------------------

    def _on_layer_removed(self, event: Event) -> None:
        layer: Layer = event.value
        context = self.context
        if is_ours(layer):
            self.annotator.prompting.layer_removed(layer)
            if layer.metadata.get(ROLE) == "proposals":
                self.everything.overlay.forget()
        elif context.image is not None and layer == context.image:
            self.choose_image(None)
        elif self.labels.layer is not None and layer == self.labels.layer:
            self.choose_labels(None)

    def _on_part_changed(self) -> None:
        self.changed.emit()

    def _on_strip_changed(self) -> None:
        self.strip_changed.emit()

    def _on_labels_changed(self) -> None:
        self.annotator.target_changed()
        self.changed.emit()

    def _on_dims(self) -> None:
        context = self.context
        if context.image is None or context.image not in self.viewer.layers:
            return
        plane = displayed_plane(self.viewer, context.image)
        if plane == context.plane or self._is_source_outdated(plane):
            return
        context.plane = plane
        self.prefetcher.show()
        self.annotator.prompting.plane_changed()
        self.everything.draw()
        if plane is None:
            self._tell_why_no_plane()
        elif context.planes is not None:
            self.set_status("Encoding this plane …")
        self.changed.emit()

    def _is_source_outdated(self, plane: Plane | None) -> bool:
        """Whether the image just got other axes.

        The sliders change before the layer says that its data was replaced.
        """
        planes = self.context.planes
        return (
            plane is not None
            and planes is not None
            and plane.ndim != len(planes.source.shape)
        )

    def _tell_why_no_plane(self) -> None:
        self.set_status(
            "Switch the viewer to 2-D to place prompts."
            if self.viewer.dims.ndisplay != 2
            else "The sliders are outside the image."
        )

    def _on_shown_ready(self) -> None:
        if self.annotator.is_empty:
            self.set_status("Click an object.  Ctrl-click marks background.")
        self.changed.emit()

    def _on_failed(self, error: Exception) -> None:
        self.set_status(self.context.report(error))

    # -- intents: keys, buttons, commands -----------------------------------

    def choose_tool(self, tool: Tool) -> None:
        """Activate the prompt layer and the mode of a tool."""
        self.tool = tool
        if self.context.image is None:
            return
        self._ensure_layers()
        which, mode = _MODES[tool]
        layers = self.annotator.mirror.layers
        layer = layers.points if which == "points" else layers.shapes
        if layer is not None:
            self.viewer.layers.selection.active = layer
            layer.visible = True
            layer.mode = mode
        self.annotator.prompting.arm()
        self.changed.emit()

    def accept(self) -> None:
        """Write the preview into the labels and start the next object."""
        self.annotator.accept()

    def discard(self) -> None:
        """Drop the current prompts and preview."""
        self.annotator.discard()

    def cycle_level(self) -> None:
        """Show the next of the model's nested answers."""
        self.set_level(self.annotator.level.next())

    def set_level(self, level: MaskLevel) -> None:
        """Show one of the model's nested answers."""
        self.annotator.prompting.set_level(level)

    def flip_polarity(self) -> None:
        """Switch between marking objects and background."""
        self.annotator.prompting.flip_polarity()

    def remove_last_prompt(self) -> None:
        """Take back the newest prompt."""
        self.annotator.remove_last_prompt()

    def hold_hover(self, held: bool) -> None:
        """Show the mask under the cursor while a key is held."""
        self.pointer.hold_hover(held)

    def pick_under_cursor(self) -> None:
        """Make the object under the cursor current again."""
        label = self.pointer.label_under_cursor()
        if label > 0:
            self.annotator.select_object(label)
        else:
            self.set_status("There is no object under the cursor.")

    def segment_plane(self) -> None:
        """Find all objects of the plane on screen."""
        self._everything()

    def segment_stack(self) -> None:
        """Find all objects of all planes, one after another."""
        self._everything(all_planes=True)

    def segment_box(self) -> None:
        """Find all objects inside the drawn rectangle."""
        boxes = [p.box for p in self.annotator.prompting.here() if p.box is not None]
        if not boxes:
            self.set_status("Draw a box with the Box tool first.")
            return
        r0, c0, r1, c1 = boxes[-1]
        region = Region(
            max(0, round(r0)), max(0, round(c0)), round(r1) + 1, round(c1) + 1
        )
        self.annotator.discard()
        self._everything(region=region)

    def _everything(self, **options: Any) -> None:
        try:
            self.everything.run(**options)
        except PromptError as error:
            self.set_status(self.context.report(error))

    def encode_stack(self) -> None:
        """Encode all planes of the stack in the background."""
        self.prefetcher.request_whole_stack(True)

    def go_to(self, position: int) -> None:
        """Move the viewer to a plane of the stack."""
        plane, axis = self.context.plane, self.prefetcher.strip.axis
        if plane is not None and axis is not None:
            self.go_to_point(plane.moved(axis, position).to_array_point(0.0, 0.0))

    def go_to_point(self, point: Sequence[float]) -> None:
        """Move the sliders so that the plane through an array point is on screen."""
        image, dims = self.context.image, self.viewer.dims
        if image is None:
            return
        world = data_to_world(dims, image, point)
        offset = dims.ndim - image.ndim
        axes = [a for a in dims.not_displayed if a >= offset]
        dims.set_point(axes, [world[a - offset] for a in axes])

    # -- activity -----------------------------------------------------------

    @property
    def activity(self) -> Progress | None:
        """What is going on, if it may take more than half a second."""
        if self.is_loading:
            return Progress(0, 0, "loading the model")
        if self.everything.progress is not None:
            return self.everything.progress
        if self.context.plane is not None and self.context.planes is not None:
            if self.context.runner.is_busy(SHOWN_SLOT):
                return Progress(0, 0, "encoding this plane")
            strip = self.prefetcher.strip
            if self.prefetcher.is_whole_stack and not strip.ready.all():
                return self.prefetcher.progress
        return None

    @property
    def can_cancel(self) -> bool:
        """Whether `cancel` would stop something."""
        return self.everything.is_running or (
            self.prefetcher.is_whole_stack and not self.prefetcher.strip.ready.all()
        )

    def cancel(self) -> None:
        """Stop everything mode (keeping what it found) or encoding the stack."""
        if self.everything.is_running:
            self.everything.cancel()
            self.set_status("Stopping …")
        else:
            self.prefetcher.request_whole_stack(False)

    @property
    def plane_text(self) -> str:
        """Where the plane on screen is, in words: ``z 11 | 63``."""
        image, plane = self.context.image, self.context.plane
        if image is None or plane is None:
            return ""
        return _plane_text(image, plane)


def _plane_text(image: Image, plane: Plane) -> str:
    shape = layer_shape(image)
    parts = []
    for axis, (name, index) in enumerate(
        zip(image.axis_labels, plane.index, strict=True)
    ):
        if index is not None:
            # Axes without a name are labelled "-3", "-2", "-1" by napari.
            known = not str(name).lstrip("-").isdigit()
            # Counted from 0, as on napari's sliders.
            parts.append(f"{name if known else 'plane'} {index} | {shape[axis] - 1}")
    return ", ".join(parts)
