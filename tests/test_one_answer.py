"""Everything mode finds the same from a script, a session and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from skimage import data

import napari_sam as ns
from napari_sam.cli import main
from napari_sam.core.everything import EverythingSettings
from napari_sam.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def boxes(labels: np.ndarray) -> set[tuple[int, ...]]:
    """Return the extent of every object."""
    found = set()
    for number in np.unique(labels[labels > 0]):
        rows, cols = np.nonzero(labels == number)
        found.add((rows.min(), cols.min(), rows.max(), cols.max()))
    return found


@pytest.mark.parametrize("prompts", ["grid", "objects"])
def test_one_answer_everywhere(tmp_path: Path, prompts: str) -> None:
    image = np.ascontiguousarray(data.coins()[98:222, 15:185])
    few = EverythingSettings(prompts=prompts, points_per_side=6)
    script = ns.segment_everything(
        image, model=ns.load_model(device="cpu"), settings=few
    )
    viewer = ViewerModel()
    viewer.add_image(image, name="coins")
    with ns.annotate(viewer, device="cpu") as session:
        session.segment_everything(everything=few)
        (found,) = session.controller.everything.found.values()
        assert session.labels is not None
        written = np.asarray(session.labels.data)
    tifffile.imwrite(tmp_path / "coins.tif", image)
    arguments = ["--prompts", prompts, "--points-per-side", "6", "--device", "cpu"]
    out = tmp_path / "labels.tif"
    assert main(["everything", str(tmp_path / "coins.tif"), str(out), *arguments]) == 0
    assert len(script) >= 4
    assert found.thresholds == script.thresholds
    np.testing.assert_array_equal(found.box, script.box)
    expected = boxes(script.to_labels())
    assert boxes(tifffile.imread(out)) == expected
    assert boxes(written) == expected


def test_a_misspelt_setting_is_refused_with_the_closest() -> None:
    with pytest.raises(SettingsError, match="did you mean 'points_per_side'"):
        ns.segment_everything(np.zeros((9, 9)), points_per_sied=3)
