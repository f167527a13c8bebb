"""The prompt head of the default model, and everything mode with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import torch

import napari_sam as ns
from napari_sam.cli import main
from napari_sam.core.everything.object_points import object_points
from napari_sam.core.everything.search import (
    EverythingSettings,
    iter_everything,
    iter_everything_stack,
    run,
)
from napari_sam.core.imaging import to_rgb
from napari_sam.core.metrics import average_precision, overlaps
from napari_sam.errors import SettingsError
from napari_sam.models import find_model, load_model
from napari_sam.models.sam1.checkpoint import load_network, save_network
from napari_sam.models.sam1.sam import SamModel
from napari_sam.types import Plane, Progress, Region

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam.core.everything.proposals import Proposals
    from napari_sam.core.everything.search import Encode
    from napari_sam.models.sam1.plane import SamPlane
    from napari_sam.types import Frame, RGBArray

pytestmark = pytest.mark.usefixtures("small_models")

STEM = "b24ea5c2"  # 50 fluorescent nuclei, (520, 696)


@dataclass(frozen=True, slots=True)
class Desk:
    """A model with a prompt head, and an image it has encoded."""

    path: Path
    model: SamModel
    plane: SamPlane
    rgb: RGBArray
    truth: npt.NDArray[np.int32]


@pytest.fixture(scope="module")
def desk(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Return the default model, looking once, by way of a weights file."""
    image, labels = (
        iio.imread(next((shared_data / "dsb2018" / kind).glob(f"{STEM}*")))
        for kind in ("images", "masks")
    )
    rgb, truth = to_rgb(image), labels.astype(np.int32)
    network = load_network(find_model("mobile-sam-microscopy").path)
    network.blend = None
    path = tmp_path_factory.mktemp("head") / "seeing.safetensors"
    save_network(network, path, {"name": "seeing"})
    model = load_model(path, device="cpu")
    return Desk(path, model, model.encode_rgb(rgb), rgb, truth)


def no_encoding(rgb: RGBArray) -> SamPlane:
    raise AssertionError("nothing should be encoded")


def views_only(model: SamModel) -> Encode:
    """Return an encoder of views; the whole plane is encoded already."""

    def encode(rgb: RGBArray, *, frame: Frame | None = None) -> SamPlane:
        assert frame is not None
        return model.encode_rgb(rgb, frame=frame)

    return encode


def search(desk: Desk, **settings: object) -> tuple[Proposals, list[Progress]]:
    seen: list[Progress] = []
    chosen = EverythingSettings(**settings)  # type: ignore[arg-type]
    encode = views_only(desk.model)
    steps = iter_everything(desk.rgb, encode, chosen, plane=desk.plane)
    return run(steps, seen.append), seen


@pytest.fixture(scope="module")
def found(desk: Desk) -> tuple[Proposals, list[Progress]]:
    return search(desk)


def n_found(truth: npt.NDArray[np.int32], labels: npt.NDArray[np.int32]) -> int:
    return int((overlaps(truth, labels).toarray().max(axis=1, initial=0) > 0.5).sum())


# --- what the model sees ------------------------------------------------------


def test_maps_are_probabilities_and_computed_once(desk: Desk) -> None:
    maps = desk.plane.objects()
    assert maps is not None
    assert maps is desk.plane.objects()
    assert maps.frame == desk.plane.frame
    for values in (maps.foreground, maps.center):
        assert values.shape == (128, 128)
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= 1
    assert desk.model.capabilities.object_maps


def test_a_model_without_a_head_sees_nothing(plane32: SamPlane) -> None:
    assert plane32.objects() is None


def test_peaks_hit_the_objects(desk: Desk) -> None:
    maps = desk.plane.objects()
    assert maps is not None
    points = object_points(maps)
    hit = desk.truth[tuple(points.round().astype(int).T)]
    n_true = len(np.unique(desk.truth)) - 1
    assert len(np.unique(hit[hit > 0])) >= 0.8 * n_true
    assert np.count_nonzero(hit) >= 0.9 * len(points)


def test_the_best_mask_of_each_point_is_the_models_own_choice(desk: Desk) -> None:
    points = np.argwhere(desk.truth == 7)[::200].astype(float)[:5]
    batches = list(desk.plane.iter_points(points, best_only=True))
    assert np.concatenate([b.point for b in batches]).tolist() == list(range(5))
    logits = np.concatenate([b.logits for b in batches])
    for one, result in zip(logits, desk.plane.predict_many(points), strict=True):
        np.testing.assert_allclose(one, result.logits[result.default], atol=0.2)
    strict = list(desk.plane.iter_points(points, min_iou=2, best_only=True))
    assert sum(len(b.point) for b in strict) == 0


# --- everything mode ----------------------------------------------------------


def test_far_fewer_prompts_find_as_many_objects_as_the_grid(
    desk: Desk, found: tuple[Proposals, list[Progress]]
) -> None:
    grid, seen = search(desk, prompts="grid", points_per_side=12)
    assert seen[-1].done == 144
    own, own_seen = found
    # However many tiles they lie in, which differs between processors.
    assert int(own_seen[-1].text.split()[0]) < 144 / 1.5
    whole = 0.4 * desk.truth.size
    a, b = (p.filter(max_area=whole).to_labels(overlap="area") for p in (own, grid))
    assert n_found(desk.truth, a) >= max(n_found(desk.truth, b), 35)
    precision = [average_precision(desk.truth, x)[0] for x in (a, b)]
    assert precision[0] >= precision[1]


def test_each_point_gives_one_candidate_at_most(
    found: tuple[Proposals, list[Progress]],
) -> None:
    proposals, seen = found
    points = proposals.candidates.point
    assert len(points) == len(np.unique(points, axis=0)) <= seen[-1].done
    assert proposals.floor == (0.3, 0.3)
    assert (proposals.thresholds.min_score, proposals.thresholds.min_stability) == (
        0.6,
        0.8,
    )


def test_thresholds_move_without_asking_again(
    desk: Desk, found: tuple[Proposals, list[Progress]]
) -> None:
    strict, _ = search(desk, pred_iou_thresh=0.85, stability_score_thresh=0.95)
    assert len(strict) < len(found[0])
    again = found[0].filter(min_score=0.85, min_stability=0.95)
    # Fewer masks cover, so the second round may have asked for more.
    known = {tuple(p) for p in strict.point.tolist()}
    assert {tuple(p) for p in again.point.tolist()} <= known


def test_objects_whose_center_is_not_seen_are_found_by_their_foreground(
    desk: Desk,
) -> None:
    proposals, seen = search(desk, min_center=1)
    assert seen[-1].done > 20
    assert n_found(desk.truth, proposals.to_labels(overlap="area")) > 20


def test_progress_counts_to_the_end_and_the_order_is_stable(
    desk: Desk, found: tuple[Proposals, list[Progress]]
) -> None:
    seen = found[1]
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == seen[-1].total > 0
    assert all(p.done < p.total for p in seen[:-1])
    again, _ = search(desk, prompts="objects")
    np.testing.assert_array_equal(again.candidates.box, found[0].candidates.box)


def test_stopping_returns_what_was_found(
    desk: Desk, found: tuple[Proposals, list[Progress]]
) -> None:
    stop: list[bool] = []
    steps = iter_everything(
        desk.rgb,
        views_only(desk.model),
        plane=desk.plane,
        should_stop=lambda: bool(stop),
    )
    part = run(steps, lambda p: stop.append(True) if p.done >= 16 else None)
    n = len(part.candidates)
    # Reports come after eight points, or what is left of a tile.
    assert 0 < n <= 16 + 8 < len(found[0].candidates)
    np.testing.assert_array_equal(part.candidates.box, found[0].candidates.box[:n])


def test_a_small_rectangle_is_encoded_and_asked_by_itself(desk: Desk) -> None:
    rgb, truth = np.tile(desk.rgb, (2, 2, 1)), np.tile(desk.truth, (2, 2))
    region = Region(600, 800, 970, 1250)
    windows = []

    def encode(rgb: RGBArray, *, frame: Frame | None = None) -> SamPlane:
        if frame is None:
            windows.append(rgb.shape[:2])
        return desk.model.encode_rgb(rgb, frame=frame)

    p = run(iter_everything(rgb, encode, region=region))
    assert windows == [(1040 - (600 - 113), 450 + 2 * 113)]
    assert len(p) > 10
    assert (p.candidates.point >= (599.5, 799.5)).all()
    assert (p.candidates.point <= (969.5, 1249.5)).all()
    for runs in p.candidates.masks:
        assert runs.region.intersection(region) == runs.region
    # The points are where the objects are in the whole plane.
    hit = truth[tuple(p.point.round().astype(int).T)]
    assert np.count_nonzero(hit) >= 0.9 * len(p)


@pytest.mark.parametrize("size", [None, 15.0], ids=["as it sees them", "in tiles"])
def test_a_stack_keeps_whole_planes_only(desk: Desk, size: float | None) -> None:
    def encode(rgb: RGBArray, *, frame: Frame | None = None) -> SamPlane:
        return desk.plane if frame is None else desk.model.encode_rgb(rgb, frame=frame)

    settings = EverythingSettings(object_size=size)
    stop: list[bool] = []
    plane = [
        (Plane((1, 2), (z, None, None)), lambda: desk.rgb)  # the same thrice
        for z in range(3)
    ]
    finished, progress = [], []
    for step in iter_everything_stack(
        plane, encode, settings, should_stop=lambda: bool(stop)
    ):
        if isinstance(step, Progress):
            progress.append(step.done / step.total)
            if step.text.startswith("plane 2 of 3: 8 of"):
                stop.append(True)
        else:
            finished.append(step[0])
    assert [p.index[0] for p in finished] == [0]
    assert progress == sorted(progress)
    assert 1 / 3 < progress[-1] < 2 / 3


def test_nothing_to_see_is_nothing_found(desk: Desk) -> None:
    network = load_network(desk.path)
    assert network.prompt_head is not None
    network.prompt_head.reset_parameters()
    with torch.no_grad():
        network.prompt_head.out.bias.fill_(-20)
    blind = SamModel.from_network(network, name="blind", device="cpu")
    plane = blind.restore(desk.plane.embedding)
    p = run(iter_everything(desk.rgb, views_only(blind), plane=plane))
    assert len(p.candidates) == 0


def test_where_to_ask_can_be_chosen(desk: Desk, plane32: SamPlane) -> None:
    _, seen = search(desk, prompts="grid", points_per_side=2)
    assert seen[-1].done == 4
    coins = np.zeros((*plane32.frame.image_size, 3), np.uint8)
    few = EverythingSettings(points_per_side=2)
    seen.clear()
    run(iter_everything(coins, no_encoding, few, plane=plane32), seen.append)
    assert seen[-1].done == 4
    only = EverythingSettings(prompts="objects")
    with pytest.raises(SettingsError, match="does not see objects"):
        run(iter_everything(coins, no_encoding, only, plane=plane32))
    with pytest.raises(SettingsError, match="prompts is 'everywhere'; choose"):
        EverythingSettings(prompts="everywhere")  # type: ignore[arg-type]


def test_scripts_and_the_command_line_ask_where_objects_are(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = desk.rgb[:260, :348], desk.truth[:260, :348]
    proposals = ns.segment_everything(own[0], model=desk.model, prompts="objects")
    labels = proposals.filter(max_area=0.4 * own[1].size).to_labels(overlap="area")
    image, out = tmp_path / "image.png", tmp_path / "labels.tif"
    iio.imwrite(image, own[0])
    options = ["--model", str(desk.path), "--device", "cpu", "--no-cache", "-q"]
    assert main(["everything", str(image), str(out), *options]) == 0
    np.testing.assert_array_equal(iio.imread(out) > 0, labels > 0)
    with pytest.raises(SettingsError, match="does not see objects"):
        ns.segment_everything(own[0], model=load_model("mobile-sam"), prompts="objects")


def test_masks_off_the_foreground_are_not_kept(desk: Desk) -> None:
    def shares(min_foreground: float) -> dict[tuple[float, ...], float]:
        """Return how much of each mask truly is foreground, by its point."""
        # So low a peak that points lie beside the objects, too.
        found, _ = search(desk, min_center=0.005, min_foreground=min_foreground)
        c = found.candidates
        return {
            tuple(point): float(
                (desk.truth[runs.region.slices][runs.decode().mask] > 0).mean()
            )
            for point, runs in zip(c.point.tolist(), c.masks, strict=True)
        }

    every, kept = shares(0), shares(0.5)
    dropped = [share for point, share in every.items() if point not in kept]
    assert dropped
    assert np.mean(dropped) < 0.3
    assert np.mean(list(kept.values())) > 0.8
