"""The user's Labels layer: where transactions are applied, and its undo followed.

Only ``Labels.data_setitem`` writes, so each transaction joins napari's own undo history
as one step; ``labels.data`` is never assigned.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.core.annotation.records import METADATA_KEY, ObjectRecords
from napari_sam.core.annotation.transaction import (
    PixelPlan,
    RecordChange,
    Stroke,
    Transaction,
    plan_pixels,
)
from napari_sam.core.masks import check_label_fits, largest_label
from napari_sam.errors import LabelsError
from napari_sam.types import MaskCrop, Plane, Region
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels.fitness import check_editable
from napari_sam.viewer.labels.history import history_of, painted_change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt
    from napari.layers import Labels
    from napari.utils.events import Event
    from psygnal import SignalInstance

    from napari_sam.core.annotation.transaction import ObjectMask
    from napari_sam.core.masks import LargestLabel, OverlapPolicy
    from napari_sam.types import BoolArray

logger = logging.getLogger(__name__)


class LabelsTarget:
    """The Labels layer that accepted objects go to, and the records of its objects.

    Parameters
    ----------
    layer : Labels
        A layer that passed `check_labels`.

    Attributes
    ----------
    records : ObjectRecords
        Of the objects in the layer; mirrored in its metadata.
    applied : Signal(Transaction)
        Labels, records or lineage have changed: a transaction, its undo (the inverse),
        or a stroke of the user's brush.  Every change is told, in order.
    undone, redone : Signal(Transaction)
        napari's undo or redo has just reverted or repeated this transaction of ours.
    painted : Signal(bool)
        Somebody else changed the labels, or, if False, took such a change back or made
        it again.
    """

    applied = Signal(object)
    undone = Signal(object)
    redone = Signal(object)
    painted = Signal(bool)

    def __init__(self, layer: Labels) -> None:
        self.layer = layer
        self.records = ObjectRecords(layer.metadata.get(METADATA_KEY), layer.ndim)
        self._data = layer.data
        self._next: int | None = None
        # Some labels have the largest value of their type where nothing counts.
        self._has_top = False
        self._history = history_of(layer)
        self._is_writing = False
        # Whether napari may have undone something since the last look, untold: while
        # the layer was hidden, or nobody looked.
        self._is_behind = True
        self._committed: list[Any] = []
        self._connections = ConnectionSet()
        self._connections.connect(layer.events.paint, self._on_paint)
        self._connections.connect(layer.events.set_data, self._on_set_data)
        self._connections.connect(layer.events.visible, self._on_set_data)
        self._connections.connect(layer.events.labels_update, self._on_labels_update)
        self._connections.connect(layer.events.editable, self._on_editable)

    def close(self) -> None:
        """Let go of the layer."""
        self._connections.clear()

    # -- label numbers ------------------------------------------------------

    @property
    def is_counted(self) -> bool:
        """Whether the largest label is known; big volumes take seconds."""
        return self._next is not None

    def scan(self) -> Callable[[], LargestLabel]:
        """Return a function for the worker that finds the largest label."""
        data = self.layer.data
        return lambda: largest_label(data)

    def count(self, found: LargestLabel) -> None:
        """Take what `scan` found."""
        self._has_top = found.has_top
        self._next = max(found.largest + 1, self._next or 1)

    @property
    def next_label(self) -> int:
        """The number of the next new object; counts the labels if need be."""
        if self._next is None:
            self.count(largest_label(self.layer.data))
        return self._next or 1

    def check_fits(self, label: int) -> None:
        """Raise if the labels cannot hold a number.

        Raises
        ------
        LabelsError
            One sentence that says what to do.
        """
        dtype, name = self.layer.data.dtype, self.layer.name
        check_label_fits(dtype, label, name)
        top = np.iinfo(dtype).max
        if self._has_top and label == top:
            raise LabelsError(
                f"Labels layer '{name}' is {dtype} and uses {top} already, so there is "
                "no number left; convert it to a wider type (right-click the layer, "
                "Convert data type) or start a new Labels layer."
            )

    # -- reading ------------------------------------------------------------

    def read(self, plane: Plane, region: Region) -> npt.NDArray[Any]:
        """Return a copy of the labels in a region of a plane, rows first."""
        index = list(plane.slicer)
        index[plane.displayed[0]], index[plane.displayed[1]] = region.slices
        crop = np.array(self.layer.data[tuple(index)])
        return crop.T if plane.is_transposed else crop

    def mask_of(self, label: int, plane: Plane) -> MaskCrop | None:
        """Return an object's pixels on a plane, None if it has none there."""
        whole = Region.whole(plane.shape(layer_shape(self.layer)))
        mask = MaskCrop(self.read(plane, whole) == label, whole).tight()
        return mask if mask.area else None

    def others(self, plane: Plane, own: int = 0) -> BoolArray | None:
        """Return the pixels (H, W) of a plane that belong to other objects than one.

        None if there are none.  Read by the worker, too.
        """
        labels = self.read(plane, Region.whole(plane.shape(layer_shape(self.layer))))
        taken: BoolArray = (labels != 0) & (labels != own)
        return taken if taken.any() else None

    def plan(self, objects: Iterable[ObjectMask], policy: OverlapPolicy) -> PixelPlan:
        """Return what writing masks would change; see `plan_pixels`.

        Raises
        ------
        LabelsError
            If a label does not fit the layer's dtype.
        """
        wanted = tuple(objects)
        for obj in wanted:
            self.check_fits(obj.label)
        return plan_pixels(wanted, policy, self.read, layer_shape(self.layer))

    # -- changing -----------------------------------------------------------

    def apply(self, transaction: Transaction) -> Transaction:
        """Change labels and records as one undo step, or not at all.

        One in which only records change is no undo step.

        Returns
        -------
        Transaction
            As it was applied; what `undone` and `redone` will tell.

        Raises
        ------
        LabelsError
            If the layer is locked or its array refuses to be written.
        """
        if transaction.pixels:
            check_editable(self.layer)
            transaction = self._write(transaction)
        if transaction.is_step:
            self._history.push(transaction, self.layer.data)
        self._take(transaction)
        return transaction

    def take_back(self, transaction: Transaction) -> bool:
        """Undo our own newest step, if nothing else happened since.

        Returns
        -------
        bool
            False if something did, in which case nothing is done.

        Raises
        ------
        LabelsError
            If the array refuses to be written; the step can be undone later.
        """
        if self._history.newest is not transaction:
            return False
        self._step(self.layer.undo, self.layer.redo)
        if not all(
            c.is_shown_by(self.layer.data, before=True) for c in transaction.pixels
        ):
            return False
        self._history.drop_newest()
        # napari's redo can bring its pixels back, and then its record comes with them.
        self._history.push_undone(transaction)
        self._take(transaction.inverse())
        return True

    def change_records(self, *records: RecordChange) -> None:
        """Change records only."""
        if records:
            now = self.next_label
            self.apply(Transaction((), tuple(records), (now, now)))

    def _write(self, transaction: Transaction) -> Transaction:
        """Write the pixels; if anything fails, they are as they were."""
        layer = self.layer
        self._committed = []
        self._is_writing = True
        try:
            self._settle_view()
            with layer.block_history():
                for change in transaction.pixels:
                    layer.data_setitem(change.indices, change.after, refresh=True)
        except Exception as error:
            self._roll_back(transaction)
            raise LabelsError(
                f"Labels layer '{layer.name}' could not be written "
                f"({type(error).__name__}: {error}); nothing was changed.  Check where "
                "its data is kept, or press New."
            ) from error
        finally:
            self._is_writing = False
        return self._with_stroke(transaction)

    def _settle_view(self) -> None:
        """Let a layer that is not shown look at the plane on screen.

        napari keeps the view of what was last shown, and writes through that.
        """
        if not (self.layer.visible and self.layer.loaded):
            self.layer.set_view_slice()

    def _roll_back(self, transaction: Transaction) -> None:
        """Restore the pixels, and empty napari's staged step.

        What napari staged would join the next step of whoever comes next.  Committed
        and undone it can be redone, which tries the same again.
        """
        layer = self.layer
        for change in reversed(transaction.pixels):
            with suppress(Exception):
                layer.data[change.indices] = change.before
        try:
            with layer.block_history():
                pass
            if self._committed:
                layer.undo()
                self._history.push_undone(transaction)
        except Exception as error:
            logger.error(
                "a failed write is not out of the undo history", exc_info=error
            )
        layer.refresh()

    def _with_stroke(self, transaction: Transaction) -> Transaction:
        """Return the transaction with what napari committed along with it.

        A stroke of the brush that has not ended yet becomes part of our step.
        """
        try:
            change = painted_change(
                self._committed, layer_shape(self.layer), self.layer.data.dtype
            )
        except (ValueError, TypeError, AttributeError):
            return transaction
        if change is None or change.size == transaction.size:
            return transaction
        return replace(transaction, pixels=(change,))

    def _take(self, transaction: Transaction) -> None:
        """Let records and numbers say what they say after a transaction; tell of it."""
        if transaction.lineage is not None:
            # Others may have changed since it was made, if it is redone.
            now = self.records.lineage
            after = now.changed(*transaction.lineage)
            transaction = replace(transaction, lineage=(now, after))
            self.records.lineage = after
        if transaction.records:
            self.records.apply({r.label: r.after for r in transaction.records})
        if transaction.records or transaction.lineage is not None:
            self.layer.metadata[METADATA_KEY] = self.records.to_json()
        if transaction.pixels:
            self._next = transaction.next_label[1]
        self.applied.emit(transaction)

    # -- following the layer ------------------------------------------------

    def _on_paint(self, event: Event) -> None:
        atoms = list(getattr(event, "value", ()))
        if self._is_writing:
            self._committed += atoms
            return
        now = self.next_label
        try:
            change = painted_change(atoms, layer_shape(self.layer), self._data.dtype)
        except (ValueError, TypeError, AttributeError) as error:
            logger.warning("a stroke could not be followed", exc_info=error)
            self._history.clear()
            self.painted.emit(True)
            return
        if change is None:
            return
        limit = np.iinfo(self._data.dtype).max
        used = change.after[change.after < limit]
        after = max(now, int(used.max(initial=0)) + 1)
        stroke = Transaction((change,), (), (now, after), Stroke())
        self._history.push(stroke, self.layer.data, is_written=False)
        self._take(stroke)
        self.painted.emit(True)

    def _on_labels_update(self) -> None:
        if not self._is_writing:
            self._history.look(self._data)

    def _on_editable(self) -> None:
        # Locking a layer makes napari forget its history.
        if not self.layer.editable:
            self._history.clear()

    @property
    def newest(self) -> Transaction | None:
        """What an undo would take back."""
        return self._history.newest

    def undo(self) -> None:
        """Undo the newest step of the layer, whoever made it.

        Raises
        ------
        LabelsError
            If its array refuses to be written; the step can be undone later.
        """
        self._look()
        step = self._history.newest
        if step is not None and not step.pixels:
            self._history.drop_newest()
            self._take_back(step, self.undone)
            return
        self._step(self.layer.undo, self.layer.redo)
        self._look(is_redo=False)

    def redo(self) -> None:
        """Redo what was undone last; raises as `undo` does."""
        self._look()
        step = self._history.next_redone
        if step is not None and not step.pixels:
            self._history.redo_next()
            self._take(step)
            self._tell(step, self.redone)
            return
        self._step(self.layer.redo, self.layer.undo)
        self._look(is_redo=True)

    def _step(self, step: Callable[[], None], back: Callable[[], None]) -> None:
        """Have napari undo or redo; what it tells of that is looked at afterwards."""
        self._settle_view()
        self._is_writing = True
        try:
            step()
        except Exception as error:
            # napari has noted the step before it writes, and stops in the middle.
            with suppress(Exception):
                back()
            self.layer.refresh()
            raise LabelsError(
                f"Labels layer '{self.layer.name}' could not be written "
                f"({type(error).__name__}: {error}); make room where its data is kept, "
                "and try again."
            ) from error
        finally:
            self._is_writing = False

    def catch_up(self) -> None:
        """Take in what was undone while the layer was hidden, which napari never tells.

        To be called before something is planned.  Nothing is offered again: the user
        has gone on since.
        """
        self._look(quietly=True)

    def _on_set_data(self) -> None:
        self._look()

    def _look(self, *, quietly: bool = False, is_redo: bool | None = None) -> None:
        """Find out what was undone or redone since the last look.

        Parameters
        ----------
        quietly : bool
            Whether it counts as a change by somebody else.
        is_redo : bool, optional
            Whether it was a redo, or an undo, where that is known.
        """
        # Where somebody assigned ``labels.data``, another target takes over.
        if self._is_writing or self.layer.data is not self._data:
            return
        was_behind, self._is_behind = self._is_behind, not self.layer.visible
        position = self._history.position(self._data) if was_behind else None
        if is_redo is None:
            is_redo = position is None and self._history.seems_redone(self._data)
        if is_redo:
            self._look_for_redone(position, quietly=quietly)
        for step in self._history.iter_undone(self._data, position):
            # Redone, it brings back what is recorded now, confirmations included.
            step = replace(
                step,
                records=tuple(
                    replace(r, after=self.records.get(r.label)) for r in step.records
                ),
            )
            self._take_back(step, self.painted if quietly else self.undone)
        self._look_for_redone(position, quietly=quietly)

    def _look_for_redone(self, position: int | None, *, quietly: bool) -> None:
        for step in self._history.iter_redone(self._data, position):
            self._take(step)
            self._tell(step, self.painted if quietly else self.redone)

    def _take_back(self, step: Transaction, signal: SignalInstance) -> None:
        self._history.push_undone(step)
        self._take(step.inverse())
        self._tell(step, signal)

    def _tell(self, step: Transaction, signal: SignalInstance) -> None:
        if isinstance(step.origin, Stroke) or signal is self.painted:
            self.painted.emit(False)
        else:
            signal.emit(step)
