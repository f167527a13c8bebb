"""Tracks in the form of the Cell Tracking Challenge.

A folder with a 16-bit label image for each frame and a text file with a line
``L B E P`` for each track: its label, first and last frame, and its parent or 0
(https://celltrackingchallenge.net, "Naming and file content conventions").  Results
are ``mask000.tif`` and ``res_track.txt``, gold truth ``man_track000.tif`` and
``man_track.txt``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_sam.core.atomic import check_folder, replacing_folder
from napari_sam.core.volumes.label_stack import LabelStack
from napari_sam.core.volumes.tracks import Tracks
from napari_sam.errors import FileFormatError, TracksError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_MOST = np.iinfo(np.uint16).max
_OURS = re.compile(r"mask\d{3,}\.tif|res_track\.txt")
_FORMS = {"res_track.txt": "mask", "man_track.txt": "man_track"}


def write_ctc(
    path: str | os.PathLike[str],
    labels: npt.NDArray[Any],
    graph: Mapping[int, tuple[int, ...]] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write labels and their tracks as a result of the Cell Tracking Challenge.

    The form knows no gaps: a track that is missing in some frames becomes several, each
    the parent of the next.  The folder is complete or is not there.

    Parameters
    ----------
    path : path
        A folder, which is made.
    labels : integer array (T, H, W) or (T, Z, H, W)
        Ids through time; 0 is background.
    graph : dict of int to tuple of int, optional
        The parent of each daughter.
    overwrite : bool
        Whether a result that is there is replaced; other files never are.

    Raises
    ------
    TracksError
        If there are more than 65,535 tracks, an id is larger, or a track has several
        parents.
    LabelsError
        If the labels are no stack of frames.
    FileFormatError
        If the folder cannot be written, or holds other files.
    """
    tracks = Tracks.from_labels(labels, graph)
    rows, pieces = _lines(tracks)
    check_ctc_folder(path, overwrite=overwrite)
    n_digits = max(3, len(str(len(labels) - 1)))
    with replacing_folder(path, _is_ours if overwrite else None) as aside:
        for frame, image in enumerate(labels):
            written = np.asarray(image).astype(np.uint16)
            for old, (new, first, last) in pieces:
                if first <= frame <= last:
                    written[image == old] = new
            tifffile.imwrite(
                aside / f"mask{frame:0{n_digits}}.tif",
                written,
                compression="zlib",
                photometric="minisblack",
            )
        text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
        (aside / "res_track.txt").write_text(text)


def check_ctc_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse, before long work, a folder that `write_ctc` would refuse."""
    check_folder(Path(path), _is_ours if overwrite else None)


def read_ctc(path: str | os.PathLike[str]) -> tuple[npt.NDArray[np.uint16], Tracks]:
    """Read a folder of the Cell Tracking Challenge, a result or gold truth.

    Parameters
    ----------
    path : path
        The folder with ``res_track.txt`` or ``man_track.txt``.

    Returns
    -------
    labels : uint16 array (T, H, W) or (T, Z, H, W)
        Ids through time.
    tracks : Tracks
        With the parents in its graph.

    Raises
    ------
    FileFormatError
        If a file is missing or damaged, or the text does not fit the images.
    """
    folder = Path(path)
    name = next((n for n in _FORMS if (folder / n).is_file()), None)
    if name is None:
        raise FileFormatError(
            f"{folder} holds neither res_track.txt nor man_track.txt; choose a folder"
            " of the Cell Tracking Challenge."
        )
    pattern = re.compile(rf"{_FORMS[name]}(\d+)\.tif")
    found = {
        int(match[1]): file
        for file in folder.iterdir()
        if (match := pattern.fullmatch(file.name))
    }
    if sorted(found) != list(range(len(found))) or not found:
        raise FileFormatError(
            f"{folder} holds {len(found)} images {_FORMS[name]}NNN.tif that do not"
            " count from 000 without a gap; get the missing ones."
        )
    frames = []
    for frame in range(len(found)):
        try:
            image = tifffile.imread(found[frame])
        except Exception as error:
            # tifffile and its codecs fail in ways of their own.
            raise FileFormatError(
                f"{found[frame]} cannot be read; get it from a backup."
            ) from error
        frames.append(image)
    stack = LabelStack(frames, volumes=True)
    labels = np.stack([stack[index] for index in range(len(stack))])
    return labels.astype(np.uint16), Tracks.from_labels(
        labels, _parents(folder / name, labels)
    )


def _lines(
    tracks: Tracks,
) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, tuple[int, int, int]]]]:
    """Return the lines of the text, and the tracks' parts under another id.

    Returns
    -------
    rows : list of (label, begin, end, parent)
    pieces : list of (old id, (new id, first frame, last frame))
    """
    for daughter, parents in tracks.graph.items():
        if len(parents) > 1:
            raise TracksError(
                f"Track {daughter} has the parents {', '.join(map(str, parents))}, and"
                " the Cell Tracking Challenge knows one; remove the others."
            )
    rows: list[tuple[int, int, int, int]] = []
    pieces: list[tuple[int, tuple[int, int, int]]] = []
    last_part: dict[int, int] = {}
    next_id = int(tracks.ids.max(initial=0)) + 1
    # Mothers end before their daughters begin, so they are met first.
    spans = tracks.spans()
    for track in sorted(spans, key=lambda t: spans[t]):
        frames = tracks.frames[tracks.ids == track]
        parents = tracks.graph.get(track, ())
        parent = last_part[parents[0]] if parents else 0
        number = track
        for run in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1):
            first, last = int(run[0]), int(run[-1])
            if number != track:
                pieces.append((track, (number, first, last)))
            rows.append((number, first, last, parent))
            parent = last_part[track] = number
            number, next_id = next_id, next_id + 1
        next_id -= 1
    if max((row[0] for row in rows), default=0) > _MOST:
        raise TracksError(
            f"The ids go up to {max(row[0] for row in rows)}, and the Cell Tracking"
            f" Challenge has 16 bits, up to {_MOST}; renumber them, or export as GEFF."
        )
    return sorted(rows), pieces


def _parents(file: Path, labels: npt.NDArray[Any]) -> dict[int, tuple[int, ...]]:
    """Return the graph in a text file, which has to fit the labels."""
    graph: dict[int, tuple[int, ...]] = {}
    spans = Tracks.from_labels(labels).spans()
    try:
        rows = [tuple(map(int, line.split())) for line in _text(file) if line.strip()]
    except ValueError:
        rows = [()]
    for row in rows:
        if len(row) != 4:
            raise FileFormatError(
                f"{file} holds a line that is not four numbers, L B E P; correct it."
            )
        track, first, last, parent = row
        if spans.get(track) != (first, last):
            raise FileFormatError(
                f"{file} has the track {track} from frame {first} to {last}, and the"
                f" images {_from_to(spans.get(track))}; correct one of them."
            )
        if parent:
            graph[track] = (parent,)
    missing = sorted(set(spans) - {row[0] for row in rows})
    if missing:
        raise FileFormatError(
            f"{file} has no line for the track {missing[0]}, which is in the images;"
            " add it."
        )
    return graph


def _text(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"{file} cannot be read ({error}); get it from a backup."
        ) from error


def _from_to(span: tuple[int, int] | None) -> str:
    return "do not have it" if span is None else f"from {span[0]} to {span[1]}"


def _is_ours(item: Path) -> bool:
    return item.is_file() and _OURS.fullmatch(item.name) is not None
