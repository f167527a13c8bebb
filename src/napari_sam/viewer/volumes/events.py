"""Reviewing tracks by their events: the least certain end, birth, division or jump."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.core.volumes.doubts import (
    Doubt,
    DoubtKind,
    find_doubts,
    find_events,
)
from napari_sam.core.volumes.objects import iter_objects
from napari_sam.types import Plane
from napari_sam.viewer.background.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.navigation import Navigator

EVENTS_SLOT = "events"
_HINTS = {
    DoubtKind.BEGINNING: "Shift+U: daughter of the one picked with J · ",
    DoubtKind.DIVISION: "Shift+U on a daughter takes it back · ",
}


class TrackEvents:
    """Goes through the events of the tracks, the least certain first.

    Events are read from the labels, and again when these have changed; one that was
    shown comes up again only after all others.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    navigator : Navigator
        Brings frames to the screen.

    Attributes
    ----------
    status : Signal(str)
        Which event is shown, and what to press next.
    """

    status = Signal(str)

    def __init__(self, context: Context, navigator: Navigator) -> None:
        self._context = context
        self._navigator = navigator
        self._target: LabelsTarget | None = None
        self._events: list[Doubt] | None = None
        # Whether the labels have changed since they were last looked at for events.
        self._is_changed = False
        self._shown: set[tuple[DoubtKind, int, int]] = set()

    def close(self) -> None:
        """Stop listening."""
        self._follow(None)

    def go_to_next(self) -> None:
        """Show the least certain event that has not been shown yet."""
        target, plane = self._context.target, self._context.plane
        if target is None:
            self.status.emit("There are no labels: link the objects of frames first.")
            return
        if target.layer.ndim != 3 or plane is None or plane.displayed != (1, 2):
            self.status.emit("Events are those of labels with the axes t, y, x.")
            return
        self._follow(target)
        if self._events is not None:
            self._show(self._events)
            return
        graph = target.records.lineage.graph
        self._is_changed = False
        self._context.runner.submit(
            Job(
                partial(_events, target, graph),
                priority=Priority.FOLLOW,
                slot=EVENTS_SLOT,
                on_result=self._take,
                on_error=self._on_error,
            )
        )

    def _follow(self, target: LabelsTarget | None) -> None:
        if target is self._target:
            return
        if self._target is not None:
            self._target.applied.disconnect(self._on_applied)
        self._target, self._events, self._shown = target, None, set()
        self._context.runner.cancel(EVENTS_SLOT)
        if target is not None:
            target.applied.connect(self._on_applied)

    def _on_applied(self, transaction: object) -> None:
        del transaction
        self._events, self._is_changed = None, True

    def _on_error(self, error: Exception) -> None:
        self.status.emit(self._context.report(error))

    def _take(self, events: list[Doubt]) -> None:
        if self._context.target is self._target:
            self._events = None if self._is_changed else events
            self._show(events)

    def _show(self, events: list[Doubt]) -> None:
        if not events:
            self.status.emit("The tracks have no events: all go through all frames.")
            return
        left = [e for e in events if _key(e) not in self._shown]
        again = ""
        if not left:
            again, left = "All were shown; again.  ", events
            self._shown.clear()
        event, target = left[0], self._target
        self._shown.add(_key(event))
        number = len(events) - len(left) + 1
        # Of a division the mother, in the last frame with her.
        frame = event.slice - (event.kind is DoubtKind.DIVISION)
        plane = Plane((1, 2), (frame, None, None))
        mask = None if target is None else target.mask_of(event.id, plane)
        if mask is not None:
            self._navigator.show(plane, mask.region)
        self.status.emit(
            f"{again}Event {number} of {len(events)} (certainty {event.certainty:.2f}):"
            f" {_said(event)}.  {_HINTS.get(event.kind, '')}Shift+R next"
        )


def _key(event: Doubt) -> tuple[DoubtKind, int, int]:
    return event.kind, event.id, event.slice


def _said(event: Doubt) -> str:
    match event.kind:
        case DoubtKind.BEGINNING:
            return f"track {event.id} appears in frame {event.slice}"
        case DoubtKind.END:
            return f"track {event.id} disappears after frame {event.slice}"
        case DoubtKind.DIVISION:
            both = " and ".join(map(str, event.daughters))
            return f"track {event.id} divides into {both} in frame {event.slice}"
        case _:
            return f"track {event.id} jumps to frame {event.slice}"


def _events(
    target: LabelsTarget, graph: Mapping[int, tuple[int, ...]]
) -> Generator[None, None, list[Doubt]]:
    """Find the events of tracks in the worker."""
    data = target.layer.data
    objects = yield from iter_objects(data, graph)
    return find_events(find_doubts(objects, data.shape, graph, time=True))
