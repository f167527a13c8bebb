"""Tracks: objects through time, their divisions, and edits of them.

A track is one id in a run of frames, as in the Cell Tracking Challenge (Maška et al.,
"The Cell Tracking Challenge: 10 years of objective benchmarking", 2023): a division
ends the mother and begins the daughters.  `Tracks` is a value; an edit gives new tracks
and says which labels change, so that a Labels and a Tracks layer stay in step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from napari_sam.core.steps import finish
from napari_sam.core.volumes.label_stack import (
    Foreground,
    IntArray,
    LabelStack,
    Segments,
)
from napari_sam.errors import TracksError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from napari_sam.core.planes import ArrayLike

Graph = dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Event:
    """Where a track begins, ends or divides.

    Parameters
    ----------
    kind : {"appearance", "disappearance", "division"}
        An appearance has no mother, a disappearance no daughters.
    track : int
        The id; of a division, the mother's.
    frame : int
        The first frame of what appears, the last of what disappears or divides.
    daughters : tuple of int
        Of a division.
    """

    kind: Literal["appearance", "disappearance", "division"]
    track: int
    frame: int
    daughters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Relabel:
    """Labels that change: one id becomes another in some frames.

    Parameters
    ----------
    old, new : int
        Ids; 0 removes.
    start, stop : int
        The first frame, and one past the last.
    """

    old: int
    new: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """One centroid per id and frame, and which tracks come from which.

    Parameters
    ----------
    ids : int64 array (N,)
        From 1.
    frames : int64 array (N,)
        From 0; a track may be missing in some.
    positions : float64 array (N, D)
        Centroids, (row, column) or (plane, row, column), in pixels.
    graph : dict of int to tuple of int
        The parents of each daughter, as napari's Tracks layer has them.

    Raises
    ------
    TracksError
        If an id is twice in a frame, the graph names a track that is not there, or a
        daughter does not start after her mother has ended.
    """

    ids: IntArray
    frames: IntArray
    positions: npt.NDArray[np.float64]
    graph: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.ids)
        if n != len(self.frames) or n != len(self.positions):
            raise TracksError(
                f"{n} ids, {len(self.frames)} frames and {len(self.positions)}"
                " positions are no tracks; pass one of each per object and frame."
            )
        order = np.lexsort((self.frames, self.ids))
        for name, dtype in (("ids", int), ("frames", int), ("positions", float)):
            value = np.asarray(getattr(self, name))[order].astype(dtype)
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        graph = {
            int(d): tuple(sorted({int(p) for p in parents}))
            for d, parents in sorted(self.graph.items())
            if parents
        }
        object.__setattr__(self, "graph", graph)
        _check(self)

    @classmethod
    def from_labels(
        cls,
        labels: ArrayLike | Sequence[npt.NDArray[Any]],
        graph: Mapping[int, Iterable[int]] | None = None,
    ) -> Tracks:
        """Return the tracks of labels whose ids go through time.

        Parameters
        ----------
        labels : array (T, H, W) or (T, Z, H, W), or a sequence of label images
            0 is background.
        graph : dict of int to iterable of int, optional
            The parents of each daughter.

        Raises
        ------
        LabelsError
            If the labels are no such.
        TracksError
            If the graph does not fit them.
        """
        return finish(cls.iter_from_labels(labels, graph))

    @classmethod
    def iter_from_labels(
        cls,
        labels: ArrayLike | Sequence[npt.NDArray[Any]],
        graph: Mapping[int, Iterable[int]] | None = None,
    ) -> Generator[None, None, Tracks]:
        """Return the tracks of labels, reading one frame after another.

        The generator form of `from_labels`, with its parameters and errors.
        """
        stack = LabelStack(labels, volumes=True)
        parts = []
        for index in range(len(stack)):
            parts.append(Foreground.of(stack[index]).measured(index))
            yield
        table = Segments.joined(parts, len(stack.shape) - 1)
        known = {int(d): tuple(parents) for d, parents in (graph or {}).items()}
        return cls(table.labels, table.slices, table.centers, known)

    def to_napari(self) -> tuple[npt.NDArray[np.float64], dict[int, list[int]]]:
        """Return what napari's Tracks layer takes.

        Returns
        -------
        data : float64 array (N, 2 + D)
            Id, frame and position of each.
        graph : dict of int to list of int
        """
        data = np.column_stack([self.ids, self.frames, self.positions])
        return data, {d: list(parents) for d, parents in self.graph.items()}

    def spans(self) -> dict[int, tuple[int, int]]:
        """Return the first and the last frame of each track."""
        starts = np.flatnonzero(np.diff(self.ids, prepend=-1))
        stops = [*starts[1:], len(self.ids)][: len(starts)]
        return {
            int(self.ids[a]): (int(self.frames[a]), int(self.frames[b - 1]))
            for a, b in zip(starts, stops, strict=True)
        }

    def daughters(self, mother: int) -> tuple[int, ...]:
        """Return the tracks that come from one."""
        return tuple(d for d, parents in self.graph.items() if mother in parents)

    def events(self, n_frames: int | None = None) -> list[Event]:
        """Return where tracks begin, end and divide, in order of frames.

        What is there in the first or in the last frame neither appears nor disappears.

        Parameters
        ----------
        n_frames : int, optional
            Of the movie; up to the last frame of any track if not given.
        """
        spans = self.spans()
        last_frame = (
            max((last for _, last in spans.values()), default=0)
            if n_frames is None
            else n_frames - 1
        )
        children = _children(self.graph)
        found = []
        for track, (first, last) in spans.items():
            if first > 0 and track not in self.graph:
                found.append(Event("appearance", track, first))
            daughters = tuple(children.get(track, ()))
            if len(daughters) > 1:
                found.append(Event("division", track, last, daughters))
            elif not daughters and last < last_frame:
                found.append(Event("disappearance", track, last))
        return sorted(found, key=lambda event: (event.frame, event.track))

    def without(self, track: int) -> TrackEdit:
        """Remove a track; its daughters have no mother then."""
        first, last = self._span(track)
        is_kept = self.ids != track
        graph = {
            d: tuple(p for p in parents if p != track)
            for d, parents in self.graph.items()
            if d != track
        }
        return TrackEdit(
            Tracks(
                self.ids[is_kept], self.frames[is_kept], self.positions[is_kept], graph
            ),
            (Relabel(track, 0, first, last + 1),),
        )

    def with_division(
        self, mother: int, daughters: Iterable[int], frame: int
    ) -> TrackEdit:
        """Let a track divide.

        If she goes on from that frame as one of the daughters, name her among them.
        Whatever of the daughters was there before, the mother too, is split at the
        frame: from there on it is a daughter, under the next free id.

        Parameters
        ----------
        mother : int
            The track that ends before the frame.
        daughters : iterable of int
            Two or more tracks that are there from the frame on.
        frame : int
            The first of the daughters.

        Raises
        ------
        TracksError
            If one of them is not there, has a mother already, or ends before the frame,
            or if the mother is not there before it.
        """
        named = sorted({int(d) for d in daughters})
        if len(named) < 2:
            raise TracksError(
                f"A division of track {mother} needs two daughters; name"
                f" {'another' if named else 'them'}."
            )
        first, last = self._span(mother)
        if first >= frame:
            raise TracksError(
                f"Track {mother} is not there before frame {frame}; it begins in frame"
                f" {first}."
            )
        if last >= frame and mother not in named:
            raise TracksError(
                f"Track {mother} goes on to frame {last} and cannot divide in frame"
                f" {frame}; name it among the daughters, or split it there."
            )
        if self.daughters(mother) and last < frame:
            raise TracksError(
                f"Track {mother} divides already; remove that division first."
            )
        edit = TrackEdit(self, ())
        for daughter in named:
            begins, _ = edit.tracks._span(daughter)
            if begins < frame and not edit.tracks._is_in(daughter, frame):
                raise TracksError(
                    f"Track {daughter} is not in frame {frame}; choose one that is."
                )
            if begins < frame:
                # Whoever is there in the frame is the daughter, also under this id.
                edit = edit.then(edit.tracks.split(daughter, frame))
        renamed = {r.old: r.new for r in edit.relabels}
        graph = dict(edit.tracks.graph)
        for daughter in (renamed.get(d, d) for d in named):
            if daughter in graph:
                raise TracksError(
                    f"Track {daughter} has the mother {graph[daughter][0]} already;"
                    " remove that division first."
                )
            graph[daughter] = (mother,)
        return TrackEdit(edit.tracks._with_graph(graph), edit.relabels)

    def without_division(self, mother: int) -> TrackEdit:
        """Take a division back; mother and daughters stay tracks of their own."""
        self._span(mother)
        graph = {
            d: tuple(p for p in parents if p != mother)
            for d, parents in self.graph.items()
        }
        return TrackEdit(self._with_graph(graph), ())

    def split(self, track: int, frame: int, new: int | None = None) -> TrackEdit:
        """Give a track from a frame on another id, to which its daughters then belong.

        Parameters
        ----------
        track : int
            Its id.
        frame : int
            The first of the new track.
        new : int, optional
            Its id; the next free one if not given.

        Raises
        ------
        TracksError
            If the track is not on both sides, or the new id is taken.
        """
        first, last = self._span(track)
        if not first < frame <= last:
            raise TracksError(
                f"Track {track} goes from frame {first} to {last} and cannot be split"
                f" at {frame}; choose a frame after the first."
            )
        number = int(self.ids.max()) + 1 if new is None else int(new)
        if number < 1 or number in self.ids:
            raise TracksError(f"The id {number} is taken or below 1; choose another.")
        ids = np.where((self.ids == track) & (self.frames >= frame), number, self.ids)
        graph = {
            d: tuple(number if p == track else p for p in parents)
            for d, parents in self.graph.items()
        }
        return TrackEdit(
            Tracks(ids, self.frames, self.positions, graph),
            (Relabel(track, number, frame, last + 1),),
        )

    def merge(self, first: int, second: int) -> TrackEdit:
        """Let a track go on as another, which follows it.

        Parameters
        ----------
        first, second : int
            The second takes the id of the first, and leaves its daughters to it.

        Raises
        ------
        TracksError
            If the second does not start after the first has ended, or a division is
            between them.
        """
        _, end = self._span(first)
        start, last = self._span(second)
        if start <= end:
            raise TracksError(
                f"Track {second} begins in frame {start}, before track {first} ends in"
                f" frame {end}; merge tracks that follow each other."
            )
        if set(self.daughters(first)) - {second}:
            raise TracksError(
                f"Track {first} divides after frame {end}; remove that division first."
            )
        if set(self.graph.get(second, ())) - {first}:
            raise TracksError(
                f"Track {second} has the mother {self.graph[second][0]}; remove that"
                " division first."
            )
        graph = {
            d: tuple(first if p == second else p for p in parents)
            for d, parents in self.graph.items()
            if d != second
        }
        ids = np.where(self.ids == second, first, self.ids)
        return TrackEdit(
            Tracks(ids, self.frames, self.positions, graph),
            (Relabel(second, first, start, last + 1),),
        )

    def _with_graph(self, graph: Mapping[int, tuple[int, ...]]) -> Tracks:
        return Tracks(self.ids, self.frames, self.positions, graph)

    def _span(self, track: int) -> tuple[int, int]:
        frames = self.frames[self.ids == track]
        if not frames.size:
            raise TracksError(f"There is no track {track}; choose one that is there.")
        return int(frames[0]), int(frames[-1])

    def _is_in(self, track: int, frame: int) -> bool:
        return bool(((self.ids == track) & (self.frames == frame)).any())


@dataclass(frozen=True, slots=True, eq=False)
class TrackEdit:
    """Tracks after an edit, and the labels that change with it.

    Parameters
    ----------
    tracks : Tracks
        After it.
    relabels : tuple of Relabel
        In this order.
    """

    tracks: Tracks
    relabels: tuple[Relabel, ...]

    def then(self, other: TrackEdit) -> TrackEdit:
        """Return this edit and one of its tracks, as one."""
        return TrackEdit(other.tracks, (*self.relabels, *other.relabels))

    def applied(self, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the labels after the edit.

        Parameters
        ----------
        labels : integer array (T, ...)
            Before; left as they are.

        Raises
        ------
        TracksError
            If a new id does not fit their type.
        """
        result = labels.copy()
        for relabel in self.relabels:
            if relabel.new > np.iinfo(labels.dtype).max:
                raise TracksError(
                    f"The id {relabel.new} does not fit labels of type {labels.dtype};"
                    " convert them to a larger one."
                )
            frames = result[relabel.start : relabel.stop]
            frames[frames == relabel.old] = relabel.new
        return result


def _children(graph: Mapping[int, tuple[int, ...]]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for daughter, parents in graph.items():
        for parent in parents:
            children.setdefault(parent, []).append(daughter)
    return children


def _check(tracks: Tracks) -> None:
    ids, frames = tracks.ids, tracks.frames
    if ids.size and (ids.min() < 1 or frames.min() < 0):
        raise TracksError(
            f"Ids from {ids.min()} and frames from {frames.min()} are no tracks; count"
            " ids from 1 and frames from 0."
        )
    is_twice = (np.diff(ids) == 0) & (np.diff(frames) == 0)
    if is_twice.any():
        at = int(is_twice.argmax())
        raise TracksError(
            f"Track {ids[at]} is twice in frame {frames[at]}; give one of them another"
            " id."
        )
    spans = tracks.spans()
    for daughter, parents in tracks.graph.items():
        for track in (daughter, *parents):
            if track not in spans:
                raise TracksError(
                    f"The graph names the track {track}, which is not there; take it"
                    " out."
                )
        for parent in parents:
            # This also rules out cycles: time goes on along every edge.
            if spans[parent][1] >= spans[daughter][0]:
                raise TracksError(
                    f"Track {daughter} begins in frame {spans[daughter][0]}, and its"
                    f" mother {parent} ends in frame {spans[parent][1]}; a daughter"
                    " starts after her mother has ended."
                )
