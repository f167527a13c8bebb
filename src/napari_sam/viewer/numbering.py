"""Which label the current object has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam.errors import LabelsError

if TYPE_CHECKING:
    from napari_sam.viewer.context import Context


class Numbering:
    """The label number of the object under way.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.

    Attributes
    ----------
    label : int
        The current object's number.
    is_new : bool
        Whether the number was taken for an object that is not written yet.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.label = 1
        self.is_new = True

    def take_next(self) -> str:
        """Take the next free label.

        Returns
        -------
        str
            Why the labels cannot hold it, empty if they can.  Said again, and
            refused, when the object is accepted.
        """
        self.is_new = True
        target = self._context.target
        if target is None or target.known_max is None:
            # Not counted yet; counting comes before the first prediction.
            self.label = 1
            return ""
        try:
            self.label = target.next_label()
        except LabelsError as error:
            self.label = (target.known_max or 0) + 1
            self._show()
            return str(error)
        self._show()
        return ""

    def pick(self, label: int) -> None:
        """Continue an object that is in the labels already."""
        self.label, self.is_new = label, False
        self._show()

    def _show(self) -> None:
        """Let napari's brush continue the same object."""
        target = self._context.target
        if target is None:
            return
        limit = np.iinfo(target.layer.data.dtype).max
        if target.layer.selected_label != self.label <= limit:
            with target.layer.events.selected_label.blocker():
                target.layer.selected_label = self.label
