"""Linking: what it makes of true slices, and of everything mode's.

    python benchmarks/linking.py             # stacks, then the time-lapse
    python benchmarks/linking.py --scan      # thresholds, gaps and waists as well
    python benchmarks/linking.py --grow      # linked objects grown as well
    python benchmarks/linking.py --speed     # 200 slices of 1024 x 1024, 1000 objects

True slices are the ground truth, numbered anew in every slice: an upper bound for
linking.  Everything mode segments each slice by itself, with the default model and its
own thresholds; its labels, and embeddings for growing, are kept in --cache.  AP50 is
TP / (TP + FP + FN) at an IoU of 0.5: "2-D" pools the objects of all slices, "3-D"
compares whole volumes.  What 2-D AP allows is the product of the 3-D AP50 of linked
true slices and the 2-D AP50.

Along time the ids of the truth are known, and its divisions are what its ids say: a
track ends, and in the next frame two begin that overlap it or touch it.  TRA and HOTA
come from py-ctcmetrics, if that is installed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import imageio.v3 as iio
import numpy as np
import tifffile
from scipy import ndimage

import napari_sam as ns
from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.metrics import average_precision, overlaps
from napari_sam.core.volumes.linked import Linked, LinkSettings
from napari_sam.core.volumes.linking import link_objects
from napari_sam.core.volumes.matching import best_matching

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
STACKS = {
    "ovule": "plantseg_ovule_cells3d/{}/sample_ovule.tif",
    "wsu": "wsu_chloroplast_em3d_ds4/{}/stack.tif",
    "rgb 0": "plantseg_rgb3d/{}/rgb_3D_0.tif",
    "rgb 1": "plantseg_rgb3d/{}/rgb_3D_1.tif",
}
TIME = "ctc_psc_st_timelapse"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "napari-sam-linking"
    )
    parser.add_argument("--scan", action="store_true")
    parser.add_argument("--grow", action="store_true")
    parser.add_argument("--sets", nargs="+", choices=STACKS, default=list(STACKS))
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    if options.speed:
        speed()
        return
    options.cache.mkdir(exist_ok=True)
    for name in options.sets:
        image, truth = (
            tifffile.imread(options.data / STACKS[name].format(kind))
            for kind in ("images", "masks")
        )
        found = everything(name, image, options.cache)
        stack(name, truth, found, scan=options.scan)
        if options.grow:
            grown(truth, image, found, options.cache)
    if options.grow:
        return
    for seed, height in enumerate(((2.5, 4), (4, 7))):
        drawn = drawn_nuclei(seed, height)
        stack(f"drawn nuclei {seed}", drawn, None, scan=options.scan)
    folder = options.data / TIME
    frames = [np.stack([iio.imread(f) for f in sorted((folder / part).iterdir())])
              for part in ("images", "masks")]  # fmt: skip
    movie(frames[1], everything("psc", frames[0], options.cache), scan=options.scan)


def everything(name: str, image: np.ndarray, cache: Path) -> np.ndarray:
    """Return the labels of each slice, from the cache if they are there."""
    file = cache / f"{name.replace(' ', '')}.npz"
    if not file.exists():
        model = ns.load_model(device="cpu")
        start = perf_counter()
        labels = [ns.segment_everything(p, model=model).to_labels() for p in image]
        seconds = perf_counter() - start
        np.savez_compressed(file, labels=np.stack(labels), seconds=seconds)
    with np.load(file) as content:
        print(
            f"{name}: everything mode {content['seconds'] / len(image):.1f} s a slice"
        )
        return content["labels"]


def drawn_nuclei(
    seed: int, heights: tuple[float, float], shape: tuple[int, ...] = (24, 200, 200)
) -> np.ndarray:
    """Return ellipsoids packed at random, so that many are on top of each other.

    Their half heights are in slices; those in the plane are 8 to 14 pixels.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    nearest = np.full(shape, np.inf)
    placed: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(20_000):
        width = rng.uniform(8, 14) * rng.uniform(0.85, 1.15, 2)
        radii = np.array([rng.uniform(*heights), *width])
        center = rng.uniform(0, 1, 3) * np.array(shape)
        if any(
            (((center - c) / (0.85 * (radii + r))) ** 2).sum() < 1 for c, r in placed
        ):
            continue
        placed.append((center, radii))
        low = np.maximum(np.floor(center - radii).astype(int), 0)
        high = np.minimum(np.ceil(center + radii).astype(int) + 1, shape)
        box = tuple(map(slice, low, high))
        distance = sum(
            ((x - c) / r) ** 2
            for x, c, r in zip(np.ogrid[box], center, radii, strict=True)
        )
        is_mine = (distance < 1) & (distance < nearest[box])
        labels[box][is_mine] = len(placed)
        nearest[box][is_mine] = distance[is_mine]
        if len(placed) == 400:
            break
    return labels


def renumbered(truth: np.ndarray) -> np.ndarray:
    """Return labels that mean nothing beyond their slice."""
    rng = np.random.default_rng(0)
    slices = []
    for image in truth:
        values = np.unique(image)
        numbers = np.append(0, rng.permutation(len(values) - 1) + 1)
        if values[0] != 0:
            numbers = rng.permutation(len(values)) + 1
        slices.append(numbers[np.searchsorted(values, image)])
    return np.stack(slices).astype(np.uint16)


def ap_2d(truth: np.ndarray, found: np.ndarray) -> float:
    """Return TP / (TP + FP + FN) of all slices together."""
    hits = total = 0
    for t, f in zip(truth, found, strict=True):
        table = overlaps(t, f)
        hits += len(best_matching(table, 0.5)[0])
        total += sum(table.shape)
    return hits / (total - hits)


def ap_3d(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return the same of volumes."""
    return float(average_precision(truth, labels, [0.5])[0])


def stack(
    name: str, truth: np.ndarray, found: np.ndarray | None, *, scan: bool
) -> None:
    """Print a table of a stack, whose ids go through z."""
    true_slices = renumbered(truth)
    flat = float("nan") if found is None else ap_2d(truth, found)
    n = len(np.unique(truth[truth > 0]))
    print(
        f"\n{name}: {truth.shape}, {n} objects; 2-D AP50 of everything mode {flat:.3f}"
    )
    print(
        f"{'':34}{'true slices':>12}{'everything':>12}{'objects':>9}"
        f"{'allowed':>9}{'ratio':>7}"
    )
    variants = {
        "default": LinkSettings(),
        "no split": LinkSettings(split=False),
        "overlap only": LinkSettings(ends=False),
        "overlap only, no split": LinkSettings(ends=False, split=False),
        "gap 1": LinkSettings(gap=1),
        "at least 2 slices": LinkSettings(min_extent=2),
        "at least 3 slices": LinkSettings(min_extent=3),
    }
    if scan:
        for iou in (0.1, 0.2, 0.3, 0.4):
            variants[f"IoU {iou}"] = LinkSettings(min_iou=iou)
            variants[f"IoU {iou}, overlap only"] = LinkSettings(min_iou=iou, ends=False)
        for waist in (0.3, 0.5, 0.7, 0.8):
            variants[f"waist {waist}"] = LinkSettings(waist=waist)
    for text, settings in variants.items():
        best = ap_3d(truth, link_objects(true_slices, settings).labels)
        if found is None:
            print(f"{text:34}{best:12.3f}")
            continue
        linked = link_objects(found, settings)
        ours = ap_3d(truth, linked.labels)
        print(
            f"{text:34}{best:12.3f}{ours:12.3f}{len(linked.objects):9}"
            f"{best * flat:9.3f}{ours / (best * flat):7.2f}"
        )


def grown(truth: np.ndarray, image: np.ndarray, found: np.ndarray, cache: Path) -> None:
    """Print what growing makes of linked objects."""
    store = EmbeddingStore(cache / "embeddings")
    engine = Engine(ns.load_model(device="cpu"), store)
    best = ap_3d(truth, link_objects(renumbered(truth)).labels)
    print(f"{'':34}{'linked':>12}{'grown':>12}{'ratio':>9}{'slices':>9}{'CPU s':>7}")
    for extent in (1, 2, 3):
        labels = link_objects(found, LinkSettings(min_extent=extent)).labels
        start = process_time()
        more = ns.grow(image, labels, encode=engine.encode)
        seconds = process_time() - start
        scores = [ap_3d(truth, x) for x in (labels, more)]
        count = sum(len(np.setdiff1d(b, a)) for a, b in zip(labels, more, strict=True))
        print(
            f"{f'at least {extent} slices':34}{scores[0]:12.3f}{scores[1]:12.3f}"
            f"{scores[1] / (best * ap_2d(truth, found)):9.2f}{count:9}{seconds:7.0f}"
        )


def parents(truth: np.ndarray) -> dict[int, tuple[int, ...]]:
    """Return the divisions that the ids of the truth say."""
    spans = ns.Tracks.from_labels(truth).spans()
    graph: dict[int, tuple[int, ...]] = {}
    for frame in range(1, len(truth)):
        ended = [i for i, (_, last) in spans.items() if last == frame - 1]
        begun = [i for i, (first, _) in spans.items() if first == frame]
        for mother in ended:
            near = ndimage.binary_dilation(truth[frame - 1] == mother, iterations=2)
            daughters = [d for d in begun if near[truth[frame] == d].any()]
            if len(daughters) == 2:
                graph |= dict.fromkeys(daughters, (mother,))
    return graph


def movie(truth: np.ndarray, found: np.ndarray, *, scan: bool) -> None:
    """Print a table of a time-lapse, whose ids go through time."""
    graph = parents(truth)
    spans = ns.Tracks.from_labels(truth).spans()
    divisions = len(set(graph.values()))
    print(f"\npsc: {truth.shape}, {len(spans)} tracks, {divisions} divisions;"
          f" 2-D AP50 of everything mode {ap_2d(truth, found):.3f}")  # fmt: skip
    print(f"{'':34}{'tracks':>7}{'links':>12}{'wrong':>7}{'divisions':>10}{'wrong':>7}"
          f"{'TRA':>8}{'DET':>8}{'LNK':>8}{'HOTA':>8}")  # fmt: skip
    variants: dict[str, dict[str, Any]] = {"default": {}}
    variants["no divisions"] = {"divisions": False}
    if scan:
        variants |= {f"IoU {iou}": {"min_iou": iou} for iou in (0.05, 0.2, 0.3, 0.5)}
        variants["gap 1"] = {"gap": 1}
        variants["gap 2"] = {"gap": 2}
        variants["at least 3 frames"] = {"min_extent": 3}
    for kind, labels in (("true frames", renumbered(truth)), ("everything", found)):
        for text, settings in variants.items():
            linked = link_objects(labels, LinkSettings(time=True, **settings))
            right, wrong, total = links(truth, linked.labels)
            good, bad = found_divisions(truth, graph, linked)
            scores = challenge(truth, graph, linked)
            print(f"{kind + ', ' + text:34}{len(linked.objects):7}{right:6}/{total}"
                  f"{wrong:7}{good:7}/{divisions}{bad:7}"
                  + "".join(f"{s:8.3f}" for s in scores))  # fmt: skip


def matched(truth: np.ndarray, labels: np.ndarray) -> list[dict[int, int]]:
    """Return, for each frame, which true id each label is, at an IoU of 0.5."""
    frames = []
    for t, f in zip(truth, labels, strict=True):
        a, b, _ = best_matching(overlaps(t, f), 0.5)
        true_ids, ids = np.unique(t[t > 0]), np.unique(f[f > 0])
        frames.append(dict(zip(ids[b].tolist(), true_ids[a].tolist(), strict=True)))
    return frames


def links(truth: np.ndarray, labels: np.ndarray) -> tuple[int, int, int]:
    """Return links between neighboring frames that are right, wrong, and all true."""
    frames = matched(truth, labels)
    right = wrong = total = 0
    for t in range(len(truth) - 1):
        for i in np.intersect1d(labels[t], labels[t + 1]).tolist():
            if i and i in frames[t] and i in frames[t + 1]:
                is_right = frames[t][i] == frames[t + 1][i]
                right += is_right
                wrong += not is_right
        total += len(np.intersect1d(truth[t], truth[t + 1])) - 1
    return right, wrong, total


def found_divisions(
    truth: np.ndarray, graph: dict[int, tuple[int, ...]], linked: Linked
) -> tuple[int, int]:
    """Return how many divisions are right, to the frame, and how many are not."""
    frames = matched(truth, linked.labels)
    wanted = {
        (mothers[0], tuple(sorted(d for d, m in graph.items() if m == mothers)))
        for mothers in graph.values()
    }
    good = bad = 0
    for event in linked.tracks.events():
        if event.kind != "division":
            continue
        before, after = frames[event.frame], frames[event.frame + 1]
        daughters = tuple(sorted(after.get(d, 0) for d in event.daughters))
        is_right = (before.get(event.track, 0), daughters) in wanted
        good += is_right
        bad += not is_right
    return good, bad


def challenge(
    truth: np.ndarray, graph: dict[int, tuple[int, ...]], linked: Linked
) -> list[float]:
    """Return TRA, DET, LNK and HOTA, if py-ctcmetrics is installed."""
    try:
        from ctc_metrics import evaluate_sequence
    except ImportError:
        return []
    import contextlib
    import io

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        result, gold = Path(folder, "01_RES"), Path(folder, "01_GT", "TRA")
        ns.write_ctc(result, linked.labels, linked.graph)
        gold.parent.mkdir()
        ns.write_ctc(gold, truth, graph)
        for file in list(gold.iterdir()):
            name = file.name.replace("mask", "man_track")
            file.rename(gold / name.replace("res_track", "man_track"))
        scores = evaluate_sequence(
            str(result),
            str(gold.parent),
            metrics=["TRA", "DET", "LNK", "HOTA"],
            threads=1,
        )
    return [float(scores[k]) for k in ("TRA", "DET", "LNK", "HOTA")]


def speed() -> None:
    """Time 200 slices of a thousand objects, which drift."""
    rows, cols = np.mgrid[:1024, :1024]
    slices = np.zeros((200, 1024, 1024), np.uint16)
    for z in range(200):
        r, c = rows + z // 7, cols + z // 5
        number = (r // 32) * 40 + c // 32 + 1
        # Each is there for 20 of 25 slices.
        radius = 15 * np.sin(((z + number * 7) % 25 - 2) / 20 * np.pi)
        is_inside = (r % 32 - 16) ** 2 + (c % 32 - 16) ** 2 < radius * abs(radius)
        slices[z] = np.where(is_inside, number, 0)
    for settings in (LinkSettings(), LinkSettings(gap=1), LinkSettings(time=True)):
        longest = 0.0
        start = last = process_time()
        steps = ns.iter_link(slices, settings)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                linked = end.value
                break
            finally:
                now = process_time()
                longest, last = max(longest, now - last), now
        print(
            f"{process_time() - start:.1f} CPU s, longest step {longest * 1e3:.0f} ms,"
            f" {len(linked.objects)} objects: {settings}"
        )


if __name__ == "__main__":
    main()
