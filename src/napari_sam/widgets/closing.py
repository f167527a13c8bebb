"""Asking before the window is closed over an object that is not written."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from weakref import ref

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QMainWindow, QMessageBox, QWidget

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller

_Role = QMessageBox.ButtonRole


class CloseGuard(QObject):
    """Asks the user who closes the window by its button, a menu or a key.

    A script that closes it is not asked.

    Parameters
    ----------
    controller : Controller
        Has the object under way.
    window : QWidget
        The main window.
    """

    def __init__(self, controller: Controller, window: QWidget) -> None:
        super().__init__(window)
        # The window keeps this object, which must not keep what the window shows.
        self._controller = ref(controller)
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Look at the wish to close."""
        # In this order: the window outlives this object's attributes.
        if (
            event is None
            or event.type() != QEvent.Type.Close
            or not (event.spontaneous() or self._is_shown())
            or self.may_close()
        ):
            return False
        event.ignore()
        return True

    def _is_shown(self) -> bool:
        """Whether the window is closed first.

        The menu and its keys close the window, ``viewer.close()`` what is in it before.
        """
        window = self.parent()
        shown = window.centralWidget() if isinstance(window, QMainWindow) else None
        return shown is not None and any(
            child.isVisible()
            for child in shown.findChildren(
                QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly
            )
        )

    def may_close(self) -> bool:
        """Ask if something would be lost; whether the window may be closed."""
        controller = self._controller()
        if controller is None or controller.is_closed or not controller.is_under_way:
            return True
        annotator = controller.annotator
        count = len(annotator.under_way)
        box = QMessageBox(
            QMessageBox.Icon.Question,
            "Not in the labels yet",
            _question(annotator.label, count),
            parent=cast(QWidget, self.parent()),
        )
        box.setInformativeText(_outlook(controller))
        them = "it" if count == 1 else "them"
        write = box.addButton("Write", _Role.AcceptRole)
        discard = box.addButton("Discard", _Role.DestructiveRole)
        cancel = box.addButton("Cancel", _Role.RejectRole)
        for button, tip in (
            (write, f"Writes {them} into the labels, as N does, and closes."),
            (discard, f"Drops the prompts of {them} and closes; the labels stay."),
            (cancel, "Goes on annotating."),
        ):
            if button is not None:
                button.setToolTip(tip)
        box.setDefaultButton(write)
        box.setEscapeButton(cancel)
        box.exec()
        answer = box.clickedButton()
        box.deleteLater()
        if answer is write:
            for _ in range(count):
                annotator.accept()
            # Without its answer it is written in a moment, and the next wish is met.
            return not controller.is_under_way
        if answer is discard:
            annotator.discard_all()
        return answer is discard

    def close(self) -> None:
        """Ask no more."""
        window = self.parent()
        if window is not None:
            window.removeEventFilter(self)
        self.deleteLater()


def _question(label: int, count: int) -> str:
    if count == 1:
        return (
            f"Object {label} has prompts and is not in the labels yet.  Write it "
            "before closing?"
        )
    return (
        f"{count} objects have prompts and are not in the labels yet.  Write them "
        "before closing?"
    )


def _outlook(controller: Controller) -> str:
    """Say where the labels will be."""
    path = controller.projects.path
    if path is not None and not controller.projects.is_read_only:
        return f"The labels are in the project {path.name}, with all that was written."
    return (
        "The labels are in no project yet.  What was written is kept, and the dock "
        "offers it when this image is opened again; Save in the dock makes a project."
    )
