"""The worker of a window: results travel through Qt's event queue."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QObject, Qt, QTimer, Signal

from napari_sam.viewer.background.worker import LOWEST, NICENESS, ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)


class _Courier(QObject):
    """Runs functions in the thread it lives in, in the order they were sent."""

    _sent = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._sent.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def send(self, function: Callable[[], None]) -> None:
        """Queue a function; callable from any thread."""
        try:
            self._sent.emit(function)
        except RuntimeError:
            # The window, and this object with it, went away meanwhile.
            logger.debug("a result arrived after its window was closed")

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Run a function after a while, unless this object is gone by then."""
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(function)
        timer.timeout.connect(timer.deleteLater)
        timer.start(round(1000 * seconds))

    def _run(self, function: Callable[[], None]) -> None:
        function()


class QtRunner(ThreadRunner):
    """A `ThreadRunner` whose callbacks run in the GUI thread."""

    def __init__(self, niceness: int = NICENESS) -> None:
        self._courier = _Courier()
        super().__init__(self._courier.send, niceness)

    def sibling(self) -> QtRunner:
        """Return another runner, for work of the lowest priority."""
        return QtRunner(LOWEST)

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function after a while, unless closed before; GUI thread only."""
        self._courier.later(seconds, partial(self._unless_closed, function))

    def wait(self, slots: Sequence[str]) -> None:
        """Keep the window alive until these jobs are done; GUI thread only."""
        while any(self.is_pending(slot) for slot in slots):
            QCoreApplication.processEvents()
            time.sleep(0.002)
