"""What goes on in the background, and stopping it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam.types import Progress
from napari_sam.viewer.background.prefetcher import SHOWN_SLOT

if TYPE_CHECKING:
    from napari_sam.viewer.background.model_loader import ModelLoader
    from napari_sam.viewer.background.prefetcher import Prefetcher
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.everything.mode import EverythingMode
    from napari_sam.viewer.prompting.annotator import Annotator
    from napari_sam.viewer.volumes.propagation import Propagation


class TaskStatus:
    """The most important of what is under way.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    loader, annotator, everything, propagation, prefetcher
        What may be at work.
    """

    def __init__(
        self,
        context: Context,
        loader: ModelLoader,
        annotator: Annotator,
        everything: EverythingMode,
        propagation: Propagation,
        prefetcher: Prefetcher,
    ) -> None:
        self._context = context
        self._loader = loader
        self._annotator = annotator
        self._everything = everything
        self._propagation = propagation
        self._prefetcher = prefetcher

    @property
    def progress(self) -> Progress | None:
        """What is going on, if it may take more than half a second."""
        if self._loader.is_loading:
            return Progress(0, 1, "loading the model")
        if self._propagation.progress is not None:
            return self._propagation.progress
        if self._annotator.progress is not None:
            return self._annotator.progress
        if self._everything.progress is not None:
            return self._everything.progress
        if self._context.plane is not None and self._context.encoder is not None:
            if self._context.runner.is_busy(SHOWN_SLOT):
                return self._context.encoder.progress(self._context.plane)
            if self._is_encoding_stack:
                return self._prefetcher.progress
        return None

    @property
    def long(self) -> Progress | None:
        """What is going on, if it may take so long that the user turns away."""
        return self.progress if self.can_cancel else None

    @property
    def can_cancel(self) -> bool:
        """Whether `cancel` would stop something."""
        return (
            self._propagation.is_running
            or self._annotator.progress is not None
            or self._everything.is_running
            or self._is_encoding_stack
        )

    def cancel(self) -> str:
        """Stop what `progress` shows.

        An accept that waits for answers gives its prompts back; everything mode, and
        what follows an object, keep what they found.

        Returns
        -------
        str
            What to tell the user; may be empty.
        """
        if self._propagation.is_running:
            self._propagation.cancel()
            return ""
        if self._annotator.progress is not None:
            self._annotator.cancel_accept()
            return ""
        if self._everything.is_running:
            self._everything.cancel()
            return "Stopping …"
        self._prefetcher.request_whole_stack(False)
        return ""

    @property
    def _is_encoding_stack(self) -> bool:
        prefetcher = self._prefetcher
        return prefetcher.is_whole_stack and not prefetcher.strip.ready.all()
