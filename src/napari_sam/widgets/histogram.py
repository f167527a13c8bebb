"""A small histogram under a threshold: what it keeps, and in gray what it hides."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from magicgui.widgets import Container
from napari.utils.theme import get_theme
from qtpy.QtCore import QRectF
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QSizePolicy, QSlider, QStyle, QStyleOptionSlider, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from magicgui.widgets import Widget
    from qtpy.QtGui import QPaintEvent

BINS = 40
_HEIGHT = 18


class Histogram(QWidget):
    """Bars over the scale of a slider; what the threshold hides is gray.

    Parameters
    ----------
    theme : callable
        Returns the name of napari's theme.
    beside : QWidget, optional
        A slider, or a widget with one in it, whose scale the bars follow.  Without one
        they take the whole width.
    """

    def __init__(self, theme: Callable[[], str], beside: QWidget | None = None) -> None:
        super().__init__()
        self._theme = theme
        self._beside = beside
        self.counts: npt.NDArray[np.intp] = np.zeros(BINS, np.intp)
        self.kept = (0.0, 1.0)
        self.colors: tuple[str, ...] = ()
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_counts(
        self,
        counts: npt.NDArray[np.intp],
        kept: tuple[float, float],
        colors: Sequence[str] = (),
    ) -> None:
        """Show how many there are in each bin.

        Parameters
        ----------
        counts : int array (B,)
            For each bin of equal width, from the low end of the scale.
        kept : (float, float)
            From where to where on the scale nothing is hidden; its ends are 0 and 1.
        colors : sequence of str, optional
            Color of each bar; the theme's highlight by default.
        """
        same = np.array_equal(counts, self.counts)
        if same and (kept, tuple(colors)) == (self.kept, self.colors):
            return
        self.counts, self.kept, self.colors = counts, kept, tuple(colors)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the bars, those of the hidden part in gray."""
        painter = QPainter(self)
        highlight, gray = _theme_colors(self._theme())
        left, right = self._span()
        height, width = float(self.height()), right - left
        painter.fillRect(QRectF(left, height - 1, width, 1), QColor(gray))
        most = int(self.counts.max(initial=0))
        if not most or width <= 0:
            return
        low, high = (left + width * x for x in self.kept)
        # By the square root, so that a few beside many are seen.
        tall = np.sqrt(self.counts / most) * (height - 1)
        step = width / len(tall)
        for number, bar in enumerate(np.where(self.counts > 0, tall, 0).tolist()):
            if not bar:
                continue
            bar = max(bar, 2.0)
            start = left + step * number
            stop = start + max(step - 1, 1)
            color = self.colors[number] if self.colors else highlight
            for begin, end, fill in (
                (start, min(stop, low), gray),
                (max(start, low), min(stop, high), color),
                (max(start, high), stop, gray),
            ):
                if end > begin:
                    box = QRectF(begin, height - 1 - bar, end - begin, bar)
                    painter.fillRect(box, QColor(fill))

    def _span(self) -> tuple[float, float]:
        """Return where the scale begins and ends, in pixels of this widget."""
        slider = self._beside
        if slider is not None and not isinstance(slider, QSlider):
            slider = slider.findChild(QSlider)
        if not isinstance(slider, QSlider):
            return 0.0, float(self.width())
        # The middle of the handle says the value, and all of it stays inside.
        options = QStyleOptionSlider()
        slider.initStyleOption(options)
        style = slider.style()
        handle = 0
        if style is not None:
            handle = style.pixelMetric(
                QStyle.PixelMetric.PM_SliderLength, options, slider
            )
        start = self.mapFromGlobal(slider.mapToGlobal(slider.rect().topLeft())).x()
        return start + handle / 2, start + slider.width() - handle / 2


def over(widget: Widget, below: QWidget) -> Container[Widget]:
    """Return a control with something of Qt's below it, under the control's name."""
    box = Container(widgets=[widget], layout="vertical", labels=False)
    box.margins = (0, 0, 0, 0)
    layout = box.native.layout()
    layout.setSpacing(0)
    layout.addWidget(below)
    box.label = widget.label
    return box


@lru_cache(maxsize=8)
def _theme_colors(theme: str) -> tuple[str, str]:
    """Return the colors of what is kept and of what is hidden."""
    found = get_theme(theme)
    return found.text.as_hex(), found.primary.as_hex()
