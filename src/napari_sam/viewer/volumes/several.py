"""Following all objects of a slice through the stack, in the background.

What is found of them is written when all is found, or when the user stops it, as one
step; other labels keep their pixels.  Nobody has looked at these slices yet, so they
are among the written objects that a review goes through.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_sam.core.annotation.prompts import PromptItems
from napari_sam.core.annotation.records import ObjectRecord, PlaneMask, Source
from napari_sam.core.annotation.transaction import (
    ObjectMask,
    RecordChange,
)
from napari_sam.core.masks import OverlapPolicy
from napari_sam.core.volumes.claims import iter_propagate_objects
from napari_sam.core.volumes.followed import Followed
from napari_sam.errors import SamError
from napari_sam.types import MaskCrop, Progress, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels.object_changes import write_objects
from napari_sam.viewer.volumes.background import BackgroundWork

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.core.volumes.propagation import (
        PropagatedSlice,
        PropagationSettings,
    )
    from napari_sam.types import Plane
    from napari_sam.viewer.labels.target import LabelsTarget


@dataclass(eq=False, slots=True)
class _Run:
    """What is asked, and what was found of it: mask and confidence by label, slice."""

    target: LabelsTarget
    base: Plane
    axis: int
    labels: tuple[int, ...]
    found: dict[int, dict[int, tuple[MaskCrop, float]]] = field(default_factory=dict)

    def plane(self, position: int) -> Plane:
        return self.base.moved(self.axis, position)


class SeveralObjects(BackgroundWork[_Run]):
    """Follows all labeled objects of a slice.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.

    Attributes
    ----------
    written : Signal()
        Objects that nobody has looked at are in the labels.
    """

    slot = "propagation of all"
    written = Signal()

    @property
    def progress(self) -> Progress | None:
        """How far it is, in objects."""
        run = self._run
        if run is None:
            return None
        done, total = max(0, len(run.found) - 1), len(run.labels)
        return Progress(done, total, f"following object {done + 1} of {total}")

    def start(
        self,
        axis: int,
        limits: tuple[int, int],
        settings: PropagationSettings,
    ) -> None:
        """Follow the objects of the plane on screen, from all their slices.

        Parameters
        ----------
        axis : int
            The array axis they are followed along.
        limits : tuple of int
            First slice, and one past the last.
        settings : PropagationSettings
            How.
        """
        context = self._context
        image, plane, target = context.image, context.plane, context.target
        encoder = context.encoder
        if self.is_running or image is None or plane is None or encoder is None:
            return
        shape = plane.shape(layer_shape(image))
        whole = Region.whole(shape)
        here = np.zeros(shape, int) if target is None else target.read(plane, whole)
        labels = tuple(int(n) for n in np.unique(here) if n > 0)
        if target is None or not labels:
            self.status.emit("No object is labeled on this slice; accept some first.")
            return
        self.status.emit(f"Following {_counted(len(labels))} of this slice …")
        run = _Run(target, plane, axis, labels)

        def work() -> Generator[tuple[int, PropagatedSlice] | None, None, None]:
            prompted = yield from _iter_slices(run, limits, whole)
            objects = {
                label: Followed(plane, axis, limits, settings, seeds)
                for label, seeds in prompted.items()
            }
            yield from iter_propagate_objects(
                encoder.propagation,
                objects,
                shape,
                blocked=lambda position: target.others(run.plane(position)),
            )

        self._begin(run, work)

    def cancel(self) -> None:
        """Stop; what was found is written."""
        run = self._run
        if run is not None:
            self._stop()
            self._finish(run)

    def reset(self) -> None:
        """Stop, and forget what was found: other pixels or labels."""
        self._stop()

    def _take(self, run: _Run, step: tuple[int, PropagatedSlice]) -> None:
        label, found = step
        slices = run.found.setdefault(label, {})
        if not found.is_ghost and found.mask.area:
            slices[found.position] = (found.mask, found.confidence)
        self.changed.emit()

    def _fail(self, run: _Run, error: Exception) -> None:
        text = self._context.report(error)
        self._finish(run)
        self.status.emit(text)

    def _finish(self, run: _Run, found: None = None) -> None:
        del found
        self._run = None
        if self._context.target is run.target:
            try:
                self.status.emit(self._write(run))
            except SamError as error:
                self.status.emit(self._context.report(error))
        self.changed.emit()

    def _write(self, run: _Run) -> str:
        """Write all that was found as one step; return what was written in words."""
        target, context = run.target, self._context
        target.catch_up()
        objects, scores = [], {}
        for label, slices in run.found.items():
            for position, (mask, confidence) in slices.items():
                plane = run.plane(position)
                objects.append(ObjectMask(label, plane, mask))
                scores[label, plane] = confidence
        plan = target.plan(objects, OverlapPolicy.KEEP)
        if not run.found:
            return "All of them are on other slices already: nothing was changed."
        if not plan.changes or context.encoder is None:
            return "The objects reach no further slice: nothing was written."
        model = context.encoder.engine.model
        changes = []
        for label in run.found:
            masks = [
                PlaneMask(plane, digest, confirmed=False, score=scores[owner, plane])
                for (owner, plane), digest in plan.digests.items()
                if owner == label
            ]
            old = target.records.get(label)
            record = old or ObjectRecord(
                label, PromptItems(), "", float("nan"), Source.EVERYTHING
            )
            new = record.with_masks(masks).by(model.name, model.fingerprint)
            changes.append(RecordChange(label, old, new))
        write_objects(target, plan, changes)
        self.written.emit()
        left = len(run.labels) - len(run.found)
        more = f", {left} left as they are" if left else ""
        text = f"{_counted(len(run.found))} followed, written on {len(plan.by_plane)} "
        return f"{text}slices{more}.  Review one by one · Ctrl+Z takes all back"


def _counted(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"


def _iter_slices(
    run: _Run, limits: tuple[int, int], whole: Region
) -> Generator[None, None, dict[int, dict[int, MaskCrop]]]:
    """Return the objects of the slice; not those that are on other slices already.

    These have been followed before, or marked slice by slice: their ends are known.
    """
    found: dict[int, dict[int, MaskCrop]] = {label: {} for label in run.labels}
    for position in range(*limits):
        labels = run.target.read(run.plane(position), whole)
        for label in np.intersect1d(run.labels, labels[labels > 0]):
            mask = MaskCrop(labels == label, whole).tight()
            found[int(label)][position] = mask
        yield
    return {label: masks for label, masks in found.items() if len(masks) == 1}
