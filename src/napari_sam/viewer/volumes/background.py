"""Work through the stack in the background, one run at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from psygnal import Signal

from napari_sam.viewer.background.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.viewer.context import Context

RunT = TypeVar("RunT")


class BackgroundWork(ABC, Generic[RunT]):
    """One run at a time in a slot of the worker; a stopped one tells nothing more.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.

    Attributes
    ----------
    changed : Signal()
        A run began, went on or ended.
    status : Signal(str)
        What just happened.
    """

    changed = Signal()
    status = Signal(str)
    slot: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self._context = context
        self._run: RunT | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run is on its way."""
        return self._run is not None

    def _begin(self, run: RunT, work: Callable[[], Any]) -> None:
        self._run = run
        self._context.runner.submit(
            Job(
                work,
                priority=Priority.FOLLOW,
                slot=self.slot,
                on_yield=partial(self._take, run),
                on_result=partial(self._finish, run),
                on_error=partial(self._fail, run),
            )
        )
        self.changed.emit()

    def _stop(self) -> None:
        self._context.runner.cancel(self.slot)
        self._run = None

    # Of what the work yields, returns and raises.

    @abstractmethod
    def _take(self, run: RunT, step: Any) -> None: ...

    @abstractmethod
    def _finish(self, run: RunT, found: Any) -> None: ...

    @abstractmethod
    def _fail(self, run: RunT, error: Exception) -> None: ...
