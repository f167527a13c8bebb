"""Tracks as GEFF, the Graph Exchange File Format.

A graph in a Zarr folder, with a node for each object and frame and an edge from each to
the next (https://liveimagetrackingtools.org/geff).  The package ``geff`` writes and
reads it; it is not installed with this one.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.atomic import check_folder, replacing_folder
from napari_sam.core.volumes.tracks import Tracks
from napari_sam.errors import FileFormatError, TracksError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

_AXES = ("z", "y", "x")
_OURS = frozenset({"nodes", "edges", "zarr.json", ".zgroup", ".zattrs", ".zmetadata"})


def write_geff(
    path: str | os.PathLike[str],
    tracks: Tracks,
    *,
    scale: Sequence[float] = (),
    units: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write tracks as a GEFF folder.

    Nodes have ``t`` in frames, ``y`` and ``x`` (and ``z``) in pixels, and ``track_id``,
    which is the label in the frame's label image.  The folder is complete or is not
    there.

    Parameters
    ----------
    path : path
        The folder, by custom ``NAME.geff``.
    tracks : Tracks
        What to write.
    scale : sequence of float, optional
        Size of a step along time and the axes of the positions.
    units : sequence of str, optional
        Their units, in words such as "micrometer".
    overwrite : bool
        Whether a GEFF folder that is there is replaced; other folders never are.

    Raises
    ------
    TracksError
        If there are none, or the package ``geff`` is missing.
    FileFormatError
        If the folder cannot be written.
    """
    write_arrays, spec = _library()
    if not len(tracks.ids):
        raise TracksError("There are no tracks to write; link objects first.")
    check_geff_folder(path, overwrite=overwrite)
    names = ("t", *_AXES[-tracks.positions.shape[1] :])
    columns = (tracks.frames, *tracks.positions.T)
    axes = []
    for i, name in enumerate(names):
        kind, unit = ("time", "frame") if name == "t" else ("space", "pixel")
        known = {}
        if len(scale) == len(names) == len(units):
            known = {"scale": float(scale[i]), "scaled_unit": str(units[i])}
        axes.append(spec.Axis(name=name, type=kind, unit=unit, **known))
    n_daughters: dict[int, int] = {}
    for parents in tracks.graph.values():
        for parent in parents:
            n_daughters[parent] = n_daughters.get(parent, 0) + 1
    is_single = any(
        len(p) == 1 and n_daughters[p[0]] == 1 for p in tracks.graph.values()
    )
    with (
        warnings.catch_warnings(),
        replacing_folder(path, _is_ours if overwrite else None) as aside,
    ):
        # What zarr thinks of its own formats is nothing the user can change.
        warnings.simplefilter("ignore")
        write_arrays(
            aside / "graph",
            np.arange(len(tracks.ids), dtype=np.uint64),
            {
                **{
                    name: {"values": np.asarray(values), "missing": None}
                    for name, values in zip(names, columns, strict=True)
                },
                "track_id": {"values": np.asarray(tracks.ids), "missing": None},
            },
            _edges(tracks),
            {},
            spec.GeffMetadata(
                directed=True,
                axes=axes,
                node_props_metadata={},
                edge_props_metadata={},
                # Tracklets are maximal: a mother with one daughter is one with her.
                track_node_props=None if is_single else {"tracklet": "track_id"},
            ),
        )
        for item in (aside / "graph").iterdir():
            item.rename(aside / item.name)
        (aside / "graph").rmdir()


def check_geff_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse, before long work, a folder that `write_geff` would refuse.

    Raises
    ------
    TracksError
        If the package ``geff`` is missing.
    FileFormatError
        If the folder cannot be written.
    """
    _library()
    check_folder(Path(path), _is_ours if overwrite else None)


def read_geff(path: str | os.PathLike[str]) -> Tracks:
    """Read the tracks of a GEFF folder that `write_geff` wrote.

    Raises
    ------
    TracksError
        If the package ``geff`` is missing.
    FileFormatError
        If it cannot be read, or its nodes have no ``track_id``.
    """
    _library()
    from geff.core_io import read_to_memory

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = read_to_memory(Path(path))
        names = [axis.name for axis in content["metadata"].axes or ()]
        props = {key: value["values"] for key, value in content["node_props"].items()}
        ids = props["track_id"]
        columns = [props[name] for name in names]
        nodes = {int(n): i for i, n in enumerate(content["node_ids"])}
        edges = [(nodes[int(a)], nodes[int(b)]) for a, b in content["edge_ids"]]
    except Exception as error:
        raise FileFormatError(
            f"{path} cannot be read as GEFF with a track_id at each node; choose a"
            " folder that was written here."
        ) from error
    graph: dict[int, tuple[int, ...]] = {}
    for a, b in edges:
        if ids[a] != ids[b]:
            daughter = int(ids[b])
            graph[daughter] = (*graph.get(daughter, ()), int(ids[a]))
    return Tracks(ids, columns[0], np.stack(columns[1:], axis=1), graph)


def _edges(tracks: Tracks) -> Any:
    """Return the edges as pairs of nodes, uint64 (M, 2)."""
    is_same = np.diff(tracks.ids) == 0
    follows = np.flatnonzero(is_same)
    edges = [np.column_stack([follows, follows + 1])]
    starts = np.flatnonzero(np.diff(tracks.ids, prepend=-1))
    first = {int(tracks.ids[i]): int(i) for i in starts}
    stops = [*starts[1:], len(tracks.ids)]
    last = {int(tracks.ids[i - 1]): int(i - 1) for i in stops}
    pairs = [
        (last[parent], first[daughter])
        for daughter, parents in tracks.graph.items()
        for parent in parents
    ]
    edges.append(np.array(pairs, np.int64).reshape(-1, 2))
    return np.concatenate(edges).astype(np.uint64)


def _library() -> tuple[Any, Any]:
    try:
        import geff_spec
        from geff.core_io import write_arrays
    except ImportError as error:
        raise TracksError(
            "GEFF needs the package geff, which is not installed; install it with pip"
            ' install "napari-sam[tracks]".'
        ) from error
    return write_arrays, geff_spec


def _is_ours(item: Path) -> bool:
    return item.name in _OURS
