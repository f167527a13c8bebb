"""The worker thread of a window: results travel through Qt's event queue."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QObject, Qt, Signal

from napari_sam.viewer.worker import ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


class _Courier(QObject):
    """Runs functions in the thread it lives in, in the order they were sent."""

    _sent = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._under_way = 0
        self._sent.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def send(self, function: Callable[[], None]) -> None:
        """Queue a function; callable from any thread."""
        with self._lock:
            self._under_way += 1
        try:
            self._sent.emit(function)
        except RuntimeError:
            # The window, and this object with it, went away meanwhile.
            logger.debug("a result arrived after its window was closed")

    @property
    def is_idle(self) -> bool:
        """Whether everything that was sent has been run."""
        with self._lock:
            return self._under_way == 0

    def _run(self, function: Callable[[], None]) -> None:
        try:
            function()
        finally:
            with self._lock:
                self._under_way -= 1


class QtRunner(ThreadRunner):
    """A `ThreadRunner` whose callbacks run in the GUI thread."""

    def __init__(self) -> None:
        self._courier = _Courier()
        super().__init__(self._courier.send)

    def wait(self, slots: Sequence[str]) -> None:
        """Keep the window alive until these jobs are done; GUI thread only."""
        while any(self.is_busy(slot) for slot in slots) or not self._courier.is_idle:
            QCoreApplication.processEvents()
            time.sleep(0.002)
