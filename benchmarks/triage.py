"""How fast a thousand proposals follow a threshold, and what they cost in memory.

Needs a display (``xvfb-run -a -s "-screen 0 1600x1000x24" python
benchmarks/triage.py``).  Moves the score threshold over drawn proposals on a 2048²
plane in the real window.  "Ours" is the processor time of the whole change without that
of napari refreshing its layer.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from typing import Any

import numpy as np
from napari.layers import Labels
from skimage.draw import ellipse

from gui import Bare, OwnCalls, Watchdog, Window, cells, pump
from napari_sam.core.everything.proposals import Proposals
from napari_sam.core.everything.selection import Candidates, Thresholds, as_box
from napari_sam.core.rle import RunLengths
from napari_sam.types import MaskCrop, Progress
from napari_sam.viewer.everything import search


def drawn(count: int, side: int, seed: int = 0) -> Proposals:
    """Return proposals like cells: on a jittered grid, touching their neighbors."""
    rng = np.random.default_rng(seed)
    across = int(np.ceil(np.sqrt(count)))
    step = side / across
    masks = []
    for number in range(count):
        row, column = divmod(number, across)
        center = (np.array([row, column]) + 0.5 + rng.uniform(-0.2, 0.2, 2)) * step
        radii = rng.uniform(0.3, 0.6, 2) * step
        rows, columns = ellipse(*center, *radii, shape=(side, side))
        full = np.zeros((int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1), bool)
        full[rows - rows.min(), columns - columns.min()] = True
        crop = MaskCrop.from_full(full)
        region = crop.region.shifted(int(rows.min()), int(columns.min()))
        masks.append(MaskCrop(crop.mask, region))
    return Proposals.from_candidates(
        Candidates(
            score=rng.uniform(0.6, 1, count).astype(np.float32),
            stability=rng.uniform(0.8, 1, count).astype(np.float32),
            area=np.array([m.area for m in masks], np.int64),
            box=np.array([as_box(m.region) for m in masks], np.int32),
            point=np.array([m.region.shape for m in masks], np.float32),
            crop=np.zeros(count, np.int32),
            masks=tuple(RunLengths.encode(m) for m in masks),
        ),
        Thresholds(min_score=0.6, min_stability=0.8),
        shape=(side, side),
    )


class NapariTime:
    """Sums up what refreshing Labels layers takes."""

    def __init__(self) -> None:
        self.spent = 0.0
        refresh = Labels.refresh

        def timed(layer: Labels, *args: Any, **options: Any) -> None:
            start = time.thread_time()
            try:
                refresh(layer, *args, **options)
            finally:
                self.spent += time.thread_time() - start

        Labels.refresh = timed


def ended(count: int, side: int) -> None:
    """Print the longest gap when a search ends, beside napari's own."""
    # Before any window: callbacks are known by their names.
    found, own = drawn(count, side), OwnCalls()
    print(f"longest gaps of the event loop, ms, {len(found)} masks on {side}²")
    for _ in range(2):
        print(
            f"  napari alone: a Labels layer is added, then filled {alone(found):8.1f}"
        )
        longest = searched(found, own)
        print(
            f"  everything mode, from its start to its end         {longest:8.1f}"
            f"   our longest call {own.longest:.1f}"
        )


def alone(found: Proposals) -> float:
    """Return the longest gap when napari shows as many objects."""
    bare = Bare(cells(found.shape[0]))
    values = (found.to_labels() % 21).astype(np.uint8)

    def act() -> None:
        pump(0.2)
        layer = bare.viewer.add_labels(np.zeros(found.shape, np.uint8))
        pump(1.0)
        layer.data[...] = values
        layer.refresh(extent=False, thumbnail=False, highlight=False)
        pump(1.0)

    _, longest = Watchdog().measure(act)
    bare.close()
    return longest


def searched(found: Proposals, own: OwnCalls) -> float:
    """Return the longest gap when a search finds these; no model is asked."""
    window = Window(cells(found.shape[0]))
    controller = window.controller
    pump(120.0, window.ready)
    pump(2.0)

    def instead(planes: Any, wanted: Any, *_: Any) -> Any:
        yield Progress(0, 1, "searching")
        time.sleep(0.5)
        yield wanted[0], found

    before, search.search_planes = search.search_planes, instead

    def act() -> None:
        pump(0.2)
        controller.segment_plane()
        pump(30.0, lambda: bool(controller.everything.found))
        pump(1.0)

    own.longest = 0.0
    _, longest = Watchdog().measure(act)
    search.search_planes = before
    window.close()
    return longest


def moved(count: int, side: int, moves: int) -> None:
    """Print milliseconds of each kind of move."""
    window = Window(cells(side))
    controller = window.controller
    pump(120.0, window.ready)
    plane = controller.context.plane
    found = drawn(count, side)
    napari = NapariTime()

    def move(least: float) -> tuple[float, float]:
        napari.spent = 0.0
        start = time.thread_time()
        controller.change_settings(min_score=least)
        whole = time.thread_time() - start
        pump(0.3)
        return 1e3 * (whole - napari.spent), 1e3 * napari.spent

    start = time.thread_time()
    napari.spent = 0.0
    controller.everything.restore(plane, found, confident=False, offered=False)
    first = time.thread_time() - start
    print(
        f"{len(found)} proposals on {side}², processor time in ms: ours, its refresh\n"
        f"  shown for the first time {1e3 * (first - napari.spent):14.1f}"
        f" {1e3 * napari.spent:8.1f}"
    )
    pump(1.0)
    rng = np.random.default_rng(1)
    small = np.cumsum(rng.choice([-0.01, 0.01], moves)) + 0.8
    large = np.tile([0.6, 0.99], moves // 2 + 1)[:moves]
    rows = {"a step of 0.01": small, "from one end to the other": large}
    for name, values in rows.items():
        spent = np.array([move(float(v)) for v in values])
        ours, refresh = np.median(spent, axis=0)
        print(
            f"  {name:24s} {ours:14.1f} {refresh:8.1f}   longest of ours "
            f"{spent[:, 0].max():.1f}"
        )
    controller.everything.discard()
    # Traced by itself: tracing takes several times what is traced.
    tracemalloc.start()
    controller.everything.restore(plane, found, confident=False, offered=False)
    for value in (0.99, 0.6):
        move(value)
    size, peak = (x / 2**20 for x in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    print(f"  memory, MiB: {size:.0f} kept, {peak:.0f} at most")
    window.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--moves", type=int, default=12)
    options = parser.parse_args()
    ended(options.count, options.side)
    moved(options.count, options.side, options.moves)


if __name__ == "__main__":
    main()
