"""Annotating from a script, in a napari window or without one.

The same controller as behind the dock widget, with calls that wait for their
result: what a user does with mouse and keys, a script does with methods.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_sam.core.annotation.prompts import PointItem, PromptItems, ShapeItem
from napari_sam.errors import Cancelled, ImageError, PromptError
from napari_sam.types import MaskLevel
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.learning import GATHER_SLOT, LEARN_SLOT, SAVE_SLOT
from napari_sam.viewer.loader import MODEL_SLOT
from napari_sam.viewer.prefetcher import SHOWN_SLOT
from napari_sam.viewer.requests import SLOTS as PREDICT_SLOTS
from napari_sam.viewer.search import EVERYTHING_SLOT
from napari_sam.viewer.worker import SyncRunner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_sam.training.adapt import Adapted, AdaptSettings
    from napari_sam.types import BoolArray, Plane

_SLOTS = (
    MODEL_SLOT,
    SHOWN_SLOT,
    *PREDICT_SLOTS,
    EVERYTHING_SLOT,
    GATHER_SLOT,
    "count",
)


def annotate(
    viewer: ViewerModel,
    image: Image | str | None = None,
    *,
    labels: Labels | str | None = None,
    model: str = "mobile-sam-microscopy",
    device: str = "auto",
) -> Session:
    """Start annotating an image of a viewer from a script.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
        With a window, the dock widget opens and script and user share it;
        without one, everything runs headless in the calling thread.
    image : Image or str, optional
        The image layer or its name; the topmost image by default.
    labels : Labels or str, optional
        Where objects are written; a new layer by default, made with the first
        object.
    model : str
        A name that ``napari_sam.list_models`` shows, or a path.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns
    -------
    Session
        Ready to take prompts.

    Raises
    ------
    ImageError
        If there is no such image.
    LabelsError
        If the labels cannot take masks of the image.
    ModelError
        If the model cannot be loaded.

    Examples
    --------
    >>> session = annotate(viewer, "nuclei")  # doctest: +SKIP
    >>> session.add_point((12, 120, 88))  # doctest: +SKIP
    >>> session.accept()  # doctest: +SKIP
    1
    """
    layer = _find_image(viewer, image)
    window = getattr(viewer, "window", None)
    if window is None:
        controller = Controller(viewer, SyncRunner())
    else:
        _, widget = window.add_plugin_dock_widget("napari-sam", "Segment Anything")
        controller = widget.controller
    session = Session(controller)
    session.bind(layer, model, device)
    if labels is not None:
        target = viewer.layers[labels] if isinstance(labels, str) else labels
        controller.choose_labels(target)
        session.wait()
    return session


def _find_image(viewer: ViewerModel, image: Image | str | None) -> Image:
    images = [x for x in viewer.layers if isinstance(x, Image)]
    if image is None and images:
        return images[-1]
    if isinstance(image, str):
        named = [x for x in images if x.name == image]
        if named:
            return named[0]
        known = ", ".join(f"'{x.name}'" for x in images) or "none"
        raise ImageError(
            f"There is no image layer named '{image}'; image layers are: {known}."
        )
    if image is None or image not in viewer.layers:
        raise ImageError("There is no such image in the viewer; add one first.")
    return image


class Session:
    """A controller driven by a script; made by `annotate`.

    Points and boxes are in array coordinates of the image, ``(row, column)`` or
    ``(z, row, column)`` and so on, in pixels, whatever the layer's scale.
    Each call returns when its result is there.  GUI thread only.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def bind(self, image: Image, model: str, device: str) -> None:
        """Choose image and model, and wait until the plane on screen can answer."""
        controller = self.controller
        with self._raising():
            controller.choose_image(image)
            if not controller.is_loading and (
                controller.device is None
                or controller.model_name != model
                or device not in ("auto", controller.device)
            ):
                controller.load_model(model, device)
            self.wait()

    # -- prompts ------------------------------------------------------------

    def add_point(self, point: Sequence[float], *, positive: bool = True) -> None:
        """Click: the object is (or is not) at this point.

        Parameters
        ----------
        point : sequence of float
            Array coordinates, one per image axis.  The viewer goes to the
            plane of the point.
        positive : bool
            False marks background.

        Raises
        ------
        PromptError
            If the point has the wrong length or lies outside the image.
        """
        plane = self._show(point)
        item = PointItem(tuple(float(x) for x in point), positive, plane.displayed)
        items = self.controller.annotator.items
        self._prompt(PromptItems((*items.points, item), items.shapes))

    def add_box(self, start: Sequence[float], stop: Sequence[float]) -> None:
        """Draw a box from one corner to the opposite one on one plane.

        A second box on the same plane is a second object.

        Parameters
        ----------
        start, stop : sequence of float
            Array coordinates of two opposite corners.
        """
        plane = self._show(start)
        r0, c0 = plane.to_plane_point(start)
        r1, c1 = plane.to_plane_point(stop)
        corners = [(r0, c0), (r0, c1), (r1, c1), (r1, c0)]
        vertices = np.array([plane.to_array_point(r, c) for r, c in corners])
        self._add_shape(ShapeItem(vertices, "rectangle", True, plane.displayed))

    def add_outline(self, vertices: npt.ArrayLike) -> None:
        """Draw roughly around the object: a filled polygon as a mask prompt.

        Parameters
        ----------
        vertices : array-like (N, ndim)
            Array coordinates on one plane.
        """
        points = np.asarray(vertices, dtype=float)
        plane = self._show(points[0])
        self._add_shape(ShapeItem(points, "polygon", True, plane.displayed))

    # -- the current object -------------------------------------------------

    @property
    def labels(self) -> Labels | None:
        """The Labels layer that objects are written to, once there is one."""
        return self.controller.labels.layer

    @property
    def score(self) -> float | None:
        """Predicted IoU of the preview on the plane on screen."""
        return self.controller.annotator.score

    @property
    def mask(self) -> BoolArray | None:
        """The preview on the plane on screen, bool (H, W); several boxes united."""
        prediction = self.controller.annotator.prediction
        image, plane = self.controller.context.image, self.controller.context.plane
        if prediction is None or image is None or plane is None:
            return None
        shape = plane.shape(layer_shape(image))
        out = np.zeros(shape, bool)
        for candidate in prediction.candidates:
            out |= candidate.mask.full(shape)
        return out

    @property
    def level(self) -> MaskLevel:
        """Which of the model's nested answers is used."""
        return self.controller.annotator.level

    @level.setter
    def level(self, level: MaskLevel | str) -> None:
        with self._raising():
            self.controller.set_level(MaskLevel(level))
            self.wait()

    def accept(self) -> int | None:
        """Write the object into the labels.

        Returns
        -------
        int or None
            Its label; None if there was nothing to write.
        """
        with self._raising():
            if self.labels is None:
                self.controller.new_labels()
            label = self.controller.annotator.label
            written = self.controller.annotator.accept()
        return label if written else None

    def discard(self) -> None:
        """Drop the prompts and the preview."""
        self.controller.discard()

    def select_object(self, label: int) -> None:
        """Make an object current again, with its prompts."""
        with self._raising():
            self.controller.annotator.select_object(label)
            self.wait()

    # -- everything mode ----------------------------------------------------

    def segment_everything(
        self, *, all_planes: bool = False, write: bool = True, **settings: Any
    ) -> int:
        """Find all objects of the plane on screen, or of all planes.

        Parameters
        ----------
        all_planes : bool
            Every plane of the stack, one after another.
        write : bool
            Write the proposals into the labels as one undo step.
        **settings
            Fields of `AnnotationSettings` to change first, for example
            ``min_score=0.9`` or ``everything=EverythingSettings(...)``.

        Returns
        -------
        int
            Number of objects proposed.
        """
        mode = self.controller.everything
        with self._raising():
            self.controller.change_settings(**settings)
            mode.run(all_planes=all_planes)
            self.wait()
            count = mode.count
            if write and count:
                mode.write()
        return count

    # -- learning -----------------------------------------------------------

    def learn(
        self,
        name: str = "",
        *,
        neck: bool = False,
        always: bool = False,
        settings: AdaptSettings | None = None,
    ) -> Adapted:
        """Let the model learn from the accepted objects, and use it if it is better.

        Parameters
        ----------
        name : str
            What to call the adapted model; by default that of the model and the
            image.
        neck : bool
            Also adapt the neck of the image encoder, which needs all planes to be
            encoded again.
        always : bool
            Save and use it even if it is not better.
        settings : AdaptSettings, optional
            How to learn.

        Returns
        -------
        Adapted
            Before and after on objects kept aside; ``name`` is None if it was
            not saved.

        Raises
        ------
        DataError
            If there are fewer than five usable objects.
        FileFormatError
            If the result cannot be saved.
        """
        learning = self.controller.learning
        with self._raising():
            learning.start(name, neck=neck, settings=settings)
            self.wait()
            learning.runner.wait((LEARN_SLOT, SAVE_SLOT))
            if always:
                learning.keep()
                learning.runner.wait((SAVE_SLOT,))
            self.wait()
        if learning.result is None:
            raise Cancelled("Learning was cancelled; the model is as it was.")
        return learning.result

    # -- life ---------------------------------------------------------------

    def wait(self) -> None:
        """Wait for what was asked for; prefetch goes on.

        Raises
        ------
        SamError
            The first problem met on the way.
        """
        with self._raising():
            self.controller.context.runner.wait(_SLOTS)

    def close(self) -> None:
        """Let go of the viewer; all user layers stay."""
        self.controller.close()

    @contextmanager
    def _raising(self) -> Iterator[None]:
        """Raise problems in the script instead of showing them to the user."""
        context = self.controller.context
        errors: list[Exception] = []
        outer, context.on_error = context.on_error, errors.append
        try:
            yield
        finally:
            context.on_error = outer
        if errors:
            raise errors[0]

    def _show(self, point: Sequence[float] | npt.NDArray[np.float64]) -> Plane:
        """Bring the plane of a point on screen."""
        image = self.controller.context.image
        if image is None:
            raise ImageError("There is no image to annotate; call annotate again.")
        shape = layer_shape(image)
        if len(point) != len(shape):
            raise PromptError(
                f"Point {tuple(point)} has {len(point)} coordinates but image "
                f"'{image.name}' has {len(shape)} axes; give one per axis."
            )
        inside = all(-0.5 <= x < n - 0.5 for x, n in zip(point, shape, strict=True))
        if not inside:
            raise PromptError(
                f"Point {tuple(float(x) for x in point)} is outside image "
                f"'{image.name}' of shape {shape}; give a point inside."
            )
        with self._raising():
            self.controller.navigator.go_to_point([float(x) for x in point])
            self.wait()
        plane = self.controller.context.plane
        if plane is None:
            raise PromptError("The viewer shows 3-D; switch it to 2-D first.")
        return plane

    def _add_shape(self, item: ShapeItem) -> None:
        items = self.controller.annotator.items
        self._prompt(PromptItems(items.points, (*items.shapes, item)))

    def _prompt(self, items: PromptItems) -> None:
        with self._raising():
            self.controller.annotator.set_items(items)
            self.wait()
