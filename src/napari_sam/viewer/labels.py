"""Writing objects into the user's Labels layer, and following its undo.

Only ``Labels.data_setitem`` is used, so each write joins napari's own undo
history; ``labels.data`` is never assigned.  napari tells nobody what an undo
did, so each commit remembers the pixels it changed and compares them when the
layer refreshes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.core.masks import (
    OverlapPolicy,
    check_label_fits,
    max_label,
    plan_write,
    write_region,
)
from napari_sam.errors import LabelsError
from napari_sam.types import MaskCrop, Plane, Region
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.coords import layer_shape, unit_factors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from napari.layers import Image, Labels

HISTORY = 100
"""Commits followed for undo; as many as napari keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """An object to write: its label, plane and mask.

    ``previous`` is what this object covered before and gives up.
    """

    label: int
    plane: Plane
    mask: MaskCrop
    previous: MaskCrop | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Pixels of one write: array indices, new and old values."""

    indices: tuple[npt.NDArray[np.intp], ...]
    new: npt.NDArray[Any]
    old: npt.NDArray[Any]


@dataclass(eq=False, slots=True)
class Commit:
    """One undo step made by us, with whatever the caller wants back on undo.

    ``erased`` says that its pixels went by the user's hand, not by an undo.
    """

    changes: tuple[Change, ...]
    labels: tuple[int, ...]
    payload: Any = field(default=None)
    erased: bool = False

    @property
    def pixels(self) -> int:
        """Number of changed pixels."""
        return sum(int(c.new.size) for c in self.changes)


def check_labels(layer: Labels, image: Image) -> None:
    """Raise unless a Labels layer can take masks of an image.

    Raises
    ------
    LabelsError
        One sentence naming the layer, what is wrong and what to do.
    """
    name = layer.name
    if layer.multiscale:
        raise LabelsError(
            f"Labels layer '{name}' is a pyramid, which napari cannot edit; "
            "choose a single-scale Labels layer or press New."
        )
    data = layer.data
    if not _is_writeable(data):
        raise LabelsError(
            f"Labels layer '{name}' holds a {type(data).__name__} that cannot be "
            "written to; choose another Labels layer or press New."
        )
    if layer_shape(layer) != layer_shape(image):
        raise LabelsError(
            f"Labels layer '{name}' has shape {layer_shape(layer)} but image "
            f"'{image.name}' has {layer_shape(image)}; choose a Labels layer of "
            "the same shape or press New."
        )
    if not _lie_alike(layer, image):
        raise LabelsError(
            f"Labels layer '{name}' has another scale or position than image "
            f"'{image.name}'; give it the same transform or press New."
        )


def _is_writeable(data: Any) -> bool:
    if isinstance(data, np.ndarray):
        return bool(data.flags.writeable)
    is_dask = type(data).__module__.split(".")[0] == "dask"
    # zarr's name for it
    return not is_dask and not getattr(data, "read_only", False)


def _lie_alike(layer: Labels, image: Image) -> bool:
    """Whether both layers have each pixel at the same place of the world."""
    shape = layer_shape(image)
    tolerance = 1e-3 * float(np.min(np.abs(layer.scale)))
    # The origin and the far end of each axis settle an affine transform.
    corners = [np.zeros(image.ndim), *np.diag(np.asarray(shape, dtype=float))]
    return all(
        np.allclose(
            layer.data_to_world(corner),
            np.asarray(image.data_to_world(corner)) * unit_factors(image.units, layer),
            atol=tolerance,
        )
        for corner in corners
    )


class LabelsTarget:
    """The Labels layer that accepted objects go to.

    Parameters
    ----------
    layer : Labels
        A layer that passed `check_labels`.

    Attributes
    ----------
    undone, redone : Signal(Commit)
        napari's undo or redo has just reverted or repeated this commit.
    painted : Signal()
        Somebody else changed the labels.
    """

    undone = Signal(object)
    redone = Signal(object)
    painted = Signal()

    def __init__(self, layer: Labels) -> None:
        self.layer = layer
        self._data = layer.data
        self.known_max: int | None = None
        self._done: list[Commit] = []
        self._reverted: list[Commit] = []
        self._ours = False
        self._foreign_edit = False
        self._is_paint_unchecked = False
        self._connections = ConnectionSet()
        self._connections.connect(layer.events.paint, self._on_paint)
        self._connections.connect(layer.events.set_data, self._on_set_data)

    def close(self) -> None:
        """Let go of the layer."""
        self._connections.clear()

    # -- label numbers ------------------------------------------------------

    def scan(self) -> Callable[[], int]:
        """Return a function for the worker that finds the largest label."""
        data = self.layer.data
        return lambda: max_label(data)

    def next_label(self, reserve: int = 1) -> int:
        """Return the next free label, checked to fit the layer's dtype.

        Parameters
        ----------
        reserve : int
            How many consecutive labels are needed.

        Raises
        ------
        LabelsError
            If the dtype is too small.
        """
        if self.known_max is None:
            self.known_max = max_label(self.layer.data)
        label = self.known_max + 1
        check_label_fits(self.layer.data.dtype, label + reserve - 1, self.layer.name)
        return label

    # -- reading and writing ------------------------------------------------

    def read(self, plane: Plane, region: Region) -> npt.NDArray[Any]:
        """Return a copy of the labels in a region of a plane, rows first."""
        index = self._index(plane, region)
        crop = np.array(self.layer.data[index])
        return crop.T if plane.is_transposed else crop

    def object_mask(self, plane: Plane, label: int, around: Region) -> MaskCrop:
        """Return the pixels of one label within a region."""
        return MaskCrop(self.read(plane, around) == label, around).tight()

    def write(
        self,
        objects: Sequence[ObjectMask],
        policy: OverlapPolicy,
        payload: Any = None,
    ) -> Commit | None:
        """Write objects as one undo step; earlier objects win under KEEP.

        All is computed and checked before the first pixel changes.

        Returns
        -------
        Commit or None
            None if no pixel had to change.

        Raises
        ------
        LabelsError
            If a label does not fit the layer's dtype.
        """
        for obj in objects:
            check_label_fits(self.layer.data.dtype, obj.label, self.layer.name)
        changes = self._plan(objects, policy)
        if not changes:
            return None
        self._check_paint()
        self._ours = True
        try:
            with self.layer.block_history():
                for change in changes:
                    self.layer.data_setitem(change.indices, change.new, refresh=True)
        finally:
            self._ours = False
        commit = Commit(
            tuple(changes), tuple(dict.fromkeys(o.label for o in objects)), payload
        )
        self.known_max = max(self.known_max or 0, *commit.labels)
        self._done.append(commit)
        del self._done[:-HISTORY]
        self._reverted.clear()
        self._foreign_edit = False
        return commit

    def take_back(self, commit: Commit) -> bool:
        """Undo our own last commit if nothing else happened since.

        Returns
        -------
        bool
            False if the user has edited the labels meanwhile, in which case
            nothing is done.
        """
        if self._foreign_edit or not self._done or self._done[-1] is not commit:
            return False
        self._ours = True
        try:
            self.layer.undo()
        finally:
            self._ours = False
        self._done.pop()
        return True

    def _plan(
        self, objects: Sequence[ObjectMask], policy: OverlapPolicy
    ) -> list[Change]:
        by_plane: dict[Plane, list[ObjectMask]] = {}
        for obj in objects:
            by_plane.setdefault(obj.plane, []).append(obj)
        shape = layer_shape(self.layer)
        changes = []
        for plane, group in by_plane.items():
            size = plane.shape(shape)
            region = Region(0, 0, 0, 0)
            for obj in group:
                region = region.union(write_region(obj.mask, obj.previous, size))
            if region.is_empty:
                continue
            before = self.read(plane, region)
            after = before.copy()
            for obj in group:
                write = plan_write(
                    after, region, obj.mask, obj.label, policy, obj.previous
                )
                after[write.rows - region.row0, write.cols - region.col0] = write.values
            rows, cols = np.nonzero(before != after)
            if rows.size:
                changes.append(
                    Change(
                        self._array_indices(
                            plane, rows + region.row0, cols + region.col0
                        ),
                        after[rows, cols],
                        before[rows, cols],
                    )
                )
        return changes

    def _index(self, plane: Plane, region: Region) -> tuple[int | slice, ...]:
        index = list(plane.slicer)
        rows, cols = region.slices
        index[plane.displayed[0]] = rows
        index[plane.displayed[1]] = cols
        return tuple(index)

    @staticmethod
    def _array_indices(
        plane: Plane, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.intp], ...]:
        indices = [
            np.full(rows.shape, 0 if i is None else i, dtype=np.intp)
            for i in plane.index
        ]
        indices[plane.displayed[0]] = rows
        indices[plane.displayed[1]] = cols
        return tuple(indices)

    # -- following the layer ------------------------------------------------

    def _on_paint(self) -> None:
        if self._ours:
            return
        self._foreign_edit = True
        # The pixels may change only after this event.
        self._is_paint_unchecked = True
        self._reverted.clear()
        if self.known_max is not None:
            # Brush, fill and polygon all write the selected label.
            self.known_max = max(self.known_max, int(self.layer.selected_label))
        self.painted.emit()

    def _on_set_data(self) -> None:
        # Where somebody assigned ``labels.data``, another target takes over.
        if self._ours or self.layer.data is not self._data:
            return
        self._check_paint()
        # One undo may be followed by another before the next refresh.
        while self._done:
            commit = self._done[-1]
            if not self._holds(commit, old=True):
                commit.erased = False
                break
            if commit.erased:
                break
            self._reverted.append(self._done.pop())
            self.undone.emit(commit)
        while self._reverted and self._holds(self._reverted[-1], old=False):
            commit = self._reverted.pop()
            self._done.append(commit)
            self.redone.emit(commit)

    def _check_paint(self) -> None:
        """Note which commits the user has erased by hand since the last look."""
        if self._is_paint_unchecked:
            self._is_paint_unchecked = False
            for commit in self._done:
                commit.erased = self._holds(commit, old=True)

    def _holds(self, commit: Commit, *, old: bool) -> bool:
        """Whether the labels now show a commit's old (or new) values."""
        for change in commit.changes:
            expected = change.old if old else change.new
            # A few pixels settle nearly every case without reading them all.
            for part in (slice(0, 16), slice(None)):
                index = tuple(i[part] for i in change.indices)
                if not np.array_equal(self.layer.data[index], expected[part]):
                    return False
        return True
