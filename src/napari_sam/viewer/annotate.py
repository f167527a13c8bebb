"""A viewer to be annotated by a script: its controller, image and labels are found."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from napari.layers import Labels

from napari_sam.errors import ImageError, LabelsError, SettingsError
from napari_sam.viewer.background.worker import SyncRunner
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.image.binding import images_of
from napari_sam.viewer.session import Session

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

_headless: WeakValueDictionary[int, Controller] = WeakValueDictionary()
"""Controllers without a window by the id of their viewer, to be used again."""


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
        without one, everything runs headless in the calling thread.  A viewer that
        is annotated already goes on with what is there.
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
    target = _find_labels(viewer, labels)
    if not isinstance(model, str) or not isinstance(device, str):
        raise SettingsError(
            f"model and device are {model!r} and {device!r}; give both as text."
        )
    controller, is_new = _controller_of(viewer)
    session = Session(controller)
    try:
        session.bind(layer, model, device)
        if target is not None:
            controller.choose_labels(target)
            session.wait()
    except Exception:
        if is_new:
            controller.close()
        raise
    return session


def _controller_of(viewer: ViewerModel) -> tuple[Controller, bool]:
    """Return the controller of a viewer, and whether it was made for this."""
    window = getattr(viewer, "window", None)
    if window is not None:
        # The dock that is open, if there is one.
        _, widget = window.add_plugin_dock_widget("napari-sam", "Segment Anything")
        return widget.controller, False
    known = _headless.get(id(viewer))
    if known is not None and known.viewer is viewer and not known.is_closed:
        return known, False
    made = Controller(viewer, SyncRunner())
    _headless[id(viewer)] = made
    return made, True


def _find_labels(viewer: ViewerModel, labels: Labels | str | None) -> Labels | None:
    if labels is None:
        return None
    found = [
        x
        for x in viewer.layers
        if isinstance(x, Labels) and (x is labels or x.name == labels)
    ]
    if not found:
        known = ", ".join(f"'{x.name}'" for x in viewer.layers if isinstance(x, Labels))
        raise LabelsError(
            f"There are no labels {str(labels)!r} in the viewer; labels layers are: "
            f"{known or 'none'}."
        )
    return found[0]


def _find_image(viewer: ViewerModel, image: Image | str | None) -> Image:
    images = images_of(viewer.layers)
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
    if not any(image is x for x in images):
        raise ImageError("There is no such image in the viewer; add one first.")
    return next(x for x in images if x is image)
