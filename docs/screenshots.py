"""Take the pictures of the documentation from the running program.

``xvfb-run -a -s "-screen 0 1600x1000x24" python docs/screenshots.py`` drives the
real window with mouse and key events and writes ``docs/images``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QScrollArea

from gui import Window, pump
from napari_sam import samples
from napari_sam.viewer.settings import ProposalColor, Tool

IMAGES = ROOT / "docs" / "images"
FILM_WIDTH = 900


class Scene(Window):
    """A sample in a window, and a hand on the mouse."""

    def __init__(self, sample: str, zoom: float = 1.0, mirrored: int = 1) -> None:
        # Nothing is offered of another picture's work.
        os.environ["NAPARI_SAM_STATE_DIR"] = mkdtemp()
        pixels, options, _ = getattr(samples, sample)()[0]
        if mirrored > 1:
            # A large image of the same: each copy is the mirror of its neighbors.
            reach = [(0, (mirrored - 1) * n) for n in pixels.shape[:2]]
            pixels = np.pad(pixels, reach, mode="symmetric")
        super().__init__(pixels)
        self.layer.name = options["name"]
        self.viewer.window.resize(1400, 900)
        pump(1.0)
        self.viewer.reset_view()
        self.viewer.camera.zoom *= zoom
        pump(600.0, self.ready)
        pump(0.5)

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Press, move and release the left button."""
        native, left = self.canvas.native, Qt.MouseButton.LeftButton
        none = Qt.KeyboardModifier.NoModifier
        first, last = self.at(*start), self.at(*stop)
        QTest.mouseMove(native, first)
        QTest.mousePress(native, left, none, first)
        for step in range(1, 6):
            part = first + (last - first) * step / 5
            QTest.mouseMove(native, part)
            pump(0.03)
        QTest.mouseRelease(native, left, none, last)
        pump(0.2)

    def key(
        self,
        key: Qt.Key,
        modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
    ) -> None:
        """Press a key in the canvas."""
        QTest.keyClick(self.canvas.native, key, modifier)
        pump(0.3)

    def grid(self, side: int) -> None:
        """Set how many points everything mode asks at, along each side."""
        self.widget.everything.side.value = side

    def search(self) -> None:
        """Wait until everything mode has come to its end."""
        pump(5.0, lambda: self.controller.everything.is_running)
        pump(600.0, lambda: not self.controller.everything.is_running)

    def settle(self) -> None:
        """Wait until the answer is there and drawn."""
        pump(120.0, lambda: self.controller.annotator.prediction is not None)
        pump(0.6)

    def close(self) -> None:
        """Close the window; the next one is not to offer its work."""
        self.controller.settle()
        super().close()

    def save(self, name: str) -> None:
        """Write a picture of the whole window."""
        pump(0.5)
        IMAGES.mkdir(exist_ok=True)
        shot = self.viewer.window.screenshot(flash=False)
        # A palette is enough for a picture of a page, at a third of the bytes.
        picture = Image.fromarray(shot[..., :3]).quantize(192, dither=Image.Dither.NONE)
        picture.save(IMAGES / f"{name}.png", optimize=True)
        print(f"docs/images/{name}.png: {self.controller.status}")


class Film:
    """Pictures of a window, with what is done under them."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._frames: list[Image.Image] = []
        self._seconds: list[float] = []

    def take(self, text: str, seconds: float = 1.5) -> None:
        """Add a picture, to be seen for so long."""
        pump(0.4)
        shot = self._scene.viewer.window.screenshot(flash=False)
        picture = Image.fromarray(shot[..., :3])
        height = round(picture.height * FILM_WIDTH / picture.width)
        frame = Image.new("RGB", (FILM_WIDTH, height + 28), "white")
        frame.paste(picture.resize((FILM_WIDTH, height), Image.Resampling.LANCZOS))
        font = ImageFont.load_default(18)
        ImageDraw.Draw(frame).text((8, height + 3), text, fill="black", font=font)
        self._frames.append(frame)
        self._seconds.append(seconds)

    def save(self, name: str) -> None:
        """Write the film; one palette, so that what stays the same costs nothing."""
        frames = Image.fromarray(np.concatenate(self._frames))
        # Most pixels are gray; few have the colors of labels, and these matter.
        grays = frames.quantize(128, method=Image.Quantize.MEDIANCUT)
        colors = frames.quantize(128, method=Image.Quantize.MAXCOVERAGE)
        palette = Image.new("P", (1, 1))
        palette.putpalette([*grays.getpalette()[:384], *colors.getpalette()[:384]])
        first, *rest = [
            frame.quantize(palette=palette, dither=Image.Dither.NONE)
            for frame in self._frames
        ]
        path = IMAGES / f"{name}.gif"
        first.save(
            path,
            save_all=True,
            append_images=rest,
            duration=[round(1000 * s) for s in self._seconds],
            loop=0,
            optimize=True,
        )
        print(f"docs/images/{name}.gif: {path.stat().st_size} bytes")


def annotate() -> None:
    """Clicks and a preview on fluorescence nuclei."""
    scene = Scene("nuclei")
    for row, column in ANNOTATED:
        scene.click(row, column)
        scene.settle()
        scene.key(Qt.Key.Key_N)
    scene.click(*PREVIEWED)
    scene.settle()
    scene.save("annotate")
    scene.close()


def annotate_film() -> None:
    """Click, accept, follow, scroll and find everything in a stack, as an animation."""
    scene = Scene("chloroplasts", zoom=1.55)
    film = Film(scene)
    controller, shift = scene.controller, Qt.KeyboardModifier.ShiftModifier

    def scroll(position: int) -> None:
        scene.viewer.dims.set_point(0, position)
        pump(60.0, scene.ready)

    scroll(3)
    scene.viewer.camera.center = (0, 206, 275)
    film.take("A stack of electron micrographs", 0.6)
    for text, place in CLICKED.items():
        scene.click(*place)
        scene.settle()
        film.take(text, 0.8)
        scene.key(Qt.Key.Key_N)
        film.take("N writes it into the labels", 0.4)
    scene.click(*FOLLOWED)
    scene.settle()
    scene.key(Qt.Key.Key_T, shift)
    pump(600.0, lambda: not controller.propagation.is_running)
    film.take("Shift+T follows it through the stack", 0.8)
    for position in (4, 5, 6):
        scroll(position)
        film.take("Scroll: it is there on the other slices", 0.3)
    scene.key(Qt.Key.Key_N)
    film.take("N writes all slices in one step", 0.5)
    scene.key(Qt.Key.Key_G)
    scene.search()
    film.take("G finds every object of the slice", 1.1)
    scene.widget.everything.score.value = 0.75
    film.take("Thresholds hide and show at once", 0.9)
    controller.everything.write()
    film.take("What is left is written into the labels", 1.2)
    film.save("annotate")
    scene.close()


def second_image() -> None:
    """Another image on top of the first: prompts, preview and labels lie above it."""
    scene = Scene("nuclei")
    for row, column in ANNOTATED[:3]:
        scene.click(row, column)
        scene.settle()
        scene.key(Qt.Key.Key_N)
    inverted = 255 - scene.layer.data
    second = scene.viewer.add_image(inverted, name="same cells, inverted")
    scene.widget.layers.image.value = second
    pump(600.0, scene.ready)
    for row, column in ANNOTATED[3:]:
        scene.click(row, column)
        scene.settle()
        scene.key(Qt.Key.Key_N)
    scene.click(*PREVIEWED)
    scene.settle()
    scene.save("second-image")
    scene.close()


def contour() -> None:
    """The preview as a contour alone, and dashed where the model is in doubt."""
    scene = Scene("nuclei", zoom=2.5)
    scene.viewer.camera.center = PREVIEWED
    scene.key(Qt.Key.Key_H, Qt.KeyboardModifier.ShiftModifier)
    scene.click(*PREVIEWED)
    scene.settle()
    scene.save("contour")
    scene.close()


def boxes() -> None:
    """Several boxes at once on H&E."""
    scene = Scene("phase_contrast")
    scene.controller.choose_tool(Tool.BOX)
    for start, stop in BOXES:
        scene.drag(start, stop)
    scene.settle()
    pump(1.0)
    scene.save("boxes")
    scene.close()


def stack() -> None:
    """A stack, half encoded."""
    scene = Scene("ovule")
    scene.viewer.dims.set_point(0, 15)
    pump(30.0, scene.ready)
    pump(6.0)
    scene.click(60, 66)
    scene.settle()
    scene.save("stack")
    scene.close()


def follow() -> None:
    """A cell followed through the stack, on the slice that is least sure."""
    scene = Scene("ovule")
    scene.viewer.dims.set_point(0, 16)
    pump(30.0, scene.ready)
    scene.click(72, 27)
    scene.settle()
    scene.key(Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
    follower = scene.controller.propagation
    pump(600.0, lambda: not follower.is_running)
    scene.key(Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    scene.save("follow")
    scene.close()


def follow_film() -> None:
    """A cell through the stack, from the click to the labels, as an animation."""
    scene = Scene("ovule")
    film = Film(scene)
    scene.viewer.dims.set_point(0, 16)
    pump(30.0, scene.ready)
    film.take("16: one slice of a stack")
    scene.click(72, 27)
    scene.settle()
    film.take("1. Click the cell", 2.0)
    shift, follower = Qt.KeyboardModifier.ShiftModifier, scene.controller.propagation
    scene.key(Qt.Key.Key_T, shift)
    pump(600.0, lambda: not follower.is_running)
    film.take("2. Shift+T follows it", 2.0)
    first, last = follower.followed.extent
    for position in range(first, last + 1):
        scene.viewer.dims.set_point(0, position)
        pump(30.0, scene.ready)
        film.take(f"{position}: found", 0.4)
    scene.key(Qt.Key.Key_S, shift)
    pump(30.0, scene.ready)
    film.take("Shift+S: the least sure slice", 2.5)
    scene.key(Qt.Key.Key_N)
    pump(5.0, lambda: scene.controller.annotator.is_empty)
    film.take("3. N writes all slices", 3.0)
    film.save("follow-film")
    scene.close()


def everything() -> None:
    """Proposals waiting for review."""
    scene = Scene("nuclei")
    scene.grid(24)
    scene.key(Qt.Key.Key_G)
    scene.search()
    scene.save("everything")
    scene.close()


def prefill() -> None:
    """Some objects labeled, and proposals for others."""
    scene = Scene("nuclei")
    scene.grid(16)
    for row, column in ANNOTATED[:2]:
        scene.click(row, column)
        scene.settle()
        scene.key(Qt.Key.Key_N)
    scene.key(Qt.Key.Key_G, Qt.KeyboardModifier.ShiftModifier)
    scene.search()
    scene.save("prefill")
    scene.close()


def review() -> None:
    """The least certain of what was found in a part of a stack."""
    scene = Scene("ovule", zoom=0.7)
    scene.grid(16)
    for position in REVIEWED:
        scene.viewer.dims.set_point(0, position)
        pump(60.0, scene.ready)
        scene.key(Qt.Key.Key_G)
        scene.search()
    scene.controller.toggle_review()
    pump(20.0, lambda: scene.controller.review.current is not None)
    for key in (Qt.Key.Key_N, Qt.Key.Key_K, *5 * [Qt.Key.Key_N]):
        scene.key(key)
    pump(120.0, scene.ready)
    scene.save("review")
    scene.close()


def triage() -> None:
    """Proposals colored by score, and how many a threshold hides."""
    scene = Scene("nuclei")
    scene.key(Qt.Key.Key_G)
    scene.search()
    panel = scene.widget.everything
    panel.color.value = ProposalColor.SCORE
    panel.score.value = 0.88
    bar = scene.widget.findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())
    scene.save("triage")
    scene.close()


def in_view() -> None:
    """What the camera shows of a large image, searched."""
    scene = Scene("nuclei", zoom=3.0, mirrored=5)
    scene.controller.segment_view()
    scene.search()
    bar = scene.widget.findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())
    scene.save("in-view")
    scene.close()


def progressive() -> None:
    """The first answer to a click in a large image, and the better one."""
    scene = Scene("nuclei", zoom=12.0, mirrored=5)
    height, width = scene.layer.data.shape[:2]
    annotator = scene.controller.annotator
    scene.click(height / 2 + FAINT[0], width / 2 + FAINT[1])
    pump(60.0, lambda: annotator.prediction is not None)
    shots = []
    for is_there in (lambda: True, lambda: annotator.prediction.is_final):
        pump(60.0, is_there)
        pump(0.05)
        print(scene.controller.status)
        shot = scene.viewer.screenshot(canvas_only=True, flash=False)
        rows, cols = (slice(n // 2 - 260, n // 2 + 260) for n in shot.shape[:2])
        shots.append(shot[rows, cols, :3])
    gap = np.full((shots[0].shape[0], 8, 3), 255, np.uint8)
    picture = Image.fromarray(np.concatenate([shots[0], gap, shots[1]], axis=1))
    picture.quantize(192, dither=Image.Dither.NONE).save(
        IMAGES / "progressive.png", optimize=True
    )
    scene.close()


def small_screen() -> None:
    """The whole window on a screen of 1366 x 768."""
    scene = Scene("ovule")
    scene.viewer.window.resize(1366, 744)
    pump(1.0)
    scene.viewer.reset_view()
    scene.viewer.dims.set_point(0, 15)
    pump(60.0, scene.ready)
    scene.click(60, 66)
    scene.settle()
    scene.save("small-screen")
    scene.close()


def learn() -> None:
    """A model learns from the accepted nuclei, and answers a click meanwhile."""
    with TemporaryDirectory() as folder:
        os.environ["NAPARI_SAM_MODELS_DIR"] = folder
        scene = Scene("nuclei")
        scene.key(Qt.Key.Key_G, Qt.KeyboardModifier.ShiftModifier)
        scene.search()
        scene.controller.accept_plane()
        scene.widget.everything_section.collapse(animate=False)
        scene.widget.learn_section.expand(animate=False)
        pump(0.5)
        learning = scene.controller.learning
        learning.start()
        pump(600.0, lambda: "left" in getattr(learning.progress, "text", ""))
        pump(20.0)
        scene.click(*UNLABELED)
        scene.settle()
        area = scene.widget.findChild(QScrollArea)
        area.ensureWidgetVisible(scene.widget.learn_section)
        scene.save("learn")
        learning.cancel()
        scene.close()


ANNOTATED = [(105, 80), (115, 303), (132, 176), (165, 366), (286, 220)]
PREVIEWED = (238, 297)
CLICKED = {
    "Click a chloroplast: its mask is there": (104, 180),
    "Click the next one": (180, 135),
}
FOLLOWED = (160, 352)
UNLABELED = (333, 311)
FAINT = (0, 0)
REVIEWED = (20, 22)
BOXES = [
    ((208, 8), (300, 58)),
    ((200, 40), (297, 124)),
    ((122, 372), (212, 524)),
    ((183, 448), (318, 584)),
]

if __name__ == "__main__":
    wanted = sys.argv[1:] or [
        "annotate",
        "annotate-film",
        "second-image",
        "contour",
        "boxes",
        "stack",
        "follow",
        "follow-film",
        "everything",
        "prefill",
        "review",
        "triage",
        "in-view",
        "progressive",
        "small-screen",
        "learn",
    ]
    for name in wanted:
        globals()[name.replace("-", "_")]()
