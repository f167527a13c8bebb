"""Linking the labels of single slices into objects, and frames into tracks.

Only numbers change, unless objects are to be grown: as one step, with their records.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.core.annotation.lineage import Lineage
from napari_sam.core.annotation.records import PlaneMask, digest_of
from napari_sam.core.annotation.transaction import Transaction
from napari_sam.core.steps import reporting
from napari_sam.core.volumes.doubts import find_doubts, least_certain
from napari_sam.core.volumes.growing import GrownSlice, iter_grow, write_grown
from napari_sam.core.volumes.linking import iter_link
from napari_sam.core.volumes.objects import iter_objects
from napari_sam.core.volumes.tracks import Tracks
from napari_sam.errors import SamError
from napari_sam.types import Progress, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels.renumbered import Renumbered, changed_part, renumbering
from napari_sam.viewer.labels.target import LabelsTarget
from napari_sam.viewer.labels.unreviewed import LinkedPlaces
from napari_sam.viewer.volumes.background import BackgroundWork

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam.core.annotation.transaction import PixelChange
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.volumes.linked import LinkedObject, LinkSettings
    from napari_sam.core.volumes.propagation import EncodeAt
    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.image.encoder import PlaneEncoder

_NEXT = "Review one by one"


@dataclass(frozen=True, slots=True, eq=False)
class Relinked:
    """Labels with other numbers, not written yet.

    Parameters
    ----------
    target : LabelsTarget
        Whose.
    planes : tuple of Plane
        The slices, in order.
    objects : dict of int to LinkedObject
        By their new numbers.
    lineage : (Lineage, Lineage), optional
        Which are daughters of which, before and after; None if that stays.
    changes : tuple of PixelChange
        What changes of the pixels.
    places : LinkedPlaces
        Where the objects are to be looked at.
    grown : dict of int to sequence of PlaneMask
        The slices that objects have grown into, by their new numbers.
    is_time : bool
        Whether the slices are frames.
    """

    target: LabelsTarget
    planes: tuple[Plane, ...]
    objects: Mapping[int, LinkedObject]
    lineage: tuple[Lineage, Lineage] | None
    changes: tuple[PixelChange, ...]
    places: LinkedPlaces
    grown: Mapping[int, Sequence[PlaneMask]]
    is_time: bool

    @property
    def numbers(self) -> dict[tuple[int, int], int]:
        """The new number of each segment, by slice and number before."""
        return {
            (int(z), int(source)): number
            for number, one in self.objects.items()
            for z, source in zip(one.slices, one.sources, strict=True)
        }

    @property
    def transaction(self) -> Transaction:
        """The change of pixels, records and lineage."""
        origin = Renumbered(
            "The numbers are those from before linking.  Ctrl+Shift+Z links again.",
            "The numbers are those of the linked objects again.",
            self.places,
        )
        if self.changes:
            change = renumbering(
                self.target, self.planes, self.numbers, self.changes, self.grown
            )
        else:
            now = self.target.next_label
            change = Transaction((), (), (now, now))
        return replace(change, lineage=self.lineage, origin=origin)


class Linker(BackgroundWork[LabelsTarget]):
    """Links the labels of one viewer.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.

    Attributes
    ----------
    linked : Signal(Relinked)
        Labels were linked.
    """

    slot = "link"
    linked = Signal(object)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.progress: Progress | None = None

    def start(self, axis: int, settings: LinkSettings, *, grow: bool = False) -> None:
        """Link the labels along an axis of the image, at the other sliders' places.

        Parameters
        ----------
        axis : int
            Of the image.
        settings : LinkSettings
            What is linked with what.
        grow : bool
            Whether objects are then grown into slices in which they were not found.
        """
        context = self._context
        target, plane = context.target, context.plane
        if self.is_running or plane is None:
            return
        if target is None:
            self.status.emit("There are no labels to link; segment some slices first.")
            return
        planes = tuple(
            plane.moved(axis, p) for p in range(layer_shape(target.layer)[axis])
        )
        encode: EncodeAt | None = None
        if grow:
            encoder = context.encoder
            if encoder is None:
                self.status.emit("No model is ready to grow objects: wait for it.")
                return
            encode = partial(_encoded, encoder, planes)
        target.catch_up()
        self.progress = Progress(0, len(planes), "linking")
        target.applied.connect(self._on_edited)
        accepted = frozenset(
            r.label for r in target.records if any(m.confirmed for m in r.masks)
        )
        names = _Names(target.next_label, accepted, target.records.lineage)
        self._begin(target, partial(_relinked, target, planes, settings, names, encode))

    def cancel(self) -> None:
        """Stop; nothing has changed."""
        self._end()

    def _on_edited(self, transaction: object) -> None:
        del transaction
        if self.is_running:
            self._end()
            self.status.emit("The labels were changed meanwhile: link them again.")

    def _end(self) -> None:
        target = self._run
        self._stop()
        self.progress = None
        if target is not None:
            target.applied.disconnect(self._on_edited)
        self.changed.emit()

    def _take(self, run: LabelsTarget, step: Progress) -> None:
        del run
        self.progress = step
        self.changed.emit()

    def _fail(self, run: LabelsTarget, error: Exception) -> None:
        del run
        self._end()
        self.status.emit(self._context.report(error))

    def _finish(self, run: LabelsTarget, found: Relinked) -> None:
        target = run
        is_same = self._context.target is target
        self._end()
        if not is_same:
            return
        text = said_of(found.objects.values(), is_time=found.is_time)
        if found.grown:
            count = sum(map(len, found.grown.values()))
            text += f"  {len(found.grown)} have grown into {count} more."
        try:
            if found.changes:
                target.check_fits(max(found.objects))
            change = found.transaction
            if change.pixels or change.lineage is not None:
                target.apply(change)
        except SamError as error:
            self.status.emit(self._context.report(error))
            return
        if found.changes:
            self.status.emit(f"{text}  {_NEXT} · Ctrl+Z takes the numbers back.")
        else:
            self.status.emit(f"{text}  They were linked already.  {_NEXT}")
        self.linked.emit(found)
        self.changed.emit()


@dataclass(frozen=True, slots=True)
class _Names:
    """What is known of the numbers before: the free one, those to keep, daughters."""

    free: int
    accepted: Collection[int]
    lineage: Lineage


def said_of(objects: Collection[LinkedObject], *, is_time: bool) -> str:
    """Return in words how many objects, or tracks, there are."""
    what, where = ("track", "frames") if is_time else ("object", "slices")
    several = sum(len(o.slices) > 1 for o in objects)
    text = f"{len(objects)} {what}{'s' * (len(objects) != 1)}"
    if len(objects) == 1:
        return f"{text}, on {f'several {where}' if several else f'one {where[:-1]}'}."
    return f"{text}, {several or 'none'} of them on several {where}."


def numbered(
    objects: Sequence[LinkedObject], free: int, accepted: Collection[int] = ()
) -> dict[int, int]:
    """Return the number that each linked object gets, by its id.

    First those of what a person accepted: each goes to the object that has most of its
    segments.  Another object keeps that of its first segment whose number no object
    before it has, so that most segments keep theirs; a free one if there is none.

    Parameters
    ----------
    objects : sequence of LinkedObject
        In order of their ids.
    free : int
        The first free number.
    accepted : collection of int
        Numbers that a person accepted.
    """
    counts = Counter(
        (one.id, int(s)) for one in objects for s in one.sources if int(s) in accepted
    )
    numbers: dict[int, int] = {}
    taken: set[int] = set()
    for (which, number), _ in sorted(counts.items(), key=lambda c: (-c[1], c[0])):
        if which not in numbers and number not in taken:
            numbers[which] = number
            taken.add(number)
    for one in objects:
        if one.id in numbers:
            continue
        own = next((int(s) for s in one.sources if int(s) not in taken), None)
        if own is None:
            own, free = free, free + 1
        taken.add(own)
        numbers[one.id] = own
    return numbers


def _encoded(
    encoder: PlaneEncoder, planes: Sequence[Plane], position: int
) -> Generator[None, None, EncodedPlane]:
    return encoder.iter_get(planes[position])


def _relinked(
    target: LabelsTarget,
    planes: tuple[Plane, ...],
    settings: LinkSettings,
    names: _Names,
    encode: EncodeAt | None,
) -> Generator[Progress, None, Relinked]:
    """Link the slices in the worker, and find what changes."""
    whole = Region.whole(planes[0].shape(layer_shape(target.layer)))
    slices = _Slices(target, planes, whole)
    spans: dict[int, tuple[int, int]] = {}
    are_tracks = settings.time and is_movie(target, planes)
    if are_tracks and names.lineage.descents:
        # What a person marked is in terms of the tracks so far.
        reading = Progress(0, len(planes), "reading the tracks")
        tracks = yield from reporting(Tracks.iter_from_labels(slices), reading)
        spans = tracks.spans()
    linked = yield from iter_link(slices, settings, marked=names.lineage.marked(spans))
    numbers = numbered(linked.objects, names.free, names.accepted)
    objects, labels = linked.objects, linked.labels
    grown: dict[int, list[PlaneMask]] = defaultdict(list)
    if encode is not None:
        labels = linked.labels.copy()
        progress = Progress(0, len(objects), "growing objects")
        for step in iter_grow(encode, linked.labels):
            progress = step if isinstance(step, Progress) else progress
            if isinstance(step, GrownSlice):
                write_grown(labels, [step])
                grown[numbers[step.id]].append(
                    PlaneMask(
                        planes[step.position],
                        digest_of(step.mask),
                        confirmed=False,
                        score=step.confidence,
                    )
                )
            yield progress
        measured = Progress(0, 0, "measuring")
        objects = yield from reporting(iter_objects(labels), measured)
    top = max(numbers, default=0)
    table = np.zeros(top + 1, np.int64)
    table[list(numbers)] = list(numbers.values())
    changes = []
    for position, plane in enumerate(planes):
        before = target.read(plane, whole)
        after = table[labels[position]].astype(before.dtype)
        change = changed_part(plane, before, after)
        changes += [] if change is None else [change]
        yield Progress(position + 1, len(planes), "numbering")
    doubts = find_doubts(objects, labels.shape, linked.graph, time=settings.time)
    certain = {numbers[n]: doubt for n, doubt in least_certain(doubts).items()}
    within = {numbers[o.id]: tuple(o.slices.tolist()) for o in objects}
    found = Relinked(
        target,
        planes,
        {numbers[o.id]: o for o in linked.objects},
        None,
        tuple(changes),
        LinkedPlaces(planes, within, certain),
        grown,
        settings.time,
    )
    lineage = Lineage()
    if are_tracks:
        graph = {
            numbers[d]: tuple(numbers[m] for m in mothers)
            for d, mothers in linked.graph.items()
        }
        lineage = names.lineage.relinked(spans, found.numbers, graph)
    if lineage == names.lineage:
        return found
    return replace(found, lineage=(names.lineage, lineage))


def is_movie(target: LabelsTarget, planes: Sequence[Plane]) -> bool:
    """Whether slices are the frames of labels (t, y, x), of which there are tracks."""
    return target.layer.ndim == 3 and planes[0].displayed == (1, 2)


class _Slices:
    """The labels of a layer as a stack of slices, each read when it is asked for."""

    def __init__(
        self, target: LabelsTarget, planes: Sequence[Plane], whole: Region
    ) -> None:
        self._target = target
        self._planes = planes
        self._whole = whole
        self.shape = (len(planes), *whole.shape)
        self.ndim = 3
        self.dtype = target.layer.data.dtype

    def __len__(self) -> int:
        return len(self._planes)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        return self._target.read(self._planes[index], self._whole)
