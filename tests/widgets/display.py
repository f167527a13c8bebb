"""A window that draws itself less often than a display without a screen lets it."""

from __future__ import annotations

import time
from functools import partial
from weakref import WeakKeyDictionary, ref

from napari._qt.qt_main_window import _QtMainWindow
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QApplication

SHARE = 0.1
"""Part of a window's time that it draws."""

LONGEST = 0.5
"""Seconds that a picture waits at most."""


class Display:
    """Has a window spend a tenth of its time on drawing itself, and not half of it.

    There is no screen here that a window would wait for: it draws after every single
    event, all of it and in software.
    """

    def __init__(self) -> None:
        self.is_slow = True
        self._event = _QtMainWindow.event
        self._rested: WeakKeyDictionary[_QtMainWindow, float] = WeakKeyDictionary()
        self._timers: WeakKeyDictionary[_QtMainWindow, QTimer] = WeakKeyDictionary()

    def event(self, window: _QtMainWindow, event: QEvent) -> bool:
        """Pass an event on; a request to draw when it is time to."""
        if event.type() != QEvent.Type.UpdateRequest or not self.is_slow:
            return self._event(window, event)
        if window not in self._timers:
            timer = self._timers[window] = QTimer(window)
            timer.setSingleShot(True)
            timer.timeout.connect(partial(self._draw, ref(window)))
        begun = time.monotonic()
        left = self._rested.get(window, 0.0) - begun
        if left > 0:
            if not self._timers[window].isActive():
                self._timers[window].start(round(1000 * left) + 1)
            return True
        try:
            return self._event(window, event)
        finally:
            drawn = time.monotonic()
            rest = (drawn - begun) * (1 / SHARE - 1)
            self._rested[window] = drawn + min(rest, LONGEST)

    def catch_up(self, window: _QtMainWindow) -> None:
        """Draw what waits: a hand goes by what is seen."""
        timer = self._timers.get(window)
        if timer is not None and timer.isActive():
            timer.stop()
            self._rested[window] = 0.0
            self._draw(ref(window))

    def _draw(self, window: ref[_QtMainWindow]) -> None:
        """Ask again: Qt asks once, and waits until it is done."""
        if (there := window()) is not None:
            QApplication.sendEvent(there, QEvent(QEvent.Type.UpdateRequest))


DISPLAY = Display()
