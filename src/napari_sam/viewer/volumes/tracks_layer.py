"""A Tracks layer that says what the labels say: who is where when, and who divided.

It is derived from the pixels and the recorded lineage, so that it follows whatever
becomes of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Tracks as TracksLayer

from napari_sam.core.volumes.tracks import Tracks
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.plugin_layers import selection_kept, transform_of
from napari_sam.viewer.volumes.linker import is_movie

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.volumes.linker import Relinked

TRACKS_SLOT = "tracks"
READ_SLOT = "tracks to change"
_KEY = "napari_sam_tracks_of"
"""In the metadata of a Tracks layer: the unique id of its Labels layer."""
_REST_SECONDS = 0.5
"""After the last change of the labels, before the tracks are looked at anew."""


class TracksView:
    """The tracks of the labels that objects are written to, if they are tracks.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.

    Attributes
    ----------
    layer : Tracks or None
        The layer; the user may remove it.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._target: LabelsTarget | None = None
        self.layer: TracksLayer | None = None
        # napari has no layer of no tracks, so it is taken out until there are some.
        self._is_out = False
        # Of which labels the user has removed it.
        self._unwanted: set[str] = set()
        self._hides_graph = False

    def look(self) -> None:
        """Show the tracks of the labels that are bound now, if they are tracks."""
        target = self._context.target
        if target is None or target is self._target:
            return
        if target.records.lineage.time and _id(target) not in self._unwanted:
            self._follow(target)
            self._renew()
        else:
            self._follow(None)

    def show(self, linked: Relinked) -> None:
        """Show the tracks of labels that were linked in time.

        Of labels with three axes, time first: others would need a choice of axes.
        """
        if linked.is_time and is_movie(linked.target, linked.planes):
            self.show_of(linked.target)

    def show_of(self, target: LabelsTarget) -> None:
        """Show the tracks of labels, also if the user has removed them before."""
        self._unwanted.discard(_id(target))
        if self._is_removed:
            self.layer = None
        self._follow(target)
        self._renew()

    def read(self, target: LabelsTarget, then: Callable[[Tracks], None]) -> None:
        """Find the tracks of labels in the background, with the divisions so far."""

        def done(tracks: Tracks) -> None:
            lineage = target.records.lineage.fitting(tracks.spans())
            then(replace(tracks, graph=lineage.graph))

        self._context.runner.submit(
            Job(
                partial(Tracks.iter_from_labels, target.layer.data),
                priority=Priority.FOLLOW,
                slot=READ_SLOT,
                on_result=done,
                on_error=self._context.log_error,
            )
        )

    def close(self) -> None:
        """Stop listening; the layer is the user's."""
        self._follow(None)

    @property
    def _is_removed(self) -> bool:
        """Whether the user has removed the layer."""
        layer = self.layer
        is_there = layer is None or layer in self._context.viewer.layers
        return not is_there and not self._is_out

    def _follow(self, target: LabelsTarget | None) -> None:
        if target is self._target:
            return
        if self._target is not None:
            self._target.applied.disconnect(self._on_applied)
        # Of other labels the layer stays as it is.
        self._target, self.layer = target, None
        self._is_out = self._hides_graph = False
        if target is not None:
            target.applied.connect(self._on_applied)
            self.layer = next(
                (
                    layer
                    for layer in self._context.viewer.layers
                    if isinstance(layer, TracksLayer)
                    and layer.metadata.get(_KEY) == _id(target)
                ),
                None,
            )

    def _on_applied(self, transaction: object) -> None:
        del transaction
        self._renew(_REST_SECONDS)

    def _renew(self, delay: float = 0.0) -> None:
        target = self._target
        if target is None:
            return
        data = target.layer.data
        self._context.runner.submit(
            Job(
                partial(Tracks.iter_from_labels, data),
                priority=Priority.EVERYTHING,
                slot=TRACKS_SLOT,
                delay=delay,
                on_result=self._take,
                on_error=self._context.log_error,
            )
        )

    def _take(self, tracks: Tracks) -> None:
        target, viewer = self._target, self._context.viewer
        if target is None or target.layer not in viewer.layers:
            return
        if self._is_removed:
            self._unwanted.add(_id(target))
            self._follow(None)
            return
        data, _ = tracks.to_napari()
        lineage = target.records.lineage.fitting(tracks.spans())
        graph = {d: list(mothers) for d, mothers in lineage.graph.items()}
        with selection_kept(viewer):
            if not len(data):
                if self.layer is not None and not self._is_out:
                    self._is_out = True
                    viewer.layers.remove(self.layer)
                return
            if self.layer is None:
                self.layer = TracksLayer(
                    data,
                    graph=graph,
                    name=f"{target.layer.name} tracks",
                    metadata={_KEY: _id(target)},
                    **transform_of(target.layer),
                )
                viewer.add_layer(self.layer)
                return
            self._fill(self.layer, data, graph)
            if self._is_out:
                self._is_out = False
                viewer.add_layer(self.layer)

    def _fill(
        self,
        layer: TracksLayer,
        data: npt.NDArray[np.float64],
        graph: dict[int, list[int]],
    ) -> None:
        """Let the layer show other tracks."""
        # napari 0.9.2 goes on drawing the lines of a graph that becomes empty.
        if layer.graph and not graph and layer.display_graph:
            self._hides_graph, layer.display_graph = True, False
        elif graph and self._hides_graph:
            self._hides_graph, layer.display_graph = False, True
        # A graph of ids that are not there yet is refused.
        layer.graph = {}
        layer.data = data
        layer.graph = graph


def _id(target: LabelsTarget) -> str:
    return str(target.layer.unique_id)
