"""Linking the labels of single slices into objects, and frames into tracks.

Only numbers change, unless objects are to be grown: as one step, with their records.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.core.annotation.records import PlaneMask, digest_of
from napari_sam.core.steps import reporting
from napari_sam.core.volumes.doubts import find_doubts, least_certain
from napari_sam.core.volumes.growing import GrownSlice, iter_grow, write_grown
from napari_sam.core.volumes.linking import iter_link
from napari_sam.core.volumes.objects import iter_objects
from napari_sam.errors import SamError
from napari_sam.types import Progress, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels.renumbered import changed_part, renumbering
from napari_sam.viewer.labels.target import LabelsTarget
from napari_sam.viewer.labels.unreviewed import LinkedPlaces
from napari_sam.viewer.volumes.background import BackgroundWork

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam.core.annotation.transaction import PixelChange
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.volumes.linked import LinkedObject, LinkSettings
    from napari_sam.core.volumes.propagation import EncodeAt
    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.predict import PlaneEncoder

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
    graph : dict of int to tuple of int
        Along time, the mother of each daughter.
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
    graph: Mapping[int, tuple[int, ...]]
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
            encoder = context.planes
            if encoder is None:
                self.status.emit("No model is ready to grow objects: wait for it.")
                return
            encode = partial(_encoded, encoder, planes)
        self.progress = Progress(0, len(planes), "linking")
        target.applied.connect(self._on_edited)
        free = target.next_label
        self._begin(target, partial(_relinked, target, planes, settings, free, encode))

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
        several = sum(len(o.slices) > 1 for o in found.objects.values())
        what = "tracks" if found.is_time else "objects"
        text = f"{len(found.objects)} {what}, {several} of them on several slices."
        if found.grown:
            count = sum(map(len, found.grown.values()))
            text += f"  {len(found.grown)} have grown into {count} more."
        if not found.changes:
            self.status.emit(f"{text}  They were linked already.  {_NEXT}")
        else:
            try:
                target.check_fits(max(found.objects))
                change = renumbering(
                    target, found.planes, found.numbers, found.changes, found.grown
                )
                target.apply(replace(change, origin=found.places))
            except SamError as error:
                self.status.emit(self._context.report(error))
                return
            self.status.emit(f"{text}  {_NEXT} · Ctrl+Z takes the numbers back")
        self.linked.emit(found)
        self.changed.emit()


def numbered(objects: Sequence[LinkedObject], free: int) -> dict[int, int]:
    """Return the number that each linked object gets, by its id.

    That of its first segment whose number no object before it has, so that most
    segments keep theirs; a free one if there is none.
    """
    taken: set[int] = set()
    numbers = {}
    for one in objects:
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
    free: int,
    encode: EncodeAt | None,
) -> Generator[Progress, None, Relinked]:
    """Link the slices in the worker, and find what changes."""
    whole = Region.whole(planes[0].shape(layer_shape(target.layer)))
    slices = _Slices(target, planes, whole)
    linked = yield from iter_link(slices, settings)
    numbers = numbered(linked.objects, free)
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
    graph = {
        numbers[d]: tuple(numbers[m] for m in mothers)
        for d, mothers in linked.graph.items()
    }
    found = find_doubts(objects, labels.shape, linked.graph, time=settings.time)
    doubts = {numbers[n]: doubt for n, doubt in least_certain(found).items()}
    within = {numbers[o.id]: tuple(o.slices.tolist()) for o in objects}
    return Relinked(
        target,
        planes,
        {numbers[o.id]: o for o in linked.objects},
        graph,
        tuple(changes),
        LinkedPlaces(planes, within, doubts),
        grown,
        settings.time,
    )


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
