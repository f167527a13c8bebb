"""One viewer, one controller: binds layers, follows the viewer, takes intents.

It owns no pixels and shows nothing: images, labels and prompts live in napari's layers,
the widget reads the controller's state.  All its methods are for the GUI thread.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.core.names import check_names
from napari_sam.errors import SamError
from napari_sam.types import MaskLevel, Region
from napari_sam.viewer.background.model_loader import ModelLoader
from napari_sam.viewer.background.prefetcher import Prefetcher
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.context import Context
from napari_sam.viewer.coords import layer_shape, visible_region
from napari_sam.viewer.display import Display
from napari_sam.viewer.everything.mode import EverythingMode
from napari_sam.viewer.everything.proposal_actions import (
    ProposalActions,
    ProposalClicks,
)
from napari_sam.viewer.everything.review import Review
from napari_sam.viewer.everything.triage import Triage
from napari_sam.viewer.image.binding import ImageBinding, note_last
from napari_sam.viewer.image.file_notes import FileNotes
from napari_sam.viewer.keys import KeyBinder
from napari_sam.viewer.labels.binding import LabelsBinding
from napari_sam.viewer.learning.learner import Learning
from napari_sam.viewer.navigation import Navigator
from napari_sam.viewer.plugin_layers import ROLE, is_ours
from napari_sam.viewer.projects.session import ProjectSession
from napari_sam.viewer.prompting.annotator import Annotator
from napari_sam.viewer.prompting.pointer import Pointer
from napari_sam.viewer.prompting.put_aside import keep, take
from napari_sam.viewer.prompting.toolbox import Toolbox
from napari_sam.viewer.settings import AnnotationSettings, Tool
from napari_sam.viewer.status import StatusLine, StatusState, next_step, read_state
from napari_sam.viewer.task_status import TaskStatus
from napari_sam.viewer.view_state import resolve
from napari_sam.viewer.volumes.propagation import Propagation

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer
    from napari.utils.events import Event

    from napari_sam.core.embeddings.store import EmbeddingStore
    from napari_sam.viewer.background.worker import Runner
    from napari_sam.viewer.view_state import ViewState


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
        A part has changed; for what must not wait.
    state_changed : Signal(ViewState)
        What the dock shows is another one; once a turn of the event loop at most.
    said : Signal(str)
        An event was told in the status line.
    """

    changed = Signal()
    state_changed = Signal(object)
    said = Signal(str)

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
        self.images = ImageBinding(self.context, self.loader)
        self.navigator = Navigator(self.context)
        self.pointer = Pointer(self.context, self.annotator.prompting, self.prefetcher)
        self.propagation = Propagation(
            self.context,
            self.annotator,
            self.prefetcher,
            self.navigator,
            self.pointer,
        )
        self.task_status = TaskStatus(
            self.context,
            self.loader,
            self.annotator,
            self.everything,
            self.propagation,
            self.prefetcher,
        )
        self.proposal_actions = ProposalActions(
            self.context, self.everything, self.annotator, self.pointer
        )
        self.review = Review(
            self.context,
            self.everything,
            self.annotator,
            self.proposal_actions,
            self.navigator,
        )
        self.keys = KeyBinder(self)
        self.triage = Triage(
            self.context,
            self.everything,
            self.annotator,
            self.proposal_actions,
            self.review,
            on_lasso_made=self.keys.bind_lasso,
            on_put_away=lambda: self.choose_tool(self.tool),
        )
        self.learning = Learning(self.context, self.loader, self.load_model)
        self.display = Display(
            self.context,
            self.images,
            self.labels,
            self.annotator,
            self.everything,
            self.review,
        )
        self._clicks = ProposalClicks(
            viewer, self.annotator, self.proposal_actions, self.pointer
        )
        self.projects = ProjectSession(self)
        self._file_notes = FileNotes(self.context)
        self.toolbox = Toolbox(
            self.context, self.annotator.layer_sync, self.pointer, self.choose_tool
        )
        # How often the labels have changed: what an undo would take back.
        self._label_changes = object()
        self._status = StatusLine(self._read_status)
        self._shown: ViewState | None = None
        self._is_due = False
        self._closed = False
        # Before closing: the labels stay in the viewer, or their owner has them.
        self._is_put_aside = self._is_settled = False
        self._viewer_connections = ConnectionSet()
        self._connect()

    # -- life ---------------------------------------------------------------

    def _connect(self) -> None:
        viewer, parts = self.viewer, self._viewer_connections
        parts.connect(viewer.layers.events.removed, self._on_layer_removed)
        parts.connect(self.loader.loaded, self._on_loaded)
        parts.connect(self.loader.failed, self._on_failed)
        parts.connect(self.images.leaving, self._on_leaving)
        parts.connect(self.images.placed, self._on_placed)
        parts.connect(self.images.dropped, self._on_dropped)
        parts.connect(self.images.renewed, self._on_renewed)
        parts.connect(self.images.moved, self._on_moved)
        parts.connect(self.images.status, self.set_status)
        parts.connect(self.labels.changed, self._on_labels_changed)
        for edit in (self.labels.undone, self.labels.redone, self.labels.painted):
            parts.connect(edit, self._on_labels_edited)
        # The annotator first: a review item that it corrects is not shown as one.
        for part in (self.annotator, self.everything, self.review, self.propagation):
            parts.connect(self.labels.undone, part.on_undone)
            parts.connect(self.labels.redone, part.on_redone)
        parts.connect(self.labels.selected, self.annotator.select_object)
        parts.connect(self.propagation.unreviewed, self.review.renew)
        parts.connect(self.everything.written, self.annotator.labels_taken)
        parts.connect(self.annotator.written, self.everything.on_written)
        parts.connect(self.annotator.adoption_changed, self._on_adoption)
        parts.connect(self.labels.painted, self.annotator.brush.on_painted)
        parts.connect(self.labels.painted, self.everything.labels_changed)
        parts.connect(self.prefetcher.changed, self.touch)
        parts.connect(self.prefetcher.shown_ready, self.changed.emit)
        parts.connect(self.prefetcher.failed, self._on_failed)
        for teller in (
            self.annotator,
            self.everything,
            self.propagation,
            self.review,
            self.triage,
            self.learning,
            self.projects,
        ):
            parts.connect(teller.changed, self.changed.emit)
            parts.connect(teller.status, self.set_status)
        for speaker in (self.proposal_actions, self.display, self.toolbox):
            parts.connect(speaker.status, self.set_status)
        parts.connect(self.toolbox.changed, self.changed.emit)
        parts.connect(self.labels.painted, self.proposal_actions.on_painted)
        # Whichever part has changed may have encoded planes.
        parts.connect(self.changed, self.prefetcher.look)
        parts.connect(self.changed, self.touch)
        self.keys.bind_viewer(viewer)

    def close(self) -> None:
        """Let go of the viewer; may be called any number of times.

        The user's layers stay as they are; ours are removed.
        """
        if self._closed:
            return
        self._closed = True
        self.context.runner.close()
        # First what is on disk: a window that is half gone may refuse the rest.
        self.projects.close(
            finished=not self._is_put_aside, offered=not self._is_settled
        )
        self._viewer_connections.clear()
        self.display.close()
        self.images.close()
        self.labels.release()
        self.keys.unbind()
        for part in (
            self.learning,
            self.toolbox,
            self.triage,
            self.pointer,
            self.propagation,
            self._clicks,
            self.everything,
        ):
            part.close()
        self.annotator.close()
        self.context.encoder = None
        self.loader.engine = None

    def abandon(self, *_: object) -> None:
        """Let go of a viewer whose window is destroyed; its layers stay as they are."""
        self.context.is_window_gone = True
        self.close()

    @property
    def is_under_way(self) -> bool:
        """Whether prompts of the user are not in the labels yet."""
        return bool(self.annotator.under_way())

    def put_aside(self) -> None:
        """Keep image and objects under way for `resume`: this is about to be closed."""
        self._is_put_aside = True
        if self.context.image is not None and not self._closed:
            left = self.annotator.under_way(while_growing=True)
            keep(self.context.image, left)
            self.projects.proposals.keep(self.context.image)
            note_last(self.context.image)

    def settle(self) -> None:
        """Note before closing that nobody need be asked about unsaved work."""
        self._is_settled = True

    def resume(self) -> None:
        """Go on with the labels that were written before, and what was put aside."""
        image = self.context.image
        if image is None:
            return
        if self.labels.layer is None:
            self.labels.choose_written()
        self.projects.proposals.bring_back(image)
        self.annotator.take_up(take(image))

    @property
    def is_closed(self) -> bool:
        """Whether it has let go of the viewer."""
        return self._closed

    @property
    def status(self) -> str:
        """The status line: an event while it is news, else what comes next."""
        return self._status.text

    def set_status(self, text: str) -> None:
        """Tell an event in the status line; it goes when the state changes."""
        self._status.say(text)
        self.said.emit(text)
        self.touch()

    @property
    def state(self) -> ViewState:
        """All that the dock shows, as it is now."""
        return resolve(self)

    def touch(self) -> None:
        """Note that what the dock shows may have changed."""
        if not self._is_due:
            self._is_due = True
            self.context.runner.soon(self._show)

    def _show(self) -> None:
        self._is_due = False
        if self._closed:
            return
        state = self.state
        if state != self._shown:
            self._shown = state
            self.state_changed.emit(state)

    def _read_status(self) -> tuple[StatusState, tuple[object, ...]]:
        context = self.context
        return read_state(self), (
            self.annotator.items,
            context.image,
            context.plane,
            self.labels.layer,
            self._label_changes,
        )

    def _on_labels_edited(self) -> None:
        self._label_changes = object()
        self.touch()

    @property
    def settings(self) -> AnnotationSettings:
        """What the user chose."""
        return self.context.settings

    def change_settings(self, **changes: Any) -> None:
        """Change settings and redo what depends on them.

        Raises
        ------
        SettingsError
            If there is no such setting, or a value cannot be one; nothing has changed.
        """
        before = self.context.settings
        check_names(changes, [field.name for field in fields(before)])
        after = replace(before, **changes)
        if after == before:
            return
        self.context.settings = after
        self._apply(before, after)
        self.changed.emit()

    def _apply(self, before: AnnotationSettings, after: AnnotationSettings) -> None:
        """Redo what depends on settings that have changed."""
        self.display.restyle()
        if after.normalization != before.normalization:
            self.images.renew()
        if after.cleaning != before.cleaning:
            self.annotator.prompting.recompute()
        if after.live != before.live and after.live:
            self.annotator.write_live()
        if after.filters != before.filters:
            self.everything.refilter()
        elif after.proposal_color != before.proposal_color:
            self.everything.draw()
        if not self.pointer.is_hovering:
            self.annotator.prompting.end_hover()

    # -- model --------------------------------------------------------------

    def load_model(self, name: str, device: str = "auto") -> None:
        """Load a model in the background; labels and prompts stay."""
        self.loader.load(name, device)
        # The status says so as long as it is true.
        self.changed.emit()

    def _on_loaded(self) -> None:
        self.images.renew(same_pixels=True)
        self.changed.emit()

    # -- image --------------------------------------------------------------

    def choose_image(self, layer: Image | None) -> None:
        """Segment this image from now on; labels stay if they fit.

        Prompts that are not in the labels yet stay with their image: they are there
        again when it is.
        """
        before, labels = self.context.image, self.labels.layer
        self.images.choose(layer)
        if self.context.image is before:
            return
        self.resume()
        if labels is not None and labels == self.labels.layer and layer is not None:
            # Meant for channels of one image; another image may have this shape, too.
            self.set_status(f"Objects go into '{labels.name}' still; New makes others.")

    def _on_leaving(self) -> None:
        left = self.annotator.leave_image()
        self.projects.leave(left)
        if self.context.image is not None:
            keep(self.context.image, left)
            self.projects.proposals.keep(self.context.image)

    def _on_placed(self, image: Image) -> None:
        """Give our layers the image's dimensions and place; check the labels."""
        self._ensure_layers()
        self.annotator.layer_sync.layers.follow(image)
        for overlay in (self.annotator.preview, self.everything.overlay):
            overlay.displaced()
        self.labels.drop_if_unfit()
        self._file_notes.look(image)

    def _on_dropped(self) -> None:
        self.annotator.forget_answers()
        self.prefetcher.reset()
        self.review.reset()
        self.triage.reset()
        self.proposal_actions.reset()
        self.everything.source_changed()

    def _on_renewed(self) -> None:
        self.annotator.prompting.request()
        self.annotator.prompting.prepare()

    def _on_moved(self) -> None:
        self.prefetcher.show()
        self.annotator.prompting.plane_changed()
        self.everything.draw()
        self.changed.emit()

    def _ensure_layers(self) -> None:
        image = self.context.image
        if image is None:
            return
        layer_sync = self.annotator.layer_sync
        before = layer_sync.layers.shapes
        layer_sync.ensure(image)
        if (
            layer_sync.layers.shapes is not None
            and layer_sync.layers.shapes is not before
        ):
            self.keys.bind_shapes(layer_sync.layers.shapes)

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
            if self.annotator.prompting.layer_removed(layer):
                # napari may be about to remove and select more.
                restore = partial(self._restore_layers, self.toolbox.lit)
                context.runner.soon(restore)
            if layer.metadata.get(ROLE) == "proposals":
                self.everything.overlay.forget()
            self.triage.layer_removed(layer)
        elif context.image is not None and layer == context.image:
            self.choose_image(None)
        elif self.labels.layer is not None and layer == self.labels.layer:
            self.choose_labels(None)

    def _restore_layers(self, lit: Tool | None) -> None:
        """Make a prompt layer anew that the user removed, with its prompts."""
        self._ensure_layers()
        if lit is not None:
            self.choose_tool(lit)

    def _on_labels_changed(self) -> None:
        self.annotator.target_changed()
        self.everything.labels_changed()
        self.review.labels_changed()
        self.propagation.tracks.look()
        self.changed.emit()

    def _on_adoption(self) -> None:
        adopted = self.annotator.adopted
        self.everything.hold(adopted.key if adopted is not None else None)

    def _on_failed(self, error: Exception) -> None:
        self.set_status(self.context.report(error))

    # -- intents: keys, buttons, commands -----------------------------------

    @property
    def tool(self) -> Tool:
        """The tool that was chosen last; `Toolbox.lit` is what a press makes."""
        return self.toolbox.tool

    def choose_tool(self, tool: Tool) -> None:
        """Activate the prompt layer and the mode of a tool."""
        if self.context.image is None:
            return
        self._ensure_layers()
        self.toolbox.activate(tool)
        self.annotator.prompting.arm()
        self.changed.emit()

    def accept(self) -> None:
        """Write the preview into the labels and start the next object.

        Without an object under way, accept the proposals that are chosen, or the one
        that is reviewed or under the cursor.
        """
        if self.annotator.is_empty and (
            self.triage.accept()
            or self.review.accept()
            or self.proposal_actions.accept_under_cursor()
        ):
            return
        self.annotator.accept()

    def reject(self) -> None:
        """Drop the proposals that are chosen, reviewed or under the cursor."""
        if not self.triage.reject() and not self.review.reject():
            self.proposal_actions.reject_under_cursor()

    def skip(self) -> None:
        """Leave what is reviewed for later."""
        self.review.skip()

    def accept_plane(self) -> None:
        """Accept all proposals of the plane on screen."""
        self.review.accept_plane()

    def toggle_review(self) -> None:
        """Begin to review, or pause."""
        self.review.toggle()

    def undo(self) -> None:
        """Undo the newest step, whichever layer is selected."""
        if self.propagation.bring_back() or self.proposal_actions.undo_reject():
            return
        if self.annotator.take_back_accept():
            return
        if self.context.target is None:
            self.set_status("There are no labels yet, so there is nothing to undo.")
        else:
            self._run(self.context.target.undo)

    def redo(self) -> None:
        """Redo what was undone last."""
        if self.proposal_actions.redo_reject():
            return
        if self.context.target is None:
            self.set_status("There are no labels yet, so there is nothing to redo.")
        else:
            before = self._label_changes
            self._run(self.context.target.redo)
            if self._label_changes is before:
                self.annotator.repeat_accept()

    def discard(self) -> None:
        """Drop the current prompts and preview; say what comes next.

        Before that, let chosen proposals be and put the lasso away.
        """
        if self.triage.drop():
            return
        text = self.annotator.discard()
        if text:
            self.set_status(f"{text}  {next_step(read_state(self))}")

    def give_up_drawing(self) -> bool:
        """Drop the shape that is being dragged; False if no button is held."""
        return self.annotator.layer_sync.give_up()

    def escape_shapes(self) -> None:
        """Discard; not the line that a drag has just finished."""
        if self.toolbox.take_drawn_line():
            self.set_status("The line is finished.  N accepts · Esc again discards it")
        else:
            self.discard()

    def cycle_level(self) -> None:
        """Show the next of the model's nested answers."""
        self.set_level(self.annotator.level.next())

    def set_level(self, level: MaskLevel) -> None:
        """Show one of the model's nested answers."""
        self.annotator.prompting.set_level(level)

    def cycle_preview(self) -> None:
        """Draw masks with contour and fill, contour alone, or not at all."""
        style = self.settings.preview.next()
        self.change_settings(preview=style)
        self.set_status(f"Preview: {style}.")

    def show_model_input(self) -> None:
        """Show the plane as the model gets it, or stop showing it."""
        self.display.toggle_model_input()

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
        """Make the proposal or object under the cursor current again.

        In a review, the one that is reviewed.
        """
        if self.review.correct() or self.proposal_actions.correct_under_cursor():
            return
        label = self.pointer.label_under_cursor()
        if label > 0:
            self.annotator.select_object(label)
        else:
            self.set_status("There is no object under the cursor.")

    def segment_plane(self) -> None:
        """Find all objects of the plane on screen."""
        self._run(self.everything.run)

    def prefill(self) -> None:
        """Propose what the model is sure of on the plane on screen."""
        self._run(self.everything.prefill)

    def segment_stack(self) -> None:
        """Find all objects of all planes, one after another."""
        self._run(partial(self.everything.run, all_planes=True))

    def segment_box(self) -> None:
        """Find all objects inside the drawn rectangle."""
        boxes = [p.box for p in self.annotator.prompting.here() if p.box is not None]
        if not boxes:
            self.set_status("Draw a box with the Box tool first.")
            return
        r0, c0, r1, c1 = (round(x) for x in boxes[-1])
        region = Region(r0, c0, r1 + 1, c1 + 1)
        self.annotator.discard()
        self._run(partial(self.everything.run, region=region))

    def segment_view(self) -> None:
        """Find all objects in the part of the plane that the camera shows."""
        image, plane, region = self.context.image, self.context.plane, None
        if image is not None and plane is not None:
            region = visible_region(self.context.viewer, image, plane)
            if region is None:
                self.set_status(
                    "The view shows no part of the image: move it onto the image."
                )
                return
            if region == Region.whole(plane.shape(layer_shape(image))):
                region = None
        self._run(partial(self.everything.run, region=region))

    def _run(self, action: Callable[[], None]) -> None:
        try:
            action()
        except SamError as error:
            self.set_status(self.context.report(error))
        self.changed.emit()

    def encode_stack(self) -> None:
        """Encode all planes of the stack in the background."""
        self.prefetcher.request_whole_stack(True)

    def go_to(self, position: int) -> None:
        """Move the viewer to a plane of the stack."""
        plane, axis = self.context.plane, self.prefetcher.strip.axis
        if plane is not None and axis is not None:
            point = plane.moved(axis, position).to_array_point(0.0, 0.0)
            self.navigator.go_to_point(point)

    def cancel(self) -> None:
        """Stop what is under way; what was found or encoded stays."""
        if text := self.task_status.cancel():
            self.set_status(text)
