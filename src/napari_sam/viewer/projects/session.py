"""Projects in a viewer: each transaction to disk, saving, opening, recovering."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from psygnal import Signal

from napari_sam.core.annotation.project import ImageIdentity, LabelsInfo, image_digest
from napari_sam.core.annotation.records import METADATA_KEY
from napari_sam.core.annotation.transaction import RecordChange
from napari_sam.core.annotation.under_way import UnderWay
from napari_sam.core.masks import LargestLabel
from napari_sam.errors import FileFormatError, ImageError, SamError
from napari_sam.io.project import (
    ProjectFolder,
    check_project_name,
    create_project,
    open_folder,
)
from napari_sam.io.recent import remember_project
from napari_sam.io.recovery import (
    Recovery,
    discard,
    let_go,
    new_recovery_path,
    recoveries,
    settle,
)
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.image.identity import describe, image_of, pixels_of
from napari_sam.viewer.plugin_layers import selection_kept, transform_of
from napari_sam.viewer.projects.aside import (
    Aside,
    AsideFolders,
    is_blank,
    link,
    linked_to,
)
from napari_sam.viewer.projects.kept_proposals import KeptProposals
from napari_sam.viewer.projects.opened import told
from napari_sam.viewer.projects.records import find_held, find_records
from napari_sam.viewer.projects.saving import (
    in_steps,
    save_slot,
    script_of,
    snapshot_of,
)
from napari_sam.viewer.projects.settings import settings_from_json
from napari_sam.viewer.prompting.put_aside import keep

if TYPE_CHECKING:
    from napari.utils.events import Event

    from napari_sam.core.annotation.records import ObjectRecord
    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.core.annotation.under_way import KeptObject
    from napari_sam.io.project import ProjectState
    from napari_sam.viewer.controller import Controller

IDENTIFY_SLOT = "identify"
UNDER_WAY_SLOT = "keep what is under way"
RECORDS_SLOT = "find records"
HELD_SLOT = "find held work"


class ProjectSession:
    """Keeps the bound labels on disk, in a project or for recovery.

    Parameters
    ----------
    controller : Controller
        Of the viewer; its image, labels, proposals and settings are kept.

    Attributes
    ----------
    changed : Signal()
        What is open, saved or recoverable has changed.
    status : Signal(str)
        What the user is to know.
    recoverable : tuple of Recovery
        Unsaved work on the chosen image, the newest first.
    is_saving : bool
        Whether a save is under way.
    """

    changed = Signal()
    status = Signal(str)

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._context = controller.context
        self.folder: ProjectFolder | None = None
        self.recoverable: tuple[Recovery, ...] = ()
        self.is_saving = False
        # While a project is saved elsewhere, both places get what is written.
        self._leaving: ProjectFolder | None = None
        self._identity: ImageIdentity | None = None
        self._layer: Labels | None = None
        self._data: Any = None
        self._was_empty = False
        self._is_unkept = False
        self._is_opening = False
        self.proposals = KeptProposals(controller)
        self._kept: tuple[ProjectFolder, UnderWay] | None = None
        self._aside = AsideFolders()
        self._owed: ProjectFolder | None = None
        # What was under way on an image that has just been left.
        self._left: tuple[KeptObject, ...] = ()
        self._connections = ConnectionSet()
        connect = self._connections.connect
        connect(controller.images.placed, self._on_image)
        connect(controller.images.renewed, self._on_renewed)
        connect(controller.labels.changed, self._on_labels)
        connect(controller.labels.applied, self._on_applied)
        connect(controller.changed, self._keep_under_way)
        connect(controller.viewer.layers.events.removed, self._on_removed)

    # -- what is open -------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The project's folder; None while the work is kept for recovery only."""
        folder = self.folder
        return folder.path if folder is not None and folder.file.saved else None

    @property
    def is_read_only(self) -> bool:
        """Whether the project is open somewhere else, or cannot be written."""
        return self.folder is not None and self.folder.is_read_only

    @property
    def keeps_under_way(self) -> bool:
        """Whether what is under way is on disk, too."""
        return self.folder is not None and not self.folder.is_read_only

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots of the runner in which the open folder is saved."""
        return () if self.folder is None else (save_slot(self.folder),)

    # -- following the viewer -----------------------------------------------

    def _on_image(self, layer: Image) -> None:
        identity = describe(layer)
        known = self._identity
        if known is not None and identity == known.model_copy(
            update={"digest": "", "sampled": False}
        ):
            return
        self._identity = identity
        self.recoverable = ()
        data, rgb = pixels_of(layer), bool(layer.rgb)

        def done(found: tuple[str, bool]) -> None:
            digest, sampled = found
            if self._identity is not identity:
                return
            self._identity = identity.model_copy(
                update={"digest": digest, "sampled": sampled}
            )
            self._on_identified()

        self._context.runner.submit(
            Job(
                lambda: image_digest(data, rgb=rgb),
                priority=Priority.HOVER,
                slot=IDENTIFY_SLOT,
                on_result=done,
                on_error=self._context.log_error,
            )
        )

    def _on_identified(self) -> None:
        identity, folder = self._identity, self.folder
        if identity is None:
            return
        if folder is not None and not folder.file.image.digest:
            with suppress(SamError):
                folder.identify(identity)
        self._list_recoverable()
        self._find_held()
        self._adopt_records()
        self.changed.emit()

    def _list_recoverable(self) -> None:
        digest = self._identity.digest if self._identity is not None else ""
        found = recoveries(digest) if digest else []
        self.recoverable = tuple(one for one in found if one.is_offered)

    def _on_labels(self) -> None:
        target = self._context.target
        if target is None:
            if self._layer is not None:
                self._let_go()
                self.changed.emit()
            return
        layer: Labels = target.layer
        data = layer.data
        known_layer = self._layer
        is_same = layer is known_layer
        if is_same and data is self._data:
            self._settle_debt()
            return
        self._layer, self._data = layer, data
        folder = self.folder
        if (
            is_same
            and folder is not None
            and folder.file.labels.shape == tuple(layer.data.shape)
        ):
            # Somebody assigned ``labels.data``: what no transaction says, a save can.
            self._save_whole(folder)
            return
        if not self._is_opening:
            self._layer = known_layer
            self._let_go()
            self._layer, self._data = layer, data
            self._was_empty = target.is_counted and target.next_label == 1
            self._take_up(layer)
            self._find_held()
            self._adopt_records()
        self.changed.emit()

    def _find_held(self) -> None:
        """Offer no work that labels from a file are: it is saved there."""
        target, waiting = self._context.target, self.recoverable
        if target is None or not waiting or not target.layer.source.path:
            return
        labels = target.layer.data

        def done(path: Path | None) -> None:
            if path is not None:
                settle(path)
            self._list_recoverable()
            self.changed.emit()

        self._context.runner.submit(
            Job(
                lambda: find_held(labels, [one.path for one in waiting]),
                priority=Priority.HOVER,
                slot=HELD_SLOT,
                on_result=done,
                on_error=self._context.log_error,
            )
        )

    def _adopt_records(self) -> None:
        """Give labels that come from a file the records of their objects."""
        target, identity = self._context.target, self._identity
        if target is None or len(target.records) or self._was_empty:
            return
        digest = identity.digest if identity is not None else ""
        labels, path = target.layer.data, target.layer.source.path

        def done(found: tuple[ObjectRecord, ...]) -> None:
            if found and self._context.target is target and not len(target.records):
                target.change_records(
                    *(RecordChange(record.label, None, record) for record in found)
                )
                self.status.emit(
                    f"Found how {len(found)} of the objects in '{target.layer.name}'"
                    " were made; J picks one to correct it."
                )

        self._context.runner.submit(
            Job(
                lambda: find_records(labels, path, digest),
                priority=Priority.HOVER,
                slot=RECORDS_SLOT,
                on_result=done,
                on_error=self._context.log_error,
            )
        )

    def _on_applied(self, transaction: Transaction) -> None:
        """Write a transaction to disk; the labels have it whatever happens here."""
        if self._is_unkept and self.folder is None:
            return
        try:
            if self.folder is None:
                self._begin()
            for folder in (self._leaving, self.folder):
                if folder is not None:
                    folder.append(transaction)
        except SamError as error:
            self._is_unkept = self.folder is None
            self.status.emit(self._context.report(error))
        except Exception as error:  # noqa: BLE001 - an accept must not fail for this
            self._context.log_error(error)

    def _keep_under_way(self) -> None:
        """Have what is not in the labels yet written beside them, if it is new."""
        folder = self.folder
        if folder is None or folder.is_read_only or self._is_opening:
            return
        now = self._under_way(folder, self._controller.annotator.under_way())
        if self._kept != (folder, now):
            self._kept = folder, now
            self._note_under_way(folder, now)

    def _note_under_way(self, folder: ProjectFolder, now: UnderWay) -> None:
        self._context.runner.submit(
            Job(
                lambda: folder.keep_under_way(now),
                priority=Priority.HOVER,
                # The newest note of a folder, whatever another one has to note.
                slot=f"{UNDER_WAY_SLOT} {folder.path}",
                on_error=self._context.log_error,
            )
        )

    def _under_way(
        self, folder: ProjectFolder, objects: tuple[KeptObject, ...]
    ) -> UnderWay:
        return UnderWay(folder.sequence, objects, self.proposals.rejected)

    def _begin(self) -> None:
        """Keep unsaved work for recovery, from the first transaction on."""
        layer = self._layer
        if layer is None or self._identity is None:
            return
        self.folder = create_project(
            new_recovery_path(),
            self._identity,
            LabelsInfo(
                name=layer.name,
                shape=tuple(int(n) for n in layer.data.shape),
                dtype=np.dtype(layer.data.dtype).str,
            ),
            has_base=self._was_empty,
            saved=False,
        )
        link(layer, self.folder.path)
        if not self._was_empty:
            # The labels as they were are copied while more is written: whatever the
            # copy has of that already, the journal says again.
            self._start_save(self.folder)

    # -- saving -------------------------------------------------------------

    def save(self) -> None:
        """Save the project in the background.

        Raises
        ------
        FileFormatError
            If it has no place yet, or can only be read.
        """
        if self.folder is None or not self.folder.file.saved:
            raise FileFormatError(
                "This work has no project yet; choose Save as and give it a name."
            )
        self._start_save(self.folder, tell=True)

    def check_savable(self) -> None:
        """Raise ``ImageError`` if there is nothing to save, before a name is asked."""
        self._to_save()

    def _to_save(self) -> tuple[Labels, ImageIdentity]:
        if self._layer is None or self._identity is None:
            raise ImageError(
                "There are no labels to save yet; accept an object or choose labels."
            )
        return self._layer, self._identity

    def save_as(self, path: str | Path) -> None:
        """Save into a new project folder, and keep everything there from now on.

        Parameters
        ----------
        path : path
            ``.napari-sam`` is added if it is missing.

        Raises
        ------
        FileFormatError
            If there is something already, or it cannot be written.
        LabelsError, ImageError
            If there is nothing to save.
        """
        layer, identity = self._to_save()
        if not identity.digest:
            image = self._image()
            digest, sampled = image_digest(pixels_of(image), rgb=bool(image.rgb))
            identity = identity.model_copy(
                update={"digest": digest, "sampled": sampled}
            )
            self._identity = identity
        self._settle_leaving()
        old = self.folder
        new = create_project(
            check_project_name(Path(path)),
            identity,
            LabelsInfo(
                name=layer.name,
                shape=tuple(int(n) for n in layer.data.shape),
                dtype=np.dtype(layer.data.dtype).str,
            ),
            has_base=False,
        )
        self.folder, self._leaving, self._is_unkept = new, old, False
        link(layer, new.path)
        remember_project(new.path)
        self._start_save(new, tell=True)
        self.changed.emit()

    def _start_save(self, folder: ProjectFolder, *, tell: bool = False) -> None:
        target = self._context.target
        if target is None:
            return
        steps = folder.begin_save(snapshot_of(self._controller, self.proposals.all))
        self.is_saving = True

        def done(_: object) -> None:
            if folder is self.folder:
                self._settle_leaving()
            if tell:
                n = len(target.records)
                self.status.emit(f"Saved {n} object{'s' * (n != 1)} in {folder.path}.")

        def ended() -> None:
            self.is_saving = False
            self.changed.emit()

        def failed(error: Exception) -> None:
            self.status.emit(self._context.report(error))

        self._context.runner.submit(
            Job(
                lambda: in_steps(steps),
                priority=Priority.UNSEEN,
                # A save takes the place of one of the same folder only.
                slot=save_slot(folder),
                on_result=done,
                on_error=failed,
                on_end=ended,
            )
        )

    def _settle_leaving(self) -> None:
        """Let go of the place from which the work has moved."""
        old, self._leaving = self._leaving, None
        if old is None:
            return
        if old.file.saved:
            old.close()
        else:
            old.remove()

    # -- opening ------------------------------------------------------------

    def open(self, path: str | Path, image: str | Path | Image | None = None) -> None:
        """Open a project: its image, labels, prompts, proposals and settings.

        Parameters
        ----------
        path : path
            The project's folder.
        image : path or Image layer, optional
            Where the image is now, if it has moved.

        Raises
        ------
        FileFormatError
            If it is no project, damaged, or of a newer version.
        ImageError
            If the image is not there, or is another one; nothing has changed then.
        """
        self._aside.let_go(Path(path))
        folder = open_folder(path)
        try:
            layer = image_of(folder, image, self._context.viewer.layers)
            state = folder.read()
            if not folder.is_read_only:
                folder.open_journal()
        except BaseException:
            folder.close(finished=False)
            raise
        self._show(folder, state, layer)

    def restore(self, recovery: Recovery) -> None:
        """Put unsaved work back into the viewer, as a Labels layer of its own."""
        self.open(recovery.path, self._image())

    def discard(self, recovery: Recovery) -> None:
        """Delete unsaved work."""
        discard(recovery.path)
        self._list_recoverable()
        self.changed.emit()

    def _show(self, folder: ProjectFolder, state: ProjectState, image: Image) -> None:
        self._is_opening = True
        try:
            self._leave()
            self._put(folder, state, image)
        finally:
            self._is_opening = False
        if folder.file.saved:
            remember_project(folder.path)
        self._list_recoverable()
        self.status.emit(told(folder, state))
        for problem in state.problems:
            self._context.report(FileFormatError(problem))
        if folder.journal is not None and (state.restored or not folder.file.has_base):
            self._start_save(folder)
        self.changed.emit()

    def _leave(self) -> None:
        """Let go of what is open.

        What is under way stays with it, or with the image if it is not kept on disk.
        """
        image = self._context.image
        objects = self._controller.annotator.leave_image()
        if image is not None and (self.folder is None or self.folder.is_read_only):
            keep(image, objects)
            self.proposals.keep(image)
        self._let_go(objects)
        self._controller.everything.discard()

    def _put(self, folder: ProjectFolder, state: ProjectState, image: Image) -> None:
        """Put a project into the viewer."""
        controller, viewer = self._controller, self._context.viewer
        if image not in viewer.layers:
            viewer.add_layer(image)
        controller.images.choose(image)
        labels = Labels(
            state.labels,
            name=folder.file.labels.name,
            metadata={METADATA_KEY: state.records.to_json()},
            **transform_of(image),
        )
        with selection_kept(viewer):
            viewer.add_layer(labels)
        controller.choose_labels(labels)
        self.folder = folder
        self._layer, self._data = labels, labels.data
        if not folder.is_read_only:
            link(labels, folder.path)
        target = self._context.target
        if target is not None and target.next_label < state.next_label:
            target.count(LargestLabel(state.next_label - 1))
        controller.change_settings(
            **settings_from_json(folder.file.settings, self._context.settings)
        )
        self.proposals.take(state.proposals)
        controller.resume()
        controller.annotator.take_up(state.under_way)

    def _on_renewed(self) -> None:
        self._left = ()
        self.proposals.show()

    def _image(self) -> Image:
        image = self._context.image
        if image is None:
            raise ImageError("There is no image; open one first.")
        return image

    # -- script and life ----------------------------------------------------

    def script(self) -> str:
        """Return Python that makes the labels again by asking the same prompts."""
        if self._identity is None:
            raise ImageError("There are no objects to make a script of yet.")
        return script_of(self._controller, self._identity)

    def close(self, *, finished: bool = True, offered: bool = True) -> None:
        """Let go of the project; what was written stays on disk.

        Parameters
        ----------
        finished : bool
            Whether the labels go away with the viewer, rather than stay in it.
        offered : bool
            Whether to offer unsaved work to who opens the image again.
        """
        self._connections.clear()
        self._aside.close(finished=finished, offered=offered)
        self._release(finished=finished, offered=offered)

    def leave(self, objects: tuple[KeptObject, ...]) -> None:
        """Take note of what was under way on the image that is being left."""
        self._left = objects

    def _let_go(self, objects: tuple[KeptObject, ...] | None = None) -> None:
        """Go away from the labels; their work stays open while they are there."""
        layer, folder = self._layer, self.folder
        left, self._left = self._left, ()
        if folder is None or folder.is_read_only or not self._has(layer):
            self._release(left or objects)
            if folder is not None:
                self._list_recoverable()
            return
        self._settle_leaving_on_close()
        if objects is None:
            objects = left or self._controller.annotator.under_way(while_growing=True)
        self._note_under_way(folder, self._under_way(folder, objects))
        self._aside.put(
            Aside(
                folder,
                self.proposals.all,
                self._was_empty and is_blank(self._layer),
            )
        )
        self._forget()

    def _has(self, layer: Labels | None) -> bool:
        """Whether a layer is in the viewer."""
        return layer is not None and layer in self._context.viewer.layers

    def _take_up(self, layer: Labels) -> None:
        """Go on where the work on labels was kept before, if they were."""
        aside = self._aside.take(layer)
        if aside is None:
            return
        self.folder = folder = aside.folder
        # What became of the labels meanwhile is in no journal.
        self.proposals.take(aside.proposals)
        self._owed = folder
        self._settle_debt()
        self._list_recoverable()

    def _settle_debt(self) -> None:
        """Save labels whose changes nobody has followed, once they are counted."""
        target, folder = self._context.target, self._owed
        if folder is None or target is None or not target.is_counted:
            return
        self._owed = None
        if folder is self.folder:
            self._save_whole(folder)

    def _save_whole(self, folder: ProjectFolder) -> None:
        """Save labels that changed in a way that the journal does not have."""
        if folder.journal is None:
            return  # it can only be read
        folder.journal.give_up()
        try:
            self._start_save(folder)
        except SamError as error:
            self.status.emit(self._context.report(error))

    def _on_removed(self, event: Event) -> None:
        """Offer the work on labels that were removed from the viewer."""
        layer = event.value
        path = linked_to(layer) if isinstance(layer, Labels) else None
        if path is not None and self._aside.let_go(path):
            self._list_recoverable()
            self.changed.emit()

    def _forget(self) -> None:
        """Be without labels."""
        self.folder = self._layer = self._data = self._kept = None
        self._is_unkept = False
        self.proposals.clear()

    def _release(
        self,
        objects: tuple[KeptObject, ...] | None = None,
        *,
        finished: bool = False,
        offered: bool = True,
    ) -> None:
        """Close the folder, with what is under way on the labels if it stays there."""
        self._settle_leaving_on_close()
        folder, is_over = self.folder, self._was_empty and is_blank(self._layer)
        if folder is not None:
            if objects is None:
                objects = self._controller.annotator.under_way(while_growing=True)
            with suppress(SamError):
                folder.keep_under_way(self._under_way(folder, objects))
        self._forget()
        if folder is not None:
            offered = offered and not is_over
            let_go(folder, finished=finished or is_over, offered=offered)

    def _settle_leaving_on_close(self) -> None:
        # A save elsewhere may not have come to its end: both places are kept.
        old, self._leaving = self._leaving, None
        if old is not None:
            old.close(finished=old.file.saved)
