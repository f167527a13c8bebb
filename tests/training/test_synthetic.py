"""Drawn images: the same every time, with labels that fit them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
from scipy.ndimage import binary_closing, gaussian_gradient_magnitude
from skimage.measure import label
from skimage.segmentation import find_boundaries

from napari_sam_synthetic import KINDS, generate, write_folder
from napari_sam_synthetic.__main__ import main
from napari_sam_synthetic.optics import enlarge, reduce
from napari_sam_synthetic.shapes import MIN_AREA, clean

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_image_and_labels_are_valid(kind: str, seed: int) -> None:
    sample = generate(kind, seed, 256)

    assert sample.rgb.shape == (256, 256, 3)
    assert sample.rgb.dtype == np.uint8
    assert sample.rgb.std() > 1
    assert sample.labels.shape == (256, 256)
    assert sample.labels.dtype == np.int32
    numbers = np.unique(sample.labels)
    assert numbers[-1] >= 1
    np.testing.assert_array_equal(numbers[numbers > 0], 1 + np.arange(numbers[-1]))
    pieces = label(sample.labels, background=0, connectivity=1)
    assert np.bincount(pieces[pieces > 0])[1:].min() >= MIN_AREA


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_image(kind: str) -> None:
    first, again, other = (generate(kind, seed, 160) for seed in (3, 3, 4))

    np.testing.assert_array_equal(first.rgb, again.rgb)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.rgb != other.rgb).any()


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("thick_tissue", "multiplexed")]
)
def test_objects_differ_from_what_is_beside_them(kind: str) -> None:
    """The image changes more at outlines than at the same outlines put elsewhere."""
    there, moved = [], []
    for seed in range(4):
        sample = generate(kind, seed, 256)
        change = gaussian_gradient_magnitude(sample.rgb.mean(2), 1.5)
        edge = find_boundaries(sample.labels)
        there.append(change[edge].mean() / change.mean())
        moved.append(change[edge[::-1, ::-1]].mean() / change.mean())
    assert np.mean(there) > 1.2
    assert np.mean(there) > np.mean(moved) + 0.2


@pytest.mark.parametrize("seed", range(6))
def test_cells_of_thick_tissue_meet_in_the_middle_of_walls(seed: int) -> None:
    """Outlines lie where walls are brightest, or darkest in brightfield."""
    sample = generate("thick_tissue", seed, 256)
    gray = sample.rgb.mean(2)
    light = (gray - gray.mean()) / gray.std()
    edge = find_boundaries(sample.labels)
    assert abs(light[edge].mean()) > 0.6
    assert abs(light[edge[::-1, ::-1]].mean()) < 0.4
    cells = sample.labels > 0
    assert (binary_closing(cells, iterations=6) & ~cells).mean() < 0.01


def test_cells_of_multiplexed_tissue_have_colors_of_their_own() -> None:
    """Cells differ more in color than the same outlines put elsewhere."""
    ratios = []
    for seed in range(8):
        sample = generate("multiplexed", seed, 256)
        there, moved = (
            explained(sample.rgb, labels)
            for labels in (sample.labels, sample.labels[::-1, ::-1])
        )
        ratios.append(there / moved)
    assert np.mean(ratios) > 1.2


def explained(rgb: np.ndarray, labels: np.ndarray) -> float:
    """Return how much of the variance inside objects is between them, 0 to 1."""
    inside = labels > 0
    pixels = rgb[inside].astype(float)
    size = np.bincount(labels[inside])
    means = np.stack(
        [
            np.bincount(labels[inside], channel) / np.maximum(size, 1)
            for channel in pixels.T
        ],
        axis=1,
    )
    between = (means[labels[inside]] - pixels.mean(0)) ** 2
    return float(between.sum() / ((pixels - pixels.mean(0)) ** 2).sum())


@pytest.mark.parametrize(
    ("kind", "seed", "side", "message"),
    [
        ("cats", 0, 640, "no kind 'cats'"),
        ("rods", -1, 640, "seed -1"),
        ("rods", 0, 8, "side 8"),
    ],
)
def test_wrong_arguments_are_named(
    kind: str, seed: int, side: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(kind, seed, side)


def test_folder_holds_what_generate_returns(tmp_path: Path) -> None:
    assert write_folder(tmp_path, ["rods", "membranes"], 2, seed=5, side=128) == 4

    files = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert files == [
        "membranes_0001.png",
        "membranes_0002.png",
        "rods_0001.png",
        "rods_0002.png",
    ]
    expected = generate("rods", 6, 128)
    mask = iio.imread(tmp_path / "masks" / "rods_0002.png")
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, expected.labels)
    np.testing.assert_array_equal(
        iio.imread(tmp_path / "images" / "rods_0002.png"), expected.rgb
    )
    assert "BSD-3-Clause" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_unknown_kind_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no kind 'cats'"):
        write_folder(tmp_path / "out", ["rods", "cats"], 1)
    assert not (tmp_path / "out").exists()


def test_command_writes_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drawn"
    assert main([str(out), "--count", "1", "--side", "96", "--kinds", "rods"]) == 0
    assert capsys.readouterr().out.startswith("1 images in ")
    assert (out / "masks" / "rods_0001.png").is_file()


@pytest.mark.parametrize("step", [1, 2, 3, 8])
def test_what_is_reduced_is_enlarged_to_its_place(step: int) -> None:
    rows, cols = np.indices((48, 40), np.float32)
    slope = rows + 3 * cols
    back = enlarge(reduce(slope, step), step)[:48, :40]
    inner = np.s_[8:-8, 8:-8]
    np.testing.assert_allclose(back[inner], slope[inner], atol=1e-3)


def test_clean_drops_crumbs_and_renumbers() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[:5, :5] = 7
    labels[10:15, 10:15] = 7  # a second large piece stays
    labels[18, 18] = 7
    labels[8, :3] = 9
    cleaned = clean(labels)
    np.testing.assert_array_equal(np.unique(cleaned), [0, 1])
    assert (cleaned == 1).sum() == 50
    np.testing.assert_array_equal(clean(np.full((5, 5), 3)), np.ones((5, 5)))
