"""A popup that lists the keys."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QWidget

from napari_sam.viewer.keys import help_rows

_WIDTH = 300


class HelpPopup(QFrame):
    """The key table; a click anywhere else closes it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        grid = QGridLayout(self)
        grid.setHorizontalSpacing(14)
        rows = help_rows()
        # In two halves side by side: one below the other they need a large screen.
        half = (len(rows) + 1) // 2
        for number, (key, text) in enumerate(rows):
            side, line = divmod(number, half)
            name = QLabel(f"<b>{key}</b>")
            meaning = QLabel(text)
            meaning.setWordWrap(True)
            meaning.setMinimumWidth(_WIDTH)
            grid.addWidget(name, line, 2 * side, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(meaning, line, 2 * side + 1, Qt.AlignmentFlag.AlignTop)
        grid.setRowStretch(half, 1)

    def show_beside(self) -> None:
        """Show the popup left of the widget it belongs to."""
        owner = self.parentWidget()
        # Not adjustSize, which takes two thirds of the screen at most.
        width = self.sizeHint().width()
        self.resize(width, max(self.heightForWidth(width), self.sizeHint().height()))
        if owner is not None:
            corner = owner.mapToGlobal(owner.rect().topLeft())
            corner.setX(max(0, corner.x() - self.width() - 8))
            self.move(corner)
        self.show()
