"""Find which image belongs to which ground truth."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.core.metrics import split_of
from napari_sam.errors import DataError
from napari_sam.training.data.coco import CocoImage, read_annotations

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import Literal

LABEL_SUFFIXES = ("cp_masks", "masks", "mask", "labels", "label", "seg", "gt")
"""What may follow the image's name in that of its label image, after ``_`` or ``-``."""

_LABEL_FOLDERS = ("masks", "labels")
_NOT_IMAGES = (".txt", ".csv", ".md", ".json", ".xml", ".yaml", ".yml", ".db", ".ini")


@dataclass(frozen=True, slots=True)
class Source:
    """Where images with ground truth are.

    Parameters
    ----------
    path : path
        With ``labels``, the folder of the images.  Without, one of:

        * a folder with the folders ``images`` and ``masks`` (or ``labels``);
        * a COCO or SA-1B JSON file, with the images beside it or in ``images``;
        * a folder with such files, for example SA-1B's ``sa_1.jpg``, ``sa_1.json``.
    labels : path, optional
        A folder of label images, paired by name with the images, or a COCO file.
    name : str
        For tables; that of the folder or file by default.
    is_whole : bool
        Never divided into a training and a validation part: all of it is in
        whichever split is asked for.
    """

    path: str | os.PathLike[str]
    labels: str | os.PathLike[str] | None = None
    name: str = ""
    is_whole: bool = False


SourceLike = str | os.PathLike[str] | Source


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that cannot be used, and why.

    Parameters
    ----------
    name : str
        The file's name, ``stem/3`` for the fourth plane of a stack.
    reason : str
        A clause without a final stop.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Pair:
    """An image file and its ground truth.

    Parameters
    ----------
    source : str
        Name of the source.
    name : str
        The image's file name without suffix.
    image : Path
        The image; may be a stack.
    truth : Path or CocoImage
        A label image, or outlines to be filled.
    """

    source: str
    name: str
    image: Path
    truth: Path | CocoImage


def as_sources(sources: SourceLike | Iterable[SourceLike]) -> list[Source]:
    """Return sources with names of their own.

    Raises
    ------
    DataError
        If there is none, or one is not there.
    """
    if isinstance(sources, str | os.PathLike | Source):
        sources = [sources]
    found = [s if isinstance(s, Source) else Source(Path(s)) for s in sources]
    if not found:
        raise DataError(
            "There is no source; give a folder with the folders images and masks."
        )
    named: list[Source] = []
    for source in found:
        for path in (source.path, source.labels):
            if path is not None and not Path(path).exists():
                raise DataError(f"There is no file or folder {path}; check the path.")
        # "." and ".." have no name before they are resolved.
        name = source.name or Path(source.path).resolve().stem
        if name in {s.name for s in named}:
            name = str(source.path)
        named.append(Source(source.path, source.labels, name, source.is_whole))
    return named


def find_pairs(
    source: Source, split: Literal["train", "val"] | None = None
) -> tuple[list[Pair], list[Problem]]:
    """Return the images of a source with their ground truth, and what has none.

    Parameters
    ----------
    source : Source
        From :func:`as_sources`.
    split : {"train", "val"}, optional
        Only images whose name belongs to that part
        (:func:`napari_sam.core.metrics.split_of`); all by default, and of a
        source that is whole.

    Returns
    -------
    pairs : list of Pair
        In the order of their names.
    problems : list of Problem
        Images without labels, labels without image, names that are not unique,
        unreadable annotation files.

    Raises
    ------
    DataError
        If the source is not of any kind that can be read.
    """
    images, labels = _places(source)
    if isinstance(labels, list):
        pairs, problems = _from_annotations(source, images, labels)
    else:
        pairs, problems = _from_folders(source, images, labels)
    if split is not None and not source.is_whole:
        pairs = [p for p in pairs if split_of(p.name) == split]
        problems = [p for p in problems if split_of(p.name) == split]
    return pairs, problems


def _places(source: Source) -> tuple[Path, Path | list[Path]]:
    """Return the images' folder, and the labels' folder or annotation files."""
    path = Path(source.path)
    if source.labels is not None:
        labels = Path(source.labels)
        if not path.is_dir():
            raise DataError(f"{path} is a file; give the folder of the images.")
        if labels.is_dir():
            return path, labels
        if labels.suffix.lower() == ".json":
            return path, [labels]
        raise DataError(
            f"{labels} is neither a folder of label images nor a JSON file with"
            " annotations; give one of these."
        )
    if not path.is_dir():
        if path.suffix.lower() == ".json":
            return path.parent, [path]
        raise DataError(
            f"{path} is a file; give a folder with the folders images and masks, or"
            " an annotation file in COCO's JSON format."
        )
    for name in _LABEL_FOLDERS:
        if (path / "images").is_dir() and (path / name).is_dir():
            return path / "images", path / name
    files = sorted(f for f in path.iterdir() if f.suffix.lower() == ".json")
    if files:
        return path, files
    raise DataError(
        f"{path} has no folders images and masks and no annotation file (.json);"
        " arrange it so, or give the two folders."
    )


def _from_folders(
    source: Source, images: Path, labels: Path
) -> tuple[list[Pair], list[Problem]]:
    found, problems = _by_name(images)
    named, more = _by_name(labels, known=found.keys())
    problems += more
    pairs: list[Pair] = []
    for name in sorted(found.keys() | named.keys()):
        image, truth = found.get(name, []), named.get(name, [])
        twice = image if len(image) > 1 else truth
        if not truth:
            problems.append(Problem(name, f"no label image in {labels.name}"))
        elif not image:
            problems.append(Problem(name, f"no image in {images.name}"))
        elif len(twice) > 1:
            files = " and ".join(f.name for f in twice)
            problems.append(Problem(name, f"both {files} have this name"))
        else:
            pairs.append(Pair(source.name, name, image[0], truth[0]))
    return pairs, sorted(problems, key=lambda p: p.name)


def _by_name(
    folder: Path, known: Collection[str] | None = None
) -> tuple[dict[str, list[Path]], list[Problem]]:
    """Return the files of a folder by name; of label images by that of the image."""
    files: dict[str, list[Path]] = {}
    problems: list[Problem] = []
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() in _NOT_IMAGES:
            continue
        if file.is_dir():
            problems.append(Problem(file.name, f"a folder inside {folder.name}"))
            continue
        name = file.stem.removesuffix(".ome")
        if known is not None and name not in known:
            name = _without_suffix(name)
        files.setdefault(name, []).append(file)
    return files, problems


def _without_suffix(name: str) -> str:
    for suffix in LABEL_SUFFIXES:
        for sign in "_-":
            if name.lower().endswith(sign + suffix):
                return name[: -len(suffix) - 1]
    return name


def _from_annotations(
    source: Source, folder: Path, files: Sequence[Path]
) -> tuple[list[Pair], list[Problem]]:
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for file in files:
        try:
            annotated = read_annotations(file)
        except DataError as error:
            problems.append(Problem(file.stem, str(error)))
            continue
        for file_name, truth in annotated:
            # File names from other systems, and paths from other computers.
            name = file_name.replace("\\", "/")
            relative = Path(name).name if Path(name).is_absolute() else name
            places = [folder / relative, folder / "images" / relative]
            places += [p.parent / Path(relative).name for p in places]
            image = next((p for p in places if p.is_file()), None)
            if image is None:
                problems.append(Problem(Path(name).stem, f"no image {name}"))
            else:
                pairs.append(Pair(source.name, image.stem, image, truth))
    pairs.sort(key=lambda p: p.name)
    return pairs, problems
