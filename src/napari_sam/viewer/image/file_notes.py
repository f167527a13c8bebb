"""What an image's file holds that its layer does not show, said once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_info

from napari_sam.errors import SamError
from napari_sam.io.images import read_notes
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.coords import layer_shape

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_sam.viewer.context import Context

FILE_SLOT = "look at the file"


class FileNotes:
    """Looks into the files of chosen images in the background.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: set[str] = set()

    def look(self, layer: Image) -> None:
        """Say what the file of an image has beside it, if it was not said before."""
        path = layer.source.path
        if path is None or path in self._seen:
            return
        self._seen.add(path)
        shape, rgb = tuple(layer_shape(layer)), bool(layer.rgb)

        def find() -> tuple[str, ...]:
            try:
                found = read_notes(path)
            except SamError:
                return ()  # napari has read it, by whatever plugin
            # Read another way, with its channels apart for instance, it is not so.
            return found[2] if found is not None and found[:2] == (shape, rgb) else ()

        def say(notes: tuple[str, ...]) -> None:
            for note in notes:
                show_info(f"{path}: {note}.")

        self._context.runner.submit(
            Job(
                find,
                priority=Priority.HOVER,
                slot=FILE_SLOT,
                on_result=say,
                on_error=self._context.log_error,
            )
        )
