"""Asking before the window is closed over an object that is not written."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from weakref import ref

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QMainWindow, QMessageBox, QWidget

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller

_Button = QMessageBox.StandardButton


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
        answer = QMessageBox.question(
            cast(QWidget, self.parent()),
            "An object is not written",
            f"Object {controller.annotator.label} has prompts and is not in the labels "
            "yet.  Write it before closing?",
            _Button.Save | _Button.Discard | _Button.Cancel,
            _Button.Save,
        )
        if answer == _Button.Save:
            for _ in controller.annotator.under_way:
                controller.annotator.accept()
            # Without its answer it is written in a moment, and the next wish is met.
            return not controller.is_under_way
        return bool(answer == _Button.Discard)

    def close(self) -> None:
        """Ask no more."""
        window = self.parent()
        if window is not None:
            window.removeEventFilter(self)
        self.deleteLater()
