"""Divisions in a time-lapse: the mother is picked, the daughters are pointed at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_sam.core.annotation.lineage import Descent, Lineage
from napari_sam.core.annotation.transaction import Transaction
from napari_sam.errors import SamError, TracksError
from napari_sam.types import Plane, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels.renumbered import Renumbered, changed_part, renumbering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_sam.core.annotation.transaction import PixelChange
    from napari_sam.core.volumes.tracks import Relabel, TrackEdit, Tracks
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.prompting.annotator import Annotator
    from napari_sam.viewer.prompting.pointer import Pointer
    from napari_sam.viewer.volumes.tracks_layer import TracksView


@dataclass(frozen=True, slots=True)
class _Pointed:
    """A daughter that is pointed at: mother, daughter, and the frame on screen."""

    mother: int
    daughter: int
    frame: int


@dataclass(frozen=True, slots=True)
class _Edit:
    """What a press of the key comes to: tracks, lineage and what is said of it."""

    tracks: TrackEdit
    lineage: Lineage
    text: str
    undone: str


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
        Reads the tracks, and shows them.

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
        # Of a division of which not all daughters are named yet.
        self._named: tuple[_Pointed, ...] = ()
        # A track that would be cut; pointed at again, it is.
        self._warned: _Pointed | None = None

    def mark(self) -> None:
        """Mark the object under the cursor as a daughter of the one that was picked.

        Where the mother goes on as the other daughter, that is all; else the other one
        is marked in the same way.  A daughter that is marked again takes it back,
        whichever object is picked.
        """
        target, plane = self._context.target, self._context.plane
        if target is None:
            self.status.emit("There are no labels yet, so that nothing divides.")
        elif target.layer.ndim != 3 or plane is None or plane.displayed != (1, 2):
            self.status.emit("Divisions are marked in labels with the axes t, y, x.")
        elif (daughter := self._pointer.label_under_cursor()) <= 0:
            self.status.emit("There is no object under the cursor.")
        else:
            target.catch_up()
            mother = self._annotator.draft.label
            frame = plane.index[0] or 0
            self._tracks.read(
                target, partial(self._mark, target, mother, daughter, frame)
            )

    def _mark(
        self,
        target: LabelsTarget,
        mother: int | None,
        daughter: int,
        frame: int,
        tracks: Tracks,
    ) -> None:
        if self._context.target is not target:
            return
        parents = tracks.graph.get(daughter, ())
        try:
            if parents and mother in (None, daughter, *parents):
                edit = self._without(target, parents[0], tracks)
            elif mother is None:
                self.status.emit(
                    "Pick the mother first: J on her, then Shift+U on each daughter."
                )
                return
            else:
                found = self._with(target, _Pointed(mother, daughter, frame), tracks)
                if isinstance(found, str):
                    self.status.emit(found)
                    return
                edit = found
            self._forget()
            self._apply(target, edit)
        except SamError as error:
            self._forget()
            self.status.emit(self._context.report(error))
            return
        self._tracks.show_of(target)
        self.status.emit(f"{edit.text}  Ctrl+Z takes that back.")

    def _forget(self) -> None:
        self._named, self._warned = (), None

    def _without(self, target: LabelsTarget, mother: int, tracks: Tracks) -> _Edit:
        """Return the tracks as they were before a division."""
        known = target.records.lineage
        daughters = tracks.daughters(mother)
        edit = tracks.without_division(mother)
        descents = {d: o for d, o in known.descents.items() if d not in daughters}
        for daughter in daughters:
            own = known.descents[daughter]
            if not own.marked:
                # So that it is not proposed again.
                descents[daughter] = Descent(0, marked=True)
            elif own.was is not None:
                try:
                    edit = edit.then(edit.tracks.merge(own.was, daughter))
                except TracksError:
                    # The tracks were changed since: she keeps her number.
                    continue
        text = f"Object {mother} does not divide"
        whole = [r.new for r in edit.relabels]
        verb = "is" if len(whole) == 1 else "are"
        text += f": {_listed(whole)} {verb} whole again." if whole else "."
        graph = edit.tracks.graph
        return _Edit(
            edit,
            _renamed(Lineage(True, descents), graph),
            text,
            f"Object {mother} divides again.",
        )

    def _with(
        self, target: LabelsTarget, pointed: _Pointed, tracks: Tracks
    ) -> _Edit | str:
        """Return the tracks with a division, or what to do before there is one."""
        mother, daughter, frame = pointed.mother, pointed.daughter, pointed.frame
        if daughter == mother:
            return (
                f"Object {mother} is the mother: press Shift+U on the daughters, in"
                " the first frame after the division."
            )
        spans = tracks.spans()
        if mother not in spans:
            return f"Object {mother}, the mother, is in no frame: pick another with J."
        begins = spans[daughter][0]
        is_cut = begins < frame and not tracks.graph.get(daughter)
        if is_cut and spans[mother][0] < frame and self._warned != pointed:
            self._warned = pointed
            return (
                f"Object {daughter} is there since frame {begins}: press Shift+U again"
                f" to cut it, so that it is a daughter of {mother} from frame {frame}"
                " on."
            )
        named = [n for n in self._named if n.mother == mother and n != pointed]
        is_here = np.any((tracks.ids == mother) & (tracks.frames == frame))
        named += [pointed, *([_Pointed(mother, mother, frame)] if is_here else [])]
        daughters = sorted({n.daughter for n in named})
        first = min(n.frame for n in named)
        before = tracks.frames[(tracks.ids == mother) & (tracks.frames < first)]
        gap = first - int(before.max(initial=-1)) - 1
        if not before.size:
            raise TracksError(
                f"Object {mother} is not there before frame {first}, so that it cannot"
                " divide there; go to the first frame after the division."
            )
        late = f", {_frames(gap)} after she is last seen" if gap else ""
        if len(daughters) < 2:
            self._named = tuple(named)
            return (
                f"Object {daughter} is a daughter of {mother} from frame {frame}"
                f" on{late}.  Shift+U on the other one."
            )
        edit = tracks.with_division(mother, daughters, first)
        numbers = {r.old: r.new for r in edit.relabels}
        descents = dict(target.records.lineage.descents)
        for number in daughters:
            was = number if number in numbers else None
            descents[numbers.get(number, number)] = Descent(mother, True, was)
        both = _listed([numbers.get(n, n) for n in daughters])
        cut = [n for n in numbers if n != mother]
        more = f"; {_listed(cut)} ends in frame {first - 1}" if cut else ""
        return _Edit(
            edit,
            _renamed(Lineage(True, descents), edit.tracks.graph),
            f"Object {mother} divides into {both} in frame {first}{late}{more}.",
            f"Object {mother} does not divide.",
        )

    def _apply(self, target: LabelsTarget, edit: _Edit) -> None:
        shape = layer_shape(target.layer)
        planes = tuple(Plane((1, 2), (p, None, None)) for p in range(shape[0]))
        relabels = edit.tracks.relabels
        now = target.next_label
        change = Transaction((), (), (now, now))
        if relabels:
            numbers = {
                (frame, r.old): r.new
                for r in relabels
                for frame in range(r.start, min(r.stop, shape[0]))
            }
            target.check_fits(max(numbers.values()))
            changes = _changes(target, planes, relabels)
            change = renumbering(target, planes, numbers, changes)
        target.apply(
            replace(
                change,
                lineage=(target.records.lineage, edit.lineage),
                origin=Renumbered(f"{edit.undone}  Ctrl+Shift+Z redoes it.", edit.text),
            )
        )


def _renamed(lineage: Lineage, graph: Mapping[int, tuple[int, ...]]) -> Lineage:
    """Return a lineage with the mothers of a graph, where they have other numbers."""
    descents = {
        d: replace(own, mother=graph[d][0]) if d in graph and own.mother else own
        for d, own in lineage.descents.items()
    }
    return replace(lineage, descents=descents)


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(str(n) for n in sorted(numbers))


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"


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
