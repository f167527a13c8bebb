"""What the parts of one controller share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_warning

from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.errors import SamError
from napari_sam.viewer.settings import AnnotationSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_sam.core.annotation.records import ObjectRecords
    from napari_sam.types import Plane
    from napari_sam.viewer.background.worker import Runner
    from napari_sam.viewer.image.encoder import PlaneEncoder
    from napari_sam.viewer.labels.target import LabelsTarget

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Context:
    """The bound layers and the engine of one viewer; GUI thread only.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    runner : Runner
        Its background thread.
    settings : AnnotationSettings
        What the user chose.
    image : Image, optional
        The layer that is segmented.
    plane : Plane, optional
        The plane of it that is on screen.
    encoder : PlaneEncoder, optional
        Image and model together; None while either is missing.
    target : LabelsTarget, optional
        Where accepted objects go, and what is recorded about them.
    on_error : callable, optional
        Takes errors instead of the user, while a script is waiting.
    is_window_gone : bool
        Whether what drew the layers is destroyed: they are left alone then, since
        each change of them is drawn.
    """

    viewer: ViewerModel
    runner: Runner
    settings: AnnotationSettings = field(default_factory=AnnotationSettings)
    image: Image | None = None
    plane: Plane | None = None
    encoder: PlaneEncoder | None = None
    target: LabelsTarget | None = None
    on_error: Callable[[Exception], None] | None = None
    is_window_gone: bool = False

    @property
    def records(self) -> ObjectRecords | None:
        """Which prompts made the objects in the labels."""
        return self.target.records if self.target is not None else None

    @property
    def thresholds(self) -> ModelThresholds:
        """Those of the model, or of SAM while there is none."""
        encoder = self.encoder
        return ModelThresholds() if encoder is None else encoder.engine.model.thresholds

    def report(self, error: Exception) -> str:
        """Show an error to the user and return it as one sentence.

        A problem the user can fix is a warning; anything else is logged with
        its traceback and shown as an error.
        """
        if self.on_error is not None:
            self.on_error(error)
            return str(error)
        if isinstance(error, SamError):
            show_warning(str(error))
            return str(error)
        logger.error("unexpected error", exc_info=error)
        text = f"Unexpected {type(error).__name__}: {error} (details are in the log)"
        show_error(text)
        return text

    def log_error(self, error: Exception) -> None:
        """Note an error of work the user did not ask for and will not miss."""
        logger.warning("background work failed", exc_info=error)
