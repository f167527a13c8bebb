"""napari's selected label, which follows the number of the object under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget


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
