"""A popup that lists the keys."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QWidget

from napari_sam.viewer.keys import help_rows


class HelpPopup(QFrame):
    """The key table; a click anywhere else closes it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        grid = QGridLayout(self)
        grid.setHorizontalSpacing(14)
        for line, (key, text) in enumerate(help_rows()):
            name = QLabel(f"<b>{key}</b>")
            meaning = QLabel(text)
            meaning.setWordWrap(True)
            meaning.setMinimumWidth(340)
            grid.addWidget(name, line, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(meaning, line, 1)

    def show_beside(self) -> None:
        """Show the popup left of the widget it belongs to."""
        owner = self.parentWidget()
        self.adjustSize()
        if owner is not None:
            corner = owner.mapToGlobal(owner.rect().topLeft())
            corner.setX(max(0, corner.x() - self.width() - 8))
            self.move(corner)
        self.show()
