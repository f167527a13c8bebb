"""The wheel over the dock, in a real window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from driver import spin
from magicgui.widgets import SpinBox
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QScrollArea,
    QScrollBar,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def turn(widget: QWidget, steps: int = -1) -> None:
    """Turn the wheel over the middle of a widget."""
    middle = widget.rect().center()
    event = QWheelEvent(
        QPointF(middle),
        QPointF(widget.mapToGlobal(middle)),
        QPoint(),
        QPoint(0, 120 * steps),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


def value(control: QWidget) -> object:
    if isinstance(control, QComboBox):
        return control.currentIndex()
    assert isinstance(control, QAbstractSpinBox | QAbstractSlider)
    return control.text() if isinstance(control, QAbstractSpinBox) else control.value()


def controls(dock: QWidget) -> list[QWidget]:
    """Return everything in the dock whose value a wheel can change."""
    kinds = QComboBox | QAbstractSpinBox | QAbstractSlider
    return [
        w
        for w in dock.findChildren(QWidget)
        if isinstance(w, kinds) and not isinstance(w, QScrollBar)
    ]


def the_wheel_scrolls_the_dock_and_changes_nothing(sam: Driver) -> None:
    sam.viewer.window.resize(1000, 500)
    later = SpinBox(value=5, max=10)
    sam.widget.review.container.append(later)
    spin(100)
    bar = sam.widget.findChildren(QScrollArea)[0].verticalScrollBar()
    found = controls(sam.widget)
    assert later.native in found
    assert len(found) > 12
    for control in found:
        before = value(control)
        for steps in (-1, 1):
            turn(control, steps)
            assert value(control) == before, control
        # The wheel would give it the focus before it arrives.
        assert control.focusPolicy() != Qt.FocusPolicy.WheelFocus, control
    bar.setValue(0)
    turn(sam.widget.layers.model.native)
    assert bar.value() > 0


def a_field_that_is_typed_in_takes_the_wheel(sam: Driver) -> None:
    field = sam.widget.everything.area.native
    sam.viewer.window.activate()
    field.setFocus()
    spin(100)
    assert field.hasFocus()
    before = field.value()
    turn(field, 1)
    assert field.value() > before


def test_the_wheel_over_the_dock(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins, wait=False)
    for check in (
        the_wheel_scrolls_the_dock_and_changes_nothing,
        a_field_that_is_typed_in_takes_the_wheel,
    ):
        check(sam)
