"""The dock widget: puts the panels together and owns the controller."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ProgressBar, PushButton
from napari.settings import get_plugin_settings
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QFrame,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.models import list_models
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.image.binding import first_image
from napari_sam.viewer.settings import Tool
from napari_sam.widgets.activity_bar import ActivityBar
from napari_sam.widgets.canvas_context import CanvasContext
from napari_sam.widgets.closing import CloseGuard
from napari_sam.widgets.everything_panel import EverythingPanel
from napari_sam.widgets.focus import KeyRelay, main_window
from napari_sam.widgets.help import HelpPopup
from napari_sam.widgets.key_clock import KeyClock
from napari_sam.widgets.learn import LearnPanel
from napari_sam.widgets.panels import (
    LayersPanel,
    ObjectPanel,
    OptionsPanel,
    Panel,
    StackPanel,
    row,
    show_progress,
)
from napari_sam.widgets.project_panel import ProjectPanel
from napari_sam.widgets.quick_clicks import QuickClicks
from napari_sam.widgets.review_panel import ReviewPanel
from napari_sam.widgets.runner import QtRunner
from napari_sam.widgets.strip import ObjectStrip, ReadyStrip
from napari_sam.widgets.triage_panel import TriagePanel
from napari_sam.widgets.view_fitter import ViewFitter, fit_to_screen
from napari_sam.widgets.volume_panel import FollowPanel, VolumePanel
from napari_sam.widgets.wheel import WheelGuard

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtGui import QShowEvent

    from napari_sam.viewer.view_state import FollowState, ViewState

_GIB = 1 << 30


class SamWidget(QWidget):
    """Segment Anything: click, and the object is labeled.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Injected by napari; each viewer has its own widget, controller and
        worker thread.
    """

    # napari injects the viewer by the string 'napari.viewer.Viewer'; any other
    # spelling of this annotation would get nothing.
    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        preferences = _preferences()
        runner = QtRunner()
        store = EmbeddingStore(
            ram_bytes=int(preferences["memory_gib"] * _GIB),
            disk_bytes=int(preferences["disk_gib"] * _GIB),
            # Said by the worker, shown by the window.
            on_problem=lambda text: runner.soon(partial(show_warning, text)),
        )
        self.controller = Controller(viewer, runner, store=store)
        # The receiver must not be this widget: PyQt never calls a method of
        # the object that is being destroyed.
        self.destroyed.connect(self.controller.abandon)
        self._guard: CloseGuard | None = None
        self._canvas: CanvasContext | None = None
        self._showed_all = self.controller.navigator.shows_all
        self._had_image = False
        self._followed: FollowState | None = None
        self._build(preferences)
        self._connect(viewer)
        self.controller.load_model(preferences["name"], preferences["device"])
        self._choose_first_image()
        # Before the first layout: a button that works is lower than one that rests.
        self.show_state(self.controller.state)

    # -- building -----------------------------------------------------------

    def _build(self, preferences: dict[str, Any]) -> None:
        controller = self.controller
        self.layers = LayersPanel(
            controller, list_models(), preferences["name"], preferences["device"]
        )
        self.project = ProjectPanel(controller)
        self.objects = ObjectPanel(controller)
        self.options = OptionsPanel(controller, self.layers.device)
        self.everything = EverythingPanel(controller)
        self.review = ReviewPanel(controller)
        self.triage = TriagePanel(controller)
        self.learn = LearnPanel(controller)
        self.stack = StackPanel(controller)
        self.follow = FollowPanel(controller)
        self.volume = VolumePanel(controller)
        self.strip = ReadyStrip()
        self.object_strip = ObjectStrip()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.setMinimumHeight(3 * self.status.fontMetrics().lineSpacing())
        self.status.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.progress = ProgressBar(visible=False)
        self.cancel = PushButton(text="Cancel", visible=False)
        # What comes and goes keeps its place, so that nothing moves under the hand.
        for widget in (
            self.progress.native,
            self.cancel.native,
            self.strip,
            self.object_strip,
        ):
            policy = widget.sizePolicy()
            policy.setRetainSizeWhenHidden(True)
            widget.setSizePolicy(policy)
        self._ticker = QTimer(self)
        self._ticker.setInterval(500)
        self.activity = ActivityBar(lambda: controller.task_status.long, self)
        self.help = PushButton(text="Keys …")

        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(4)
        column.addWidget(self.layers.container.native)
        column.addWidget(self.project.container.native)
        column.addWidget(_line())
        column.addWidget(self.objects.container.native)
        column.addWidget(_line())
        column.addWidget(self.strip)
        column.addWidget(self.object_strip)
        column.addWidget(self.follow.container.native)
        self.review_section = _section("Review", self.review, expanded=True)
        column.addWidget(self.review_section)
        self.everything_section = _section("Everything", self.everything, expanded=True)
        column.addWidget(self.everything_section)
        self.triage_section = _section("Choose", self.triage, expanded=True)
        column.addWidget(self.triage_section)
        self.volume_section = _section("Through the stack", self.volume, expanded=False)
        self.volume_section.addWidget(self.stack.container.native)
        column.addWidget(self.volume_section)
        self.learn_section = _section("Learn", self.learn, expanded=False)
        column.addWidget(self.learn_section)
        column.addWidget(_section("Options", self.options, expanded=False))
        column.addWidget(self.help.native)
        column.addStretch(1)

        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        # A press on a button would give it the focus that the button does not take.
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(body)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll, 1)
        outer.addWidget(self._footer())
        self._scroll = scroll
        self._make_room()
        self._keys = KeyRelay(self)
        self._wheel = WheelGuard(self)

    def _make_room(self) -> None:
        """Be wide enough for every row: what is cut cannot be scrolled to."""
        bar, body = self._scroll.verticalScrollBar(), self._scroll.widget()
        beside = 0
        if bar is not None:
            # Its hint is not what the theme makes of it, nor is it till it is laid out.
            beside = max(bar.sizeHint().width(), bar.width() if bar.isVisible() else 0)
        width = body.minimumSizeHint().width() if body is not None else 0
        self.setMinimumWidth(max(350, width + beside))

    def _footer(self) -> QWidget:
        """Return what is said and what is under way: in sight wherever one scrolls."""
        footer = QWidget()
        column = QVBoxLayout(footer)
        column.setContentsMargins(6, 0, 6, 4)
        column.setSpacing(4)
        column.addWidget(_line())
        column.addWidget(self.status)
        column.addWidget(row(self.progress, self.cancel).native)
        # What is said makes the dock no wider.
        footer.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        return footer

    def _connect(self, viewer: Any) -> None:
        controller = self.controller
        controller.state_changed.connect(self.show_state)
        for strip in (self.strip, self.object_strip):
            strip.clicked.connect(self._go_to)
        self.cancel.changed.connect(self._cancel)
        self._ticker.timeout.connect(controller.touch)
        self.help.changed.connect(self._show_help)
        controller.learning.models_changed.connect(self._list_models)
        events = viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            emitter.connect(self._on_layers)
        events.renamed.connect(self._on_layers)

    def _choose_first_image(self) -> None:
        """Start with the image that was segmented here before, or is selected."""
        if self.controller.is_closed or self.controller.context.image is not None:
            return
        chosen = first_image(self.controller.viewer)
        if chosen is not None:
            if self._had_image:
                show_info(f"'{chosen.name}' is the image that is segmented now.")
            self._had_image = True
            self.controller.choose_image(chosen)
            self.controller.resume()
            self.controller.choose_tool(Tool.POINT)

    # -- showing ------------------------------------------------------------

    def _panels(self) -> tuple[Panel[Any], ...]:
        return (
            self.layers,
            self.project,
            self.objects,
            self.options,
            self.everything,
            self.review,
            self.triage,
            self.learn,
            self.stack,
            self.follow,
            self.volume,
        )

    def show_state(self, state: ViewState) -> None:
        """Show a state of the controller: what is another one than before."""
        if self.controller.is_closed:
            return
        for panel in self._panels():
            panel.refresh(state)
        if state.follow != self._followed:
            self._followed = state.follow
            self._show_strips(state.follow)
        self._show_progress(state)
        if self.status.text() != state.status:
            self.status.setText(state.status)

    def _show_strips(self, state: FollowState) -> None:
        """Show which planes are encoded, and where in the stack the object is."""
        for widget in (self.strip, self.object_strip, self.volume_section):
            widget.setVisible(state.strip.axis is not None)
        self.strip.set_state(state.strip)
        self.object_strip.set_state(state)

    def _show_progress(self, state: ViewState) -> None:
        show_progress(self.progress, state.progress)
        self.cancel.visible = state.progress is not None and state.can_cancel
        if state.progress is None:
            self._ticker.stop()
        elif not self._ticker.isActive():
            self._ticker.start()
        if self.cancel.visible:
            self.activity.follow()

    def _list_models(self) -> None:
        self.layers.list_models(list_models())

    # -- acting -------------------------------------------------------------

    def _on_layers(self) -> None:
        if self.controller.is_closed:
            return
        self.layers.reset_choices()
        if self.controller.context.image is None:
            # napari selects a new layer only after it has told everybody.
            QTimer.singleShot(0, self._choose_first_image)

    def reset_choices(self, event: object = None) -> None:
        """List the layers again; napari calls this when they change."""
        self._on_layers()

    def _go_to(self, position: int) -> None:
        self.controller.go_to(position)

    def _cancel(self) -> None:
        self.controller.cancel()

    def _show_help(self) -> None:
        HelpPopup(self).show_beside()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Let the view be whole after the dock has taken its room from the canvas."""
        super().showEvent(event)
        if self._guard is None:
            window = main_window(self) or self
            self._guard = CloseGuard(self.controller, window)
            self._canvas = CanvasContext(self.controller.viewer, window)
            self.controller.keys.clock = KeyClock(window, self)
            QuickClicks(window, self.controller.pointer, self)
            for panel in self._panels():
                panel.align_names()
            # When the names have got their room.
            QTimer.singleShot(0, self._make_room)
            QTimer.singleShot(0, partial(fit_to_screen, window))
        if self._showed_all:
            self._showed_all = False
            ViewFitter(self.controller, self)

    # -- life ---------------------------------------------------------------

    def event(self, event: QEvent | None) -> bool:
        """Close the controller when the dock is closed.

        A docked widget gets no close event: pressing the dock's X takes the
        widget out of its parent.
        """
        if (
            event is not None
            and event.type() == QEvent.Type.ParentChange
            and self.parent() is None
        ):
            self._disconnect()
            self.activity.close()
            if self._guard is not None:
                self._guard.close()
            # Nothing is lost, so nothing need be asked.
            self.controller.put_aside()
            self.controller.close()
            if self._canvas is not None:
                self._canvas.close()
            # napari leaves it to Python, and PyQt stumbles over what frees other
            # objects when the interpreter ends.
            self.deleteLater()
        return bool(super().event(event))

    def _disconnect(self) -> None:
        events = self.controller.viewer.layers.events
        for emitter in (
            events.inserted,
            events.removed,
            events.reordered,
            events.renamed,
        ):
            emitter.disconnect(self._on_layers)


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    return line


def _section(title: str, panel: Panel[Any], *, expanded: bool) -> QCollapsible:
    section = QCollapsible(title)
    section.addWidget(panel.container.native)
    section.setDuration(0)
    # The panel is as wide as the others; sliders need the room.
    for layout in (section.layout(), section.content().layout()):
        layout.setContentsMargins(0, 2, 0, 2)
    if expanded:
        section.expand(animate=False)
    else:
        section.collapse(animate=False)
    return section


def _preferences() -> dict[str, Any]:
    """Return the plugin's settings from napari's preferences, or the defaults."""
    found: dict[str, Any] = {
        "name": "mobile-sam-microscopy",
        "device": "auto",
        "memory_gib": 1.0,
        "disk_gib": 10.0,
    }
    try:
        settings = get_plugin_settings("napari-sam")
    except KeyError:
        # Not discovered as a plugin, for instance run from a source tree.
        return found
    found["name"] = settings.model.name
    found["device"] = settings.model.device
    found["memory_gib"] = settings.embeddings.memory_gib
    found["disk_gib"] = settings.embeddings.disk_gib
    return found
