"""A Tracks layer that says what the labels say: who is where when, and who divided."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Tracks as TracksLayer

from napari_sam.core.volumes.tracks import Tracks
from napari_sam.viewer.layers import selection_kept, transform_of
from napari_sam.viewer.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.volumes.linker import Relinked

TRACKS_SLOT = "tracks"
READ_SLOT = "tracks to change"
_REST_SECONDS = 0.5
"""After the last change of the labels, before the tracks are looked at anew."""


class TracksView:
    """The tracks of the labels that were linked in time last.

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
        self._graph: Mapping[int, tuple[int, ...]] = {}
        self.layer: TracksLayer | None = None

    def show(self, linked: Relinked) -> None:
        """Show the tracks of labels that were linked in time.

        Of labels with three axes, time first: others would need a choice of axes.
        """
        target = linked.target
        if not linked.is_time:
            return
        if target.layer.ndim != 3 or linked.planes[0].displayed != (1, 2):
            return
        self.take(target, linked.graph)

    def take(self, target: LabelsTarget, graph: Mapping[int, tuple[int, ...]]) -> None:
        """Show the tracks of labels with other divisions than before."""
        self._follow(target)
        self._graph = graph
        self._renew()

    def read(self, target: LabelsTarget, then: Callable[[Tracks], None]) -> None:
        """Find the tracks of labels in the background, with the divisions so far."""
        graph = self.graph_of(target)

        def done(tracks: Tracks) -> None:
            then(replace(tracks, graph=_fitting(graph, tracks)))

        self._context.runner.submit(
            Job(
                partial(Tracks.iter_from_labels, target.layer.data),
                priority=Priority.FOLLOW,
                slot=READ_SLOT,
                on_result=done,
                on_error=self._context.log_error,
            )
        )

    def graph_of(self, target: LabelsTarget) -> Mapping[int, tuple[int, ...]]:
        """Return the divisions of labels, also those that an undo took out of them."""
        return self._graph if target is self._target else {}

    def close(self) -> None:
        """Stop listening; the layer is the user's."""
        self._follow(None)
        self.layer = None

    def _follow(self, target: LabelsTarget | None) -> None:
        if target is self._target:
            return
        if self._target is not None:
            self._target.applied.disconnect(self._on_applied)
        # Of other labels the layer stays as it is.
        self._target, self.layer = target, None
        if target is not None:
            target.applied.connect(self._on_applied)

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
        graph = {d: list(m) for d, m in _fitting(self._graph, tracks).items()}
        data, _ = tracks.to_napari()
        if self.layer is not None and self.layer not in viewer.layers:
            # The user has removed it.
            self._follow(None)
            return
        if not len(data):
            return
        if self.layer is None:
            self.layer = TracksLayer(
                data,
                graph=graph,
                name=f"{target.layer.name} tracks",
                **transform_of(target.layer),
            )
            with selection_kept(viewer):
                viewer.add_layer(self.layer)
            return
        # A graph of ids that are not there yet is refused.
        self.layer.graph = {}
        self.layer.data = data
        self.layer.graph = graph


def _fitting(
    graph: Mapping[int, tuple[int, ...]], tracks: Tracks
) -> dict[int, tuple[int, ...]]:
    """Return the divisions that the tracks have: one that is undone is none."""
    spans = tracks.spans()
    return {
        daughter: tuple(mothers)
        for daughter, mothers in graph.items()
        if daughter in spans
        and all(m in spans and spans[m][1] < spans[daughter][0] for m in mothers)
    }
