"""Count what a hand does to label objects through a stack, followed or not.

``xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/stack_actions.py`` drives
the real window on ten slices of the sample *ovule*, and prints clicks, keys, seconds:

- one object, clicked on every slice, and followed (Shift+T);
- all objects of a slice, clicked on every slice, and followed at once.

Every slice is encoded before.  Seconds are those of the program, with no hand that has
to aim: from the first press to the pixels in the labels.  Where to click, and on which
slices, is read from what following finds, so both ways label the same.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from functools import partial
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from scipy import ndimage

from gui import Window, pump
from napari_sam import samples

if TYPE_CHECKING:
    from collections.abc import Callable

MIDDLE, FIRST, LAST = 16, 12, 21
MASK_STRIDE = (72, 27)
SHIFT, NONE = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.NoModifier


@dataclass
class Count:
    """What was done, and how long it took."""

    clicks: int = 0
    keys: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        actions = self.clicks + self.keys
        return (
            f"{self.clicks} clicks, {self.keys} keys: {actions} actions, "
            f"{self.seconds:.1f} s"
        )


class Hand(Window):
    """A window on ten slices, all of them encoded, and a hand that is counted."""

    def __init__(self) -> None:
        os.environ["NAPARI_SAM_STATE_DIR"] = mkdtemp()
        pixels, _, _ = samples.ovule()[0]
        super().__init__(pixels[FIRST : LAST + 1])
        self.count = Count()
        pump(600.0, self.ready)
        self.controller.encode_stack()
        pump(600.0, lambda: bool(self.controller.prefetcher.strip.ready.all()))
        self.go(MIDDLE - FIRST)
        self.count = Count()

    def go(self, position: int) -> None:
        """Show a slice, by the arrow keys."""
        self.count.keys += abs(self.viewer.dims.current_step[0] - position)
        self.viewer.dims.set_point(0, position)
        pump(60.0, self.ready)

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
        """Press a key in the canvas."""
        QTest.keyClick(self.canvas.native, key, modifier)
        self.count.keys += 1
        pump(0.06)  # a finger is no faster, and the system repeats what is

    def point(self, row: float, column: float) -> None:
        """Click, and wait for the mask."""
        annotator = self.controller.annotator
        self.click(row, column)
        self.count.clicks += 1
        pump(
            60.0,
            lambda: annotator.prediction is not None and annotator.prediction.is_final,
        )

    def push(self, button: Any) -> None:
        """Click a button of the dock."""
        QTest.mouseClick(button.native, Qt.MouseButton.LeftButton)
        self.count.clicks += 1
        pump(0.06)

    def accept(self) -> None:
        """Press N, and wait until nothing is under way."""
        self.press(Qt.Key.Key_N)
        annotator = self.controller.annotator
        pump(600.0, lambda: annotator.is_empty and not annotator.is_waiting)

    @property
    def labels(self) -> np.ndarray:
        """The pixels that are written."""
        return np.asarray(self.controller.labels.layer.data).copy()

    def timed(self, act: Callable[[], None]) -> Count:
        """Return what an action took."""
        self.count, start = Count(), time.perf_counter()
        act()
        self.count.seconds = time.perf_counter() - start
        return self.count


def follow_one(hand: Hand) -> None:
    """One click, Shift+T, N."""
    hand.point(*MASK_STRIDE)
    hand.press(Qt.Key.Key_T, SHIFT)
    hand.accept()


def follow_all(hand: Hand) -> None:
    """G, accept all of the slice, follow all of it."""
    everything, follower = hand.controller.everything, hand.controller.propagation
    hand.press(Qt.Key.Key_G)
    pump(30.0, lambda: everything.is_running)
    pump(600.0, lambda: not everything.is_running)
    hand.push(hand.widget.everything.write)
    pump(60.0, lambda: hand.controller.labels.layer is not None)
    hand.push(hand.widget.volume.all)
    pump(600.0, lambda: not follower.is_running)


def click_each(hand: Hand, truth: np.ndarray) -> None:
    """Click every object on every slice that it is on; N after each object."""
    for label in (int(n) for n in np.unique(truth) if n):
        for position in np.flatnonzero((truth == label).any((1, 2))):
            mask = truth[position] == label
            inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
            hand.go(int(position))
            hand.point(*np.unravel_index(inside.argmax(), mask.shape))
        hand.accept()


def said(labels: np.ndarray) -> str:
    """Return how many objects and slices of objects there are."""
    on = [(labels == n).any((1, 2)).sum() for n in np.unique(labels) if n]
    return f"{len(on)} objects on {sum(on)} slices"


def measured(name: str, act: Callable[[Hand], None]) -> np.ndarray:
    """Do it in a window of its own, print what it took, return the labels."""
    hand = Hand()
    # Where the button is that follows all objects.
    hand.widget.volume_section.expand(animate=False)
    pump(0.3)
    count = hand.timed(partial(act, hand))
    labels = hand.labels
    print(f"{name}: {count}; {said(labels)}", flush=True)
    hand.controller.settle()
    hand.close()
    return labels


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--of", choices=("one", "all"), nargs="*", default=("one", "all")
    )
    for name in parser.parse_args().of:
        follow = follow_one if name == "one" else follow_all
        labels = measured(f"{name}, followed", follow)
        measured(f"{name}, clicked", partial(click_each, truth=labels))


if __name__ == "__main__":
    main()
