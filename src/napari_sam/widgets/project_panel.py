"""The row for projects: save, open, recent; and what is in no project."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import Label, PushButton
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog, QMenu, QSizePolicy

from napari_sam.core.annotation.project import SUFFIX
from napari_sam.errors import ImageError, SamError
from napari_sam.io.recent import recent_projects
from napari_sam.viewer.view_state import ProjectState
from napari_sam.widgets.panels import Panel, row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.view_state import ViewState


class ProjectPanel(Panel[ProjectState]):
    """Save and a menu; below, one sentence and buttons if there is unsaved work.

    Parameters
    ----------
    controller : Controller
        What it shows and steers.
    """

    def __init__(self, controller: Controller) -> None:
        self.save = PushButton(text="Save")
        self.more = PushButton(
            text="Project …", tooltip="Save as, open, recent, script."
        )
        self.found = Label(value="")
        self.restore = PushButton(
            text="Restore", tooltip="Adds its labels as a layer and goes on with them."
        )
        self.discard = PushButton(text="Discard", tooltip="Deletes this work.")
        self.place = PushButton(
            text="Put it where the image is",
            tooltip="Gives the labels the image's scale and position.",
        )
        self._decide = row(self.restore, self.discard)
        super().__init__(
            controller,
            [row(self.save, self.more), self.found, self._decide, self.place],
            labels=False,
        )
        self.found.native.setWordWrap(True)
        self.found.native.setSizePolicy(
            QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred
        )
        self.press(self.save, self.do_save)
        self.press(self.more, self._show_menu)
        self.press(self.restore, self._restore)
        self.press(self.discard, self._discard)
        self.press(self.place, self._place)

    def part(self, state: ViewState) -> ProjectState:
        """Return where the work is kept."""
        return state.project

    def show(self, state: ProjectState) -> None:
        """Show what is open and what can be restored."""
        self.save.enabled = not state.is_saving and not state.only_reading
        self.save.text = "Saving …" if state.is_saving else "Save"
        if state.only_reading:
            self.save.tooltip = f"Only for reading: {state.only_reading}."
        else:
            self.save.tooltip = (
                "Keeps image, labels, prompts and proposals in a project."
                if state.path is None
                else f"Saves {state.path}."
            )
        waiting = state.recoverable
        self.found.visible = self._decide.visible = bool(waiting)
        if waiting:
            when = datetime.fromtimestamp(waiting[0].modified).strftime("%d %B, %H:%M")
            more = f" (1 of {len(waiting)})" if len(waiting) > 1 else ""
            self.found.value = (
                f"There is work on this image that is in no project, of {when}{more}."
            )
        self.place.visible = state.misplaced is not None
        if state.misplaced is not None:
            self.place.text = f"Put '{state.misplaced.name}' where the image is"

    # -- acting -------------------------------------------------------------

    def do_save(self) -> None:
        """Save, asking for a name the first time."""
        if self.controller.projects.path is None:
            self.save_as()
            return
        with self._telling():
            self.controller.projects.save()

    def save_as(self) -> None:
        """Ask for a name and save there; without anything to save, say so first."""
        with self._telling():
            self.controller.projects.check_savable()
            self._ask_and_save()

    def _ask_and_save(self) -> None:
        image = self.controller.context.image
        name = f"{image.name if image is not None else 'project'}{SUFFIX}"
        source = image.source.path if image is not None else None
        start = Path(source).parent if source else Path.home()
        path, _ = QFileDialog.getSaveFileName(
            self.container.native,
            "Save project",
            str(start / name),
            f"Projects (*{SUFFIX})",
        )
        if path:
            self.controller.projects.save_as(path)

    def open_(self) -> None:
        """Ask for a project and open it."""
        path = QFileDialog.getExistingDirectory(
            self.container.native, f"Open project (a folder *{SUFFIX})"
        )
        if path:
            self.open_path(Path(path))

    def open_path(self, path: Path) -> None:
        """Open a project; ask for its image if that has moved."""
        projects = self.controller.projects
        with self._telling():
            try:
                projects.open(path)
            except ImageError as error:
                self.controller.set_status(str(error))
                image, _ = QFileDialog.getOpenFileName(
                    self.container.native, str(error), str(path.parent)
                )
                if image:
                    projects.open(path, image)

    def copy_script(self) -> None:
        """Put Python that makes the same labels on the clipboard."""
        with self._telling():
            script = self.controller.projects.script()
            clipboard = QGuiApplication.clipboard()
            if clipboard is not None:
                clipboard.setText(script)
            self.controller.set_status("The script is on the clipboard.")

    def menu(self) -> QMenu:
        """Return the menu of what is not said by a button."""
        menu = QMenu(self.container.native)
        for text, act in (
            ("Save as …", self.save_as),
            ("Open …", self.open_),
        ):
            menu.addAction(text).triggered.connect(act)
        recent = menu.addMenu("Recent")
        for path in recent_projects():
            action = recent.addAction(path.name.removesuffix(SUFFIX))
            action.setToolTip(str(path))
            action.triggered.connect(partial(self._open_recent, path))
        recent.setEnabled(bool(recent.actions()))
        menu.addSeparator()
        script = menu.addAction("Copy as script")
        script.triggered.connect(self.copy_script)
        script.setEnabled(self.controller.context.target is not None)
        return menu

    def _open_recent(self, path: Path, _checked: bool = False) -> None:
        self.open_path(path)

    def _show_menu(self) -> None:
        button = self.more.native
        menu = self.menu()
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(button.mapToGlobal(button.rect().bottomLeft()))

    def _restore(self) -> None:
        projects = self.controller.projects
        if projects.recoverable:
            with self._telling():
                projects.restore(projects.recoverable[0])

    def _discard(self) -> None:
        projects = self.controller.projects
        if projects.recoverable:
            projects.discard(projects.recoverable[0])

    def _place(self) -> None:
        with self._telling():
            self.controller.labels.place()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Show what goes wrong instead of raising it."""
        try:
            yield
        except SamError as error:
            self.controller.set_status(self.controller.context.report(error))
