"""Which Labels layer the accepted objects go to, and what its brush paints."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from napari_sam.core.annotation.records import METADATA_KEY
from napari_sam.core.masks import LargestLabel
from napari_sam.errors import LabelsError, LabelsPlaceError
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.labels.fitness import check_labels
from napari_sam.viewer.labels.target import LabelsTarget
from napari_sam.viewer.plugin_layers import (
    copy_transform,
    is_ours,
    make_labels,
    selection_kept,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image
    from psygnal import SignalInstance

    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.viewer.context import Context


class BrushLabel:
    """Lets napari's brush continue the object under way.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    number : callable
        Returns the number of the object under way.
    """

    def __init__(self, context: Context, number: Callable[[], int]) -> None:
        self._context = context
        self._read = number
        # The labels and the number when last looked at.
        self._number: tuple[LabelsTarget, int] | None = None

    def show(self) -> None:
        """Select the current object's number, if that is another one now.

        What the user has chosen in napari stays until the number changes.
        """
        target, label = self._context.target, self._read()
        if target is None or not self._is_other(target, label):
            return
        limit = np.iinfo(target.layer.data.dtype).max
        if target.layer.selected_label != label <= limit:
            # Heard by napari's controls, too; for us it is the current object.
            target.layer.selected_label = label

    def _is_other(self, target: LabelsTarget, label: int) -> bool:
        """Take note of the current number; whether it was another one before."""
        before, self._number = self._number, (target, label)
        return before != self._number

    def on_painted(self) -> None:
        """Note that somebody else has changed the labels, and perhaps the free number.

        Who paints goes on with the label that he has chosen.
        """
        if self._context.target is not None:
            self._is_other(self._context.target, self._read())


def place_like_image(layer: Labels, image: Image) -> None:
    """Put a Labels layer of the image's shape where the image is.

    Scale, translation, rotation, shear, affine, units and the names of the axes
    become the image's; the pixels stay.
    """
    copy_transform(image, layer)


class LabelsBinding:
    """Adopts, makes and lets go of the target Labels layer.

    Attributes
    ----------
    changed : Signal()
        Another layer is bound, or its largest label has become known.
    applied : Signal(Transaction)
        The labels or their records have changed; see `LabelsTarget`.
    undone, redone : Signal(Transaction)
        napari's undo or redo has just reverted or repeated a transaction.
    selected : Signal(int)
        The user selected this existing label.
    painted : Signal(bool)
        Somebody else changed the labels; see `LabelsTarget`.
    """

    changed = Signal()
    applied = Signal(object)
    undone = Signal(object)
    redone = Signal(object)
    selected = Signal(int)
    painted = Signal(bool)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connections = ConnectionSet()
        self._misplaced: Labels | None = None

    @property
    def misplaced(self) -> Labels | None:
        """Labels that were refused only for where they lie; see `place`."""
        layer = self._misplaced
        return layer if layer is not None and layer in self._viewer.layers else None

    @property
    def _viewer(self) -> ViewerModel:
        return self._context.viewer

    @property
    def layer(self) -> Labels | None:
        """The bound layer."""
        target = self._context.target
        return target.layer if target is not None else None

    def choose(self, layer: Labels | None) -> None:
        """Write accepted objects into this layer from now on.

        Raises
        ------
        LabelsError
            If the layer cannot take masks of the chosen image; the layer bound
            before stays.
        """
        context = self._context
        if layer is self.layer or (layer is not None and layer == self.layer):
            return
        if layer is not None and context.image is not None:
            try:
                check_labels(layer, context.image)
            except LabelsPlaceError:
                self._misplaced = layer
                self.changed.emit()
                raise
        self._misplaced = None
        self.release()
        if layer is not None:
            self._bind(layer)
            self._count()
        self.changed.emit()
        if context.target is not None:
            # When its work is open again: what was undone meanwhile goes there.
            context.target.catch_up()

    def choose_written(self) -> None:
        """Choose the topmost labels that fit and know what they were made of."""
        for layer in reversed(self._viewer.layers):
            if isinstance(layer, Labels) and METADATA_KEY in layer.metadata:
                with suppress(LabelsError):
                    self.choose(layer)
                    return

    def place(self) -> None:
        """Put the labels that lie elsewhere where the image is, and write to them.

        Raises
        ------
        LabelsError
            If no labels were refused for where they lie.
        """
        layer, image = self.misplaced, self._context.image
        if layer is None or image is None:
            raise LabelsError(
                "No Labels layer was refused for where it lies; choose one of the "
                "image's shape first."
            )
        place_like_image(layer, image)
        self.choose(layer)

    def new(self) -> None:
        """Add an empty Labels layer that matches the image, and write to it."""
        image = self._context.image
        if image is None:
            raise LabelsError("There is no image to make a Labels layer for; open one.")
        layer = make_labels(image)
        viewer = self._viewer
        with selection_kept(viewer):
            viewer.add_layer(layer)
            ours = [i for i, other in enumerate(viewer.layers) if is_ours(other)]
            if ours and min(ours) < viewer.layers.index(layer):
                viewer.layers.move(viewer.layers.index(layer), min(ours))
        self._misplaced = None
        self.release()
        self._bind(layer)
        if self._context.target is not None:
            self._context.target.count(LargestLabel(0))
        self.changed.emit()

    def drop_if_unfit(self) -> None:
        """Keep the bound labels if they fit the image, else let them go."""
        image, layer = self._context.image, self.layer
        if image is None or layer is None:
            return
        try:
            check_labels(layer, image)
        except LabelsError as error:
            self.choose(None)
            if isinstance(error, LabelsPlaceError):
                self._misplaced = layer

    def release(self) -> None:
        """Let go of the layer; it stays in the viewer as it is."""
        self._connections.clear()
        if self._context.target is not None:
            self._context.target.close()
        self._context.target = None

    def _bind(self, layer: Labels) -> None:
        target = LabelsTarget(layer)
        self._context.target = target
        connect = self._connections.connect
        for inner, outer in (
            (target.applied, self.applied),
            (target.undone, self.undone),
            (target.redone, self.redone),
            (target.painted, self.painted),
        ):
            connect(inner, partial(_relay, outer))
        connect(layer.events.selected_label, self._on_selected)
        connect(layer.events.data, self._on_replaced)

    def _count(self) -> None:
        """Find the largest label in the background; big volumes take seconds."""
        target = self._context.target
        if target is None:
            return

        def done(found: LargestLabel) -> None:
            target.count(found)
            if self._context.target is target:
                self.changed.emit()

        self._context.runner.submit(
            Job(
                target.scan(),
                priority=Priority.PREDICT,
                slot="count",
                on_result=done,
                on_error=self._context.log_error,
            )
        )

    def _on_selected(self) -> None:
        target = self._context.target
        if target is None:
            return
        label = int(target.layer.selected_label)
        if target.is_counted and label < target.next_label:
            self.selected.emit(label)

    def _on_replaced(self) -> None:
        """Bind the layer anew: somebody assigned ``labels.data``."""
        layer = self.layer
        self.release()
        try:
            self.choose(layer)
        except LabelsError as error:
            self._context.report(error)
            self.changed.emit()


def _relay(signal: SignalInstance, told: Transaction | bool) -> None:
    signal.emit(told)
