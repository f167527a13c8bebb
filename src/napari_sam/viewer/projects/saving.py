"""What a save of a project writes, its script, and how it runs in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam.core.annotation.project import ModelInfo
from napari_sam.core.annotation.script import make_script
from napari_sam.errors import ImageError
from napari_sam.io.project import Snapshot
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.projects.settings import settings_to_json

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.core.annotation.project import ImageIdentity
    from napari_sam.io.project import PlaneProposals, ProjectFolder
    from napari_sam.types import Progress
    from napari_sam.viewer.controller import Controller

SAVE_PROJECT_SLOT = "save project"


def snapshot_of(
    controller: Controller, proposals: tuple[PlaneProposals, ...]
) -> Snapshot:
    """Return what a save is to write.

    Parameters
    ----------
    controller : Controller
        Of the viewer.
    proposals : tuple of PlaneProposals
        All that are not decided, on all planes.

    Raises
    ------
    ImageError
        If there are no labels.
    """
    target = controller.context.target
    if target is None:
        raise ImageError("There are no labels to save; choose some first.")
    # Of hidden labels napari tells no undo.
    target.catch_up()
    encoder = controller.context.encoder
    model = encoder.engine.model if encoder is not None else None
    return Snapshot(
        target.layer.data,
        target.records,
        target.next_label,
        proposals,
        settings_to_json(controller.context.settings),
        ModelInfo(name=model.name, fingerprint=model.fingerprint)
        if model is not None
        else ModelInfo(),
    )


def script_of(controller: Controller, identity: ImageIdentity) -> str:
    """Return Python that makes the labels again by asking the same prompts."""
    target = controller.context.target
    if target is None:
        raise ImageError("There are no objects to make a script of yet.")
    return make_script(
        target.records,
        image=identity.path,
        model=controller.loader.name,
        settings=settings_to_json(controller.context.settings),
        shape=layer_shape(target.layer),
    )


def save_slot(folder: ProjectFolder) -> str:
    """Return the slot of a folder's saves: one takes the place of the last."""
    return f"{SAVE_PROJECT_SLOT} {folder.path}"


def in_steps(steps: Generator[Progress, None, None]) -> Generator[None, None, None]:
    """Run a save in steps of some chunks, so that clicks go before it."""
    for number, _ in enumerate(steps):
        if number % 16 == 15:
            yield
