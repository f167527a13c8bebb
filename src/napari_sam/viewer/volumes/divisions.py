"""Divisions in a time-lapse: the mother is picked, the daughters are pointed at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.types import Plane, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels.renumbered import changed_part, renumbering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.core.annotation.transaction import PixelChange
    from napari_sam.core.volumes.tracks import Relabel, TrackEdit, Tracks
    from napari_sam.viewer.annotator import Annotator
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.pointer import Pointer
    from napari_sam.viewer.volumes.tracks_layer import TracksView


@dataclass(frozen=True, slots=True)
class _Begun:
    """A division of which not all daughters are named yet."""

    mother: int
    frame: int
    daughters: frozenset[int]


class Divisions:
    """Divisions of one viewer.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    annotator : Annotator
        Has the mother: the object that was picked.
    pointer : Pointer
        Knows what is under the cursor.
    tracks : TracksView
        Knows the divisions so far, and shows them.

    Attributes
    ----------
    status : Signal(str)
        What was marked, or why not.
    """

    status = Signal(str)

    def __init__(
        self,
        context: Context,
        annotator: Annotator,
        pointer: Pointer,
        tracks: TracksView,
    ) -> None:
        self._context = context
        self._annotator = annotator
        self._pointer = pointer
        self._tracks = tracks
        self._begun: _Begun | None = None

    def mark(self) -> None:
        """Mark the object under the cursor as a daughter of the one that was picked.

        Where the mother goes on as the other daughter, that is all; else the other one
        is marked in the same way.  A daughter that is marked again takes it back.
        """
        target, plane = self._context.target, self._context.plane
        mother = self._annotator.draft.label
        if target is None or mother is None:
            self.status.emit(
                "Pick the mother first: J on her, then Shift+U on each daughter."
            )
        elif target.layer.ndim != 3 or plane is None or plane.displayed != (1, 2):
            self.status.emit("Divisions are marked in labels with the axes t, y, x.")
        elif (daughter := self._pointer.label_under_cursor()) <= 0:
            self.status.emit("There is no object under the cursor.")
        else:
            frame = plane.index[0] or 0
            self._tracks.read(target, partial(self._mark, mother, daughter, frame))

    def _mark(self, mother: int, daughter: int, frame: int, tracks: Tracks) -> None:
        target = self._context.target
        if target is None:
            return
        try:
            if daughter in tracks.daughters(mother):
                edit = tracks.without_division(mother)
                text = f"Object {mother} does not divide."
            else:
                named = self._named(mother, daughter, frame, tracks)
                if len(named) < 2:
                    self.status.emit(
                        f"Object {daughter} is a daughter of {mother}.  Shift+U on the "
                        "other one."
                    )
                    return
                edit = tracks.with_division(mother, named, frame)
                numbers = {r.old: r.new for r in edit.relabels}
                both = " and ".join(str(numbers.get(n, n)) for n in sorted(named))
                text = f"Object {mother} divides into {both}.  Ctrl+Z takes it back"
            self._begun = None
            self._tracks.take(target, edit.tracks.graph)
            self._apply(target, edit)
        except SamError as error:
            self._begun = None
            self.status.emit(self._context.report(error))
            return
        self.status.emit(text)

    def _named(
        self, mother: int, daughter: int, frame: int, tracks: Tracks
    ) -> frozenset[int]:
        """Return the daughters that are named by now."""
        begun = self._begun
        known = frozenset[int]()
        if begun is not None and (begun.mother, begun.frame) == (mother, frame):
            known = begun.daughters
        here = np.any((tracks.ids == mother) & (tracks.frames == frame))
        named = known | {daughter} | ({mother} if here else frozenset())
        self._begun = _Begun(mother, frame, named)
        return named

    def _apply(self, target: LabelsTarget, edit: TrackEdit) -> None:
        if not edit.relabels:
            return
        shape = layer_shape(target.layer)
        planes = tuple(Plane((1, 2), (p, None, None)) for p in range(shape[0]))
        numbers = {
            (frame, r.old): r.new
            for r in edit.relabels
            for frame in range(r.start, min(r.stop, shape[0]))
        }
        target.check_fits(max(numbers.values()))
        changes = _changes(target, planes, edit.relabels)
        target.apply(renumbering(target, planes, numbers, changes))


def _changes(
    target: LabelsTarget, planes: Sequence[Plane], relabels: Sequence[Relabel]
) -> list[PixelChange]:
    """Return what changes of the pixels, frame by frame."""
    changes = []
    for frame, plane in enumerate(planes):
        here = [r for r in relabels if r.start <= frame < r.stop]
        if not here:
            continue
        whole = Region.whole(plane.shape(layer_shape(target.layer)))
        before = target.read(plane, whole)
        after = before.copy()
        for one in here:
            after[before == one.old] = one.new
        change = changed_part(plane, before, after)
        changes += [] if change is None else [change]
    return changes
