"""One object through a stack: accuracy of propagation beside simpler ways.

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 \
        python benchmarks/volumes.py ../shared/data --sets ovule vnc --starts b c

Starts: (a) one click on the middle slice, (b) its true mask, (c) the true first, middle
and last slice.  Each is measured on at least eight objects of a set, chosen with a
fixed seed among those of four slices or more.  The reference methods run in the same
process on the same embeddings:

copy          the seed on three slices to both sides; *copy, true ends*: on all that the
              object has
box           the box of the last mask, until IoU with it or the score is below 0.5
projection    the last mask and its box, until IoU with it is below 0.5: micro-sam's way
interpolation signed distances only, for (c)
meeting       projections from both prompted slices; the better-scored nearer one wins
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import tifffile
from scipy import ndimage, stats

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.imaging import to_rgb, to_rgb_with_tones
from napari_sam.core.masks import crop_iou
from napari_sam.core.steps import finish
from napari_sam.core.volumes.propagation import (
    PropagatedSlice,
    PropagationSettings,
    Source,
    iter_propagate,
)
from napari_sam.core.volumes.shapes import interpolated
from napari_sam.models import load_model
from napari_sam.models.sam1.fast_decoder import FastDecoder
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from napari_sam.core.model import EncodedPlane

FEWEST = 4  # slices of an object
SMALLEST = 20  # pixels of its middle slice
Found = dict[int, PropagatedSlice]


@dataclass(eq=False)
class Volume:
    """A stack with its true objects, and its planes encoded once."""

    name: str
    planes: np.ndarray
    labels: np.ndarray
    is_time: bool
    engine: Engine

    @cached_property
    def tones(self) -> object:
        """Contrast of the whole stack."""
        return to_rgb_with_tones(self.planes.reshape(-1, self.planes.shape[-1]))[1]

    def iter_encode(self, z: int) -> Generator[None, None, EncodedPlane]:
        """Encode a slice in steps."""
        return (
            yield from self.engine.iter_encode(to_rgb(self.planes[z], tones=self.tones))
        )

    def plane(self, z: int) -> EncodedPlane:
        """Encode a slice."""
        return finish(self.iter_encode(z))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.planes.shape[1:]

    @property
    def limits(self) -> tuple[int, int]:
        """First slice, and one past the last."""
        return 0, len(self.planes)


@dataclass(eq=False)
class Truth:
    """One object of a volume."""

    volume: Volume
    label: int

    @cached_property
    def masks(self) -> dict[int, MaskCrop]:
        """The object in each of its slices."""
        where = ndimage.find_objects((self.volume.labels == self.label).view(np.uint8))[
            0
        ]
        first, last = where[0].start, where[0].stop
        region = Region(where[1].start, where[2].start, where[1].stop, where[2].stop)
        part = self.volume.labels[where] == self.label
        return {
            z: MaskCrop(part[z - first], region).tight()
            for z in range(first, last)
            if part[z - first].any()
        }

    @property
    def start(self) -> tuple[int, int, int]:
        """First, middle and last slice."""
        known = sorted(self.masks)
        return known[0], known[len(known) // 2], known[-1]

    def iou(self, found: Mapping[int, MaskCrop]) -> float:
        """3-D IoU."""
        common = union = 0
        for z in self.masks.keys() | found.keys():
            shared = overlap(self.masks.get(z), found.get(z))
            areas = sum(m.area for m in (self.masks.get(z), found.get(z)) if m)
            common, union = common + shared, union + areas - shared
        return common / max(union, 1)

    def slice_iou(self, z: int, mask: MaskCrop) -> float:
        """IoU in one slice."""
        return crop_iou(self.masks[z], mask) if z in self.masks else 0.0


def overlap(a: MaskCrop | None, b: MaskCrop | None) -> int:
    """Pixels in common."""
    if a is None or b is None:
        return 0
    common = a.region.intersection(b.region)
    if common.is_empty:
        return 0
    parts = [
        m.mask[common.shifted(-m.region.row0, -m.region.col0).slices] for m in (a, b)
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))


def read_set(data: Path, name: str, engine: Engine) -> list[Volume]:
    """Return the volumes of a set; ``-xz`` looks along the second axis."""
    base, _, direction = name.partition("-")
    if base.startswith("psc"):
        folder = data / "ctc_psc_st_timelapse"
        images = sorted((folder / "images").iterdir())[: int(base[3:])]
        masks = sorted((folder / "masks").iterdir())[: len(images)]
        read = [[np.asarray(iio.imread(f)) for f in files] for files in (images, masks)]
        stacks = [(np.stack(read[0]), np.stack(read[1]))]
    else:
        folder = (
            data
            / {
                "wsu": "wsu_chloroplast_em3d_ds4",
                "vnc": "vnc_em_mito3d",
                "ovule": "plantseg_ovule_cells3d",
                "rgb3d": "plantseg_rgb3d",
            }[base]
        )
        stacks = [
            (tifffile.imread(f), tifffile.imread(folder / "masks" / f.name))
            for f in sorted((folder / "images").iterdir())
        ]
    axis = 1 if direction == "xz" else 0
    return [
        Volume(
            name,
            np.moveaxis(image, axis, 0),
            np.moveaxis(labels, axis, 0),
            base.startswith("psc"),
            engine,
        )
        for image, labels in stacks
    ]


def choose(volumes: list[Volume], count: int, seed: int) -> list[Truth]:
    """Return objects of enough slices, the same for the same seed."""
    usable = []
    for volume in volumes:
        for label in np.unique(volume.labels)[1:]:
            truth = Truth(volume, int(label))
            slices = sorted(truth.masks)
            is_whole = slices[-1] - slices[0] + 1 == len(slices)
            if (
                is_whole
                and len(slices) >= FEWEST
                and truth.masks[truth.start[1]].area >= SMALLEST
            ):
                usable.append(truth)
    order = np.random.default_rng(seed).permutation(len(usable))
    return [usable[i] for i in sorted(order[:count])]


# Ways to propagate: each returns what it found, prompted slices left out.


def ours(
    truth: Truth,
    seeds: Mapping[int, MaskCrop],
    limits: tuple[int, int] | None = None,
    find_ends: bool = True,
) -> Found:
    """Return what the program finds."""
    volume = truth.volume
    steps = iter_propagate(
        volume.iter_encode,
        seeds,
        limits or volume.limits,
        volume.shape,
        PropagationSettings(time=volume.is_time, find_ends=find_ends),
    )
    return {s.position: s for s in steps if s is not None}


def kept(found: Mapping[int, PropagatedSlice]) -> dict[int, MaskCrop]:
    """Return what would be written: no ghosts."""
    return {z: s.mask for z, s in found.items() if not s.is_ghost}


def run_out(
    truth: Truth,
    seeds: Mapping[int, MaskCrop],
    ask: Callable[[EncodedPlane, MaskCrop], tuple[MaskCrop, float]],
    least: float,
    until: Callable[[int, int], bool] = lambda z, start: True,
) -> Found:
    """Go outward from each seed, from mask to mask."""
    found: Found = {}
    first, stop = truth.volume.limits
    for start, seed in seeds.items():
        for step in (-1, 1):
            last, z = seed, start + step
            while first <= z < stop and z not in seeds and until(z, start):
                mask, score = ask(truth.volume.plane(z), last)
                if mask.region.is_empty or crop_iou(mask, last) < 0.5 or score < least:
                    break
                one = PropagatedSlice(z, mask, score / abs(z - start), Source.MODEL)
                if z not in found or found[z].confidence < one.confidence:
                    found[z] = one
                last, z = mask, z + step
    return found


def box_of(mask: MaskCrop) -> tuple[float, ...]:
    """Tight box."""
    r = mask.tight().region
    return r.row0 - 0.5, r.col0 - 0.5, r.row1 - 0.5, r.col1 - 0.5


def by_box(plane: EncodedPlane, last: MaskCrop) -> tuple[MaskCrop, float]:
    """Ask with the box of the last mask."""
    result = plane.predict(box=box_of(last))
    return result.crop(), result.score


def by_mask(plane: EncodedPlane, last: MaskCrop) -> tuple[MaskCrop, float]:
    """Ask with the last mask and its box."""
    mask = last.full(plane.frame.image_size)
    result = plane.predict(box=box_of(last), mask=mask)
    return result.crop(), result.score


def box(truth: Truth, seeds: Mapping[int, MaskCrop]) -> Found:
    """Plain way."""
    return run_out(truth, seeds, by_box, 0.5)


def projection(truth: Truth, seeds: Mapping[int, MaskCrop]) -> Found:
    """micro-sam's way."""
    return run_out(truth, seeds, by_mask, -1.0)


def copied(
    truth: Truth, seeds: Mapping[int, MaskCrop], positions: Iterable[int]
) -> Found:
    """Put the seed on other slices."""
    ((start, seed),) = seeds.items()
    first, stop = truth.volume.limits
    return {
        z: PropagatedSlice(z, seed, 1.0, Source.INTERPOLATED)
        for z in positions
        if z != start and first <= z < stop
    }


def interpolation(truth: Truth, seeds: Mapping[int, MaskCrop]) -> Found:
    """Signed distances only."""
    found: Found = {}
    known = sorted(seeds)
    for below, above in itertools.pairwise(known):
        for z in range(below + 1, above):
            share = (z - below) / (above - below)
            mask = interpolated(seeds[below], seeds[above], share)
            found[z] = PropagatedSlice(z, mask, 1.0, Source.INTERPOLATED)
    return found


class Decodings:
    """Counts what the decoder is asked."""

    def __init__(self) -> None:
        self.count = 0
        decode = FastDecoder.decode

        def counted(*args: object, **more: object) -> object:
            self.count += 1
            return decode(*args, **more)

        FastDecoder.decode = counted


@dataclass(eq=False)
class Scores:
    """What is measured of one method on one set."""

    ious: list[float]
    hits: int = 0
    wrong: int = 0
    missed: int = 0
    seconds: float = 0.0
    decodings: int = 0
    slices: int = 0

    def add(
        self, truth: Truth, seeds: Mapping[int, MaskCrop], found: dict[int, MaskCrop]
    ) -> None:
        """Count one object."""
        self.ious.append(truth.iou({**seeds, **found}))
        true = truth.masks.keys() - seeds.keys()
        self.hits += len(true & found.keys())
        self.wrong += len(found.keys() - true)
        self.missed += len(true - found.keys())

    @property
    def row(self) -> str:
        """One line of the table."""
        ious = np.array(self.ious)
        precision = self.hits / max(1, self.hits + self.wrong)
        recall = self.hits / max(1, self.hits + self.missed)
        per = max(1, self.slices)
        return (
            f"{ious.mean():8.3f}{(ious > 0.5).mean():7.2f}{precision:7.2f}{recall:7.2f}"
            f"{self.seconds / per:8.2f}{self.decodings / per:8.2f}"
        )


def seeds_of(truth: Truth, start: str) -> dict[int, MaskCrop]:
    """Return the prompted slices of a start."""
    first, middle, last = truth.start
    if start == "a":
        mask = truth.masks[middle]
        depth = ndimage.distance_transform_edt(np.pad(mask.mask, 1))[1:-1, 1:-1]
        row, col = np.unravel_index(np.argmax(depth), depth.shape)
        click = row + mask.region.row0, col + mask.region.col0
        found = truth.volume.plane(middle).predict(points=[click]).crop()
        return {middle: found} if found.area else {middle: mask}
    return {
        z: truth.masks[z]
        for z in ((middle,) if start == "b" else (first, middle, last))
    }


def ways(start: str) -> dict[str, Callable[..., dict[int, MaskCrop]]]:
    """Return the methods that are compared for a start."""

    def true_ends(way: Callable[..., Found]) -> Callable[..., dict[int, MaskCrop]]:
        def within(truth: Truth, seeds: Mapping[int, MaskCrop]) -> dict[int, MaskCrop]:
            return {z: s.mask for z, s in way(truth, seeds).items() if z in truth.masks}

        return within

    def followed(truth: Truth, seeds: Mapping[int, MaskCrop]) -> Found:
        first, _, last = truth.start
        return ours(truth, seeds, find_ends=False, limits=(first, last + 1))

    both = {
        "ours": lambda t, s: kept(ours(t, s)),
        "ours, true ends": lambda t, s: kept(followed(t, s)),
    }
    if start == "c":
        return {
            "ours": lambda t, s: kept(followed(t, s)),
            "interpolation": lambda t, s: kept(interpolation(t, s)),
            "meeting runs": true_ends(projection),
        }
    return {
        **both,
        "box": lambda t, s: kept(box(t, s)),
        "box, true ends": true_ends(box),
        "projection": lambda t, s: kept(projection(t, s)),
        "copy": lambda t, s: kept(copied(t, s, range(min(s) - 3, min(s) + 4))),
        "copy, true ends": lambda t, s: kept(copied(t, s, t.masks)),
    }


def confidences(
    truths: list[Truth], start: str, limit_to_truth: bool
) -> tuple[float, ...]:
    """Return how confidence and distance tell the worst slice.

    Returns
    -------
    tuple of float
        Share of objects of five slices or more whose worst slice is among the three
        least sure, and mean rank correlation with the true IoU within the object; the
        same of the distance to the nearest prompted slice alone; number of objects.
    """
    among: dict[str, list[float]] = defaultdict(list)
    ranks: dict[str, list[float]] = defaultdict(list)
    for truth in truths:
        seeds = seeds_of(truth, start)
        first, _, last = truth.start
        limits = (first, last + 1) if limit_to_truth else truth.volume.limits
        found = ours(truth, seeds, limits=limits, find_ends=not limit_to_truth)
        slices = [s for s in found.values() if not s.is_ghost]
        if len(slices) < 5:
            continue
        true = np.array([truth.slice_iou(s.position, s.mask) for s in slices])
        signals = {
            "confidence": np.array([s.confidence for s in slices]),
            "distance": np.array(
                [-min(abs(s.position - z) for z in seeds) for s in slices], float
            ),
        }
        for name, signal in signals.items():
            # Ties count as the share of their orders in which the worst comes early.
            worst = int(np.argmin(true))
            lower = int(np.count_nonzero(signal < signal[worst]))
            equal = int(np.count_nonzero(signal == signal[worst]))
            among[name].append(min(1.0, max(0, 3 - lower) / equal))
            if np.ptp(true) > 0 and np.ptp(signal) > 0:
                ranks[name].append(stats.spearmanr(signal, true).statistic)
    if not among:
        return (np.nan,) * 4 + (0,)
    return (
        float(np.mean(among["confidence"])),
        float(np.mean(ranks["confidence"])),
        float(np.mean(among["distance"])),
        float(np.mean(ranks["distance"])),
        len(among["confidence"]),
    )


def corrections(truth: Truth, way: str, most: int = 8) -> int:
    """Return how many corrections an annotator makes until 3-D IoU is above 0.8.

    He begins with the true middle slice.  With ours he corrects the least sure slice,
    ghosts included; with micro-sam's projection, which has no confidence, the one that
    is farthest from all prompted slices.  Where the object is not, he says so, and
    nothing is looked for beyond.
    """
    middle = truth.start[1]
    seeds = {middle: truth.masks[middle]}
    first, stop = truth.volume.limits
    for count in range(most):
        if way == "ours":
            found = ours(truth, seeds, limits=(first, stop))
        else:
            found = {
                z: s for z, s in projection(truth, seeds).items() if first <= z < stop
            }
            for z in (min([*found, *seeds]) - 1, max([*found, *seeds]) + 1):
                if first <= z < stop:
                    ghost = MaskCrop(np.zeros((0, 0), bool), Region(0, 0, 0, 0))
                    found[z] = PropagatedSlice(z, ghost, 0.0, Source.MODEL, True)
            found = {
                z: replace(s, confidence=-min(abs(z - k) for k in seeds))
                for z, s in found.items()
            }
        if truth.iou({**kept(found), **seeds}) > 0.8:
            return count
        if not found:
            return most
        z = min(found.values(), key=lambda s: s.confidence).position
        if z in truth.masks:
            seeds[z] = truth.masks[z]
        elif z < middle:
            first = z + 1
        else:
            stop = z
    return most


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--sets",
        nargs="+",
        default=["wsu", "vnc", "ovule", "rgb3d", "rgb3d-xz", "psc12"],
    )
    parser.add_argument("--starts", nargs="*", default=["b", "c"], choices=list("abc"))
    parser.add_argument("--ways", nargs="+", help="only these, by their names")
    parser.add_argument("--objects", type=int, default=8, help="of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--confidence", action="store_true")
    parser.add_argument("--annotator", action="store_true")
    parser.add_argument("--model", default="mobile-sam-microscopy")
    parser.add_argument("--store", type=Path, help="keep embeddings here for next time")
    options = parser.parse_args()
    decodings = Decodings()
    store = EmbeddingStore(
        ram_bytes=2 << 30,
        **({"disk_bytes": 0} if options.store is None else {"folder": options.store}),
    )
    engine = Engine(load_model(options.model), store, live=100, live_bytes=3 << 30)
    print(
        f"{'set':10}{'start':6}{'method':18}{'IoU':>8}{'SA50':>7}{'prec.':>7}{'recall':>7}"
        f"{'s/slice':>8}{'decode':>8}"
    )
    for name in options.sets:
        truths = choose(
            read_set(options.data, name, engine), options.objects, options.seed
        )
        for start in options.starts:
            results = {
                w: Scores([])
                for w in ways(start)
                if not options.ways or w in options.ways
            }
            for truth in truths:
                seeds = seeds_of(truth, start)
                for way, scores in results.items():
                    run = ways(start)[way]
                    if truth is truths[0]:
                        run(truth, seeds)  # encodes the views that it wants
                    begin, count = time.perf_counter(), decodings.count
                    found = run(truth, seeds)
                    if truth is truths[0]:
                        scores.seconds = time.perf_counter() - begin
                        scores.decodings = decodings.count - count
                        scores.slices = len(found)
                    scores.add(truth, seeds, found)
            for way, scores in results.items():
                print(f"{name:10}{start:6}{way:18}{scores.row}", flush=True)
            if options.confidence:
                for text, limited in (("own ends", False), ("true ends", True)):
                    if start == "c" and not limited:
                        continue
                    among, rank, far, far_rank, count = confidences(
                        truths, start, limited
                    )
                    print(
                        f"{name:10}{start:6}confidence, {text}: in three {among:.2f}"
                        f" (distance {far:.2f}), Spearman {rank:.2f}"
                        f" (distance {far_rank:.2f}), {count} objects",
                        flush=True,
                    )
        if options.annotator:
            counts = {
                w: [corrections(t, w) for t in truths] for w in ("ours", "projection")
            }
            print(
                f"{name:10}corrections: ours {np.mean(counts['ours']):.2f}, projection"
                f" {np.mean(counts['projection']):.2f}  {counts}",
                flush=True,
            )


if __name__ == "__main__":
    main()
