"""Learning from the user's own labels, while the user goes on labelling.

Planes are encoded by the worker that also answers clicks.  Learning itself has
a thread of its own, at the lowest priority, and rests while the user waits for
an answer.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.core.steps import Run
from napari_sam.errors import DataError, FileFormatError, PromptError, SamError
from napari_sam.types import Progress
from napari_sam.viewer.background.prefetcher import SHOWN_SLOT
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.learning.examples import accepted, gather
from napari_sam.viewer.prompting.requests import PREDICT_SLOT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from napari_sam.training.adapt.examples import Example
    from napari_sam.training.adapt.loop import Adapted
    from napari_sam.training.adapt.settings import AdaptSettings
    from napari_sam.viewer.background.model_loader import ModelLoader
    from napari_sam.viewer.background.worker import Runner
    from napari_sam.viewer.context import Context

GATHER_SLOT = "gather"
LEARN_SLOT = "learn"
SAVE_SLOT = "save"
_REST_SECONDS = 0.02


class Stage(StrEnum):
    """Where learning is.

    Attributes
    ----------
    IDLE
        Nothing goes on.
    GATHERING
        Planes with labels are being read and encoded.
    LEARNING
        The model is being adapted.
    SAVING
        The result is being written.
    UNDECIDED
        The result is not better, or could not be saved; the user may keep it.
    KEPT
        The result is saved and in use; the user may still drop it.
    """

    IDLE = "idle"
    GATHERING = "gathering"
    LEARNING = "learning"
    SAVING = "saving"
    UNDECIDED = "undecided"
    KEPT = "kept"

    @property
    def is_running(self) -> bool:
        """Whether something is under way."""
        return self in (Stage.GATHERING, Stage.LEARNING, Stage.SAVING)


def learn(
    base: str,
    examples: Sequence[Example],
    settings: AdaptSettings | None,
    neck: bool,
    device: str,
    is_wanted_elsewhere: Callable[[], bool],
) -> Generator[Progress, None, Adapted]:
    """Adapt a model with pauses; the side of the thread that learns."""
    from napari_sam.models.openmp import use_part_of_the_cores
    from napari_sam.training.adapt.loop import iter_adapt
    from napari_sam.training.adapt.settings import AdaptSettings

    if threading.current_thread() is not threading.main_thread():
        use_part_of_the_cores()
    settings = settings or AdaptSettings()
    if neck:
        settings = replace(settings, parts="decoder+neck")
    run = Run(iter_adapt(base, examples, settings, device=device))
    while run.advance():
        yield run.latest
        while is_wanted_elsewhere():
            time.sleep(_REST_SECONDS)
    return run.value


class Learning:
    """Adapting the model of one viewer to its labels.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    loader : ModelLoader
        Knows which model is in use.
    use_model : callable
        Takes a model's name and device and has it answer from then on.

    Attributes
    ----------
    changed : Signal()
        Anything a panel shows has changed.
    models_changed : Signal()
        There is a new model, or one less.
    status : Signal(str)
        What just happened and what to do next.
    """

    changed = Signal()
    models_changed = Signal()
    status = Signal(str)

    def __init__(
        self,
        context: Context,
        loader: ModelLoader,
        use_model: Callable[[str, str], None],
    ) -> None:
        self._context = context
        self._loader = loader
        self._use_model = use_model
        self._own: Runner | None = None
        self._base = ("", "")
        self._wanted = ""
        self.stage = Stage.IDLE
        self.progress: Progress | None = None
        self.result: Adapted | None = None
        self.saved: Path | None = None

    @property
    def runner(self) -> Runner:
        """The thread that learns; it begins when it is first needed."""
        if self._own is None:
            self._own = self._context.runner.sibling()
        return self._own

    @property
    def is_running(self) -> bool:
        """Whether something is under way."""
        return self.stage.is_running

    @property
    def suggested_name(self) -> str:
        """A name for the next model: that of the model, and of the image."""
        image, base = self._context.image, self._loader.name or "model"
        words = re.findall(r"\w+", image.name if image is not None else "")
        name = "-".join(words).lower()[:32].strip("-_")
        # A model of these images that learns more keeps its name, with a number.
        if not name or re.fullmatch(rf".*-{re.escape(name)}(-\d+)?", base):
            return re.sub(r"-\d+$", "", base) if name else f"{base}-adapted"
        return f"{base}-{name}"

    # -- intents ------------------------------------------------------------

    def start(
        self,
        name: str = "",
        *,
        neck: bool = False,
        settings: AdaptSettings | None = None,
    ) -> None:
        """Begin to learn from what is accepted; problems are told to the user.

        Parameters
        ----------
        name : str
            What to call the result; `suggested_name` if empty.
        neck : bool
            Also adapt the neck of the image encoder; embeddings of the result
            are other ones then.
        settings : AdaptSettings, optional
            How to learn.
        """
        if self.is_running:
            return
        try:
            self._start(name, neck, settings)
        except SamError as error:
            self.status.emit(self._context.report(error))

    def _start(self, name: str, neck: bool, settings: AdaptSettings | None) -> None:
        from napari_sam.models.user_models import check_name

        context = self._context
        if context.encoder is None or context.plane is None or context.image is None:
            raise PromptError(
                "There is no 2-D image plane on screen to learn from; choose an image, "
                "wait for the model, and switch the viewer to 2-D."
            )
        if context.target is None:
            raise DataError(
                "There are no labels to learn from; accept at least five objects."
            )
        self._wanted = check_name(name or self.suggested_name)
        model = context.encoder.engine.model
        self._base = (self._loader.asked or model.name, model.device)
        self.result, self.saved = None, None
        material = accepted(
            context.target.records, context.plane, layer_shape(context.image)
        )
        labels = context.target.layer.data
        self._submit(
            context.runner,
            Stage.GATHERING,
            GATHER_SLOT,
            partial(gather, context.encoder, labels, material, with_pixels=neck),
            partial(self._on_gathered, settings, neck),
        )

    def cancel(self) -> None:
        """Stop; models and labels are as they were.

        What is being written already is written to its end.
        """
        if self.stage in (Stage.GATHERING, Stage.LEARNING):
            self._context.runner.cancel(GATHER_SLOT)
            self.runner.cancel(LEARN_SLOT)
            self._rest(Stage.IDLE)
            self.status.emit("Learning was cancelled; the model is as it was.")

    def keep(self) -> None:
        """Save a result that is not better, or could not be saved, and use it."""
        if self.stage is Stage.UNDECIDED and self.result is not None:
            self._save(self.result)

    def drop(self) -> None:
        """Do without the result: delete it and go back to the model before."""
        if self.stage is Stage.KEPT and self.saved is not None:
            if self._loader.asked == self.saved.stem:
                self._use_model(*self._base)
            try:
                self.saved.unlink(missing_ok=True)
            except OSError as error:
                problem = FileFormatError(
                    f"{self.saved} cannot be removed ({error.strerror or error}); "
                    f"remove it yourself."
                )
                self.status.emit(self._context.report(problem))
            self.models_changed.emit()
        if self.stage in (Stage.KEPT, Stage.UNDECIDED):
            self.result = self.saved = None
            self._rest(Stage.IDLE)

    def close(self) -> None:
        """Stop and end the thread."""
        self._context.runner.cancel(GATHER_SLOT)
        if self._own is not None:
            self._own.close()
        self.stage, self.progress, self.result = Stage.IDLE, None, None

    # -- stages -------------------------------------------------------------

    def _submit(
        self,
        runner: Runner,
        stage: Stage,
        slot: str,
        work: Callable[[], Any],
        on_result: Callable[[Any], None],
    ) -> None:
        self.stage, self.progress = stage, Progress(0, 0, "starting")
        runner.submit(
            Job(
                work,
                priority=Priority.EVERYTHING,
                slot=slot,
                on_result=on_result,
                on_yield=self._on_progress,
                on_error=self._on_error,
            )
        )
        self.changed.emit()

    def _on_progress(self, progress: Progress) -> None:
        self.progress = progress
        self.changed.emit()

    def _on_error(self, error: Exception) -> None:
        # What could not be saved can be saved again, once there is room.
        was_saving = self.stage is Stage.SAVING
        self._rest(Stage.UNDECIDED if was_saving else Stage.IDLE)
        self.status.emit(self._context.report(error))

    def _rest(self, stage: Stage) -> None:
        self.stage, self.progress = stage, None
        self.changed.emit()

    def _on_gathered(
        self, settings: AdaptSettings | None, neck: bool, examples: list[Example]
    ) -> None:
        base, device = self._base
        waits = self._is_user_waiting
        work = partial(learn, base, examples, settings, neck, device, waits)
        self._submit(self.runner, Stage.LEARNING, LEARN_SLOT, work, self._on_learnt)

    def _is_user_waiting(self) -> bool:
        """Whether an answer or the plane on screen is awaited; any thread."""
        runner = self._context.runner
        return runner.is_busy(PREDICT_SLOT) or runner.is_busy(SHOWN_SLOT)

    def _on_learnt(self, result: Adapted) -> None:
        self.result = result
        if result.improved:
            self._save(result)
            return
        self._rest(Stage.UNDECIDED)
        self.status.emit(f"Not better: {result.summary}.  Keep it anyway?")

    def _save(self, result: Adapted) -> None:
        self._submit(
            self.runner,
            Stage.SAVING,
            SAVE_SLOT,
            partial(result.save, self._wanted),
            self._on_saved,
        )

    def _on_saved(self, path: Path) -> None:
        if self.result is None:
            return
        self.saved, self.result = path, replace(self.result, name=path.stem)
        self._rest(Stage.KEPT)
        self.models_changed.emit()
        summary = self.result.summary
        if self._loader.asked == self._base[0]:
            self._use_model(path.stem, self._base[1])
            self.status.emit(f"{summary}.  {path.stem} answers from now on.")
        else:
            # The user has chosen another model meanwhile.
            self.status.emit(f"{summary}.  It is in the list of models: {path.stem}.")
