"""Loading models in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.viewer.background.worker import Job, Priority

if TYPE_CHECKING:
    from napari_sam.viewer.context import Context

MODEL_SLOT = "model"


class ModelLoader:
    """The engine of one viewer, and the one on its way.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    store : EmbeddingStore, optional
        Where embeddings are kept; the user's cache folder by default.

    Attributes
    ----------
    asked : str or None
        By which name or path the engine's model was loaded.
    loaded : Signal()
        Another engine answers from now on.
    failed : Signal(object)
        The model could not be loaded; the one before stays.
    """

    loaded = Signal()
    failed = Signal(object)

    def __init__(self, context: Context, store: EmbeddingStore | None) -> None:
        self._context = context
        self._store = store
        self.engine: Engine | None = None
        self.name: str | None = None
        self.asked: str | None = None
        self.is_loading = False

    @property
    def device(self) -> str | None:
        """Device of the loaded model."""
        return self.engine.model.device if self.engine is not None else None

    def load(self, name: str, device: str) -> None:
        """Load a model in the worker."""
        self.name = name
        self.is_loading = True
        store = self._store

        def done(engine: Engine) -> None:
            self.use(engine)
            self.asked = name

        def work() -> Engine:
            # Imports torch, which takes a second or two.
            from napari_sam.models import load_model
            from napari_sam.models.openmp import use_one_thread_if_spinning

            use_one_thread_if_spinning()
            return Engine(load_model(name, device=device), store or EmbeddingStore())

        self._context.runner.submit(
            Job(
                work,
                priority=Priority.PREDICT,
                slot=MODEL_SLOT,
                on_result=done,
                on_error=self._on_error,
            )
        )

    def use(self, engine: Engine) -> None:
        """Answer with this engine from now on."""
        self.engine = engine
        self._store = engine.store
        self.name = self.asked = engine.model.name
        self.is_loading = False
        self.loaded.emit()

    def _on_error(self, error: Exception) -> None:
        self.is_loading = False
        if self.engine is not None:
            self.name = self.engine.model.name
        self.failed.emit(error)
