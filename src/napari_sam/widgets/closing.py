"""Asking before the window is closed over an object that is not written."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from weakref import ref

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QMainWindow, QMessageBox, QWidget

from napari_sam.viewer.prompting.put_aside import left_with

if TYPE_CHECKING:
    from napari_sam.core.annotation.under_way import KeptObject
    from napari_sam.viewer.controller import Controller

_Role = QMessageBox.ButtonRole
_ROLES = {"Discard": _Role.DestructiveRole, "Cancel": _Role.RejectRole}


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
        # What the user has chosen to keep under way.
        self._kept: tuple[KeptObject, ...] = ()
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
        if controller is None or controller.is_closed:
            return True
        return self._may_leave(controller) and self._may_leave_others(controller)

    def _may_leave(self, controller: Controller) -> bool:
        """Ask about the objects under way on the image that is annotated."""
        annotator = controller.annotator
        under_way = annotator.under_way()
        if not under_way or under_way == self._kept:
            return True
        count = len(under_way)
        them = "it" if count == 1 else "them"
        buttons = {
            "Write": f"Writes {them} into the labels, as N does, and closes.",
            "Keep": "Closes; what is under way now is so again tomorrow.",
            "Discard": f"Drops the prompts of {them} and closes; the labels stay.",
            "Cancel": "Goes on annotating.",
        }
        if not controller.projects.keeps_under_way:
            del buttons["Keep"]
        answer = self._ask(
            _question(None if annotator.is_waiting else annotator.label, count),
            _outlook(controller),
            buttons,
        )
        if answer == "Keep":
            # Asked once: a window may be closed in several steps.
            self._kept = under_way
            return True
        if answer == "Write":
            # Of what is followed, the slices that were found.
            if controller.propagation.is_running:
                controller.propagation.cancel()
            for _ in range(count):
                if not annotator.is_empty:
                    annotator.accept()
            # Without its answer it is written in a moment, and the next wish is met.
            return not controller.is_under_way
        if answer == "Discard":
            annotator.discard_all()
        return answer == "Discard"

    def _may_leave_others(self, controller: Controller) -> bool:
        """Ask about the objects that wait on other images."""
        others = left_with(controller.viewer.layers, controller.context.image)
        if not others:
            return True
        image, count = others[0]
        have = "An object has" if count == 1 else f"{count} objects have"
        answer = self._ask(
            f"{have} prompts on the image '{image.name}' and "
            f"{'is' if count == 1 else 'are'} not in the labels yet.  Go there before "
            "closing?",
            f"{len(others) - 1} more images have such objects."
            if len(others) > 1
            else "",
            {
                "Go there": "Goes on annotating that image.",
                "Discard": "Drops such prompts of all images and closes.",
                "Cancel": "Goes on annotating this image.",
            },
        )
        if answer == "Go there":
            controller.choose_image(image)
        return answer == "Discard"

    def _ask(self, question: str, information: str, buttons: dict[str, str]) -> str:
        """Return which button is pressed; the first is the default, the last Escape."""
        box = QMessageBox(
            QMessageBox.Icon.Question,
            "Not in the labels yet",
            question,
            parent=cast("QWidget", self.parent()),
        )
        box.setInformativeText(information)
        for text, tip in buttons.items():
            button = box.addButton(text, _ROLES.get(text, _Role.AcceptRole))
            if button is None:
                continue
            button.setToolTip(tip)
            if text == next(iter(buttons)):
                box.setDefaultButton(button)
            if text == "Cancel":
                box.setEscapeButton(button)
        box.exec()
        pressed = box.clickedButton()
        box.deleteLater()
        return "Cancel" if pressed is None else pressed.text()

    def close(self) -> None:
        """Ask no more."""
        window = self.parent()
        if window is not None:
            window.removeEventFilter(self)
        self.deleteLater()


def _question(label: int | None, count: int) -> str:
    if count == 1:
        what = "An object" if label is None else f"Object {label}"
        return (
            f"{what} has prompts and is not in the labels yet.  Write it "
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
