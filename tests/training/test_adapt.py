"""Learning from a few objects of real images, with the real model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.imaging import to_rgb
from napari_sam.core.masks import crop_iou
from napari_sam.core.metrics import deepest_point, interactive_score
from napari_sam.core.steps import finish
from napari_sam.errors import DataError, ModelError, SettingsError
from napari_sam.io import read_image
from napari_sam.models.registry import find_model
from napari_sam.models.sam1.checkpoint import SamNetwork, load_network
from napari_sam.models.sam1.prompt_head import PromptHead
from napari_sam.models.sam1.sam import SamModel
from napari_sam.samples import SAMPLES
from napari_sam.training.adapt.examples import Target, split
from napari_sam.training.adapt.loop import Example, iter_adapt
from napari_sam.training.adapt.measure import Scores, iter_scores
from napari_sam.training.adapt.neck import embeddings, iter_inputs, through_neck
from napari_sam.training.adapt.settings import AdaptSettings
from napari_sam.training.adapt.windows import (
    STRIDE,
    Window,
    draw_window,
    make_batch,
    window_mask,
    window_side,
)
from napari_sam.types import Embedding, Frame, MaskCrop, Region

if TYPE_CHECKING:
    from napari_sam.core.model import Model
    from napari_sam.types import RGBArray

HERE = Path(__file__).parent
BASE = "mobile-sam"
CPU = torch.device("cpu")
ONE_STEP = AdaptSettings(steps=1, objects=2, side=16)


@pytest.fixture(scope="module")
def rgb() -> RGBArray:
    """Return plane 16 of the ovule: cell walls, nothing a photograph has."""
    return to_rgb(np.asarray(read_image(SAMPLES["ovule"].path).data)[16])


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Return its cells."""
    return np.asarray(read_image(HERE / "data" / "ovule_plane_16.png").data)


@pytest.fixture(scope="module")
def embedding(model: Model, rgb: RGBArray) -> Embedding:
    return model.encode_rgb(rgb).embedding


@pytest.fixture(scope="module")
def cells(embedding: Embedding, labels: np.ndarray) -> Example:
    """Return all cells of more than 200 pixels."""
    values, areas = np.unique(labels, return_counts=True)
    large = [int(v) for v in values[areas > 200]]
    return Example.from_labels(embedding, labels, name="ovule", only=large)


@pytest.fixture(scope="module")
def network() -> SamNetwork:
    return load_network(find_model(BASE).path)


def part(example: Example, numbers: list[int]) -> Example:
    """Return an example with some of the objects."""
    return replace(
        example,
        objects=tuple(example.objects[i] for i in numbers),
        keys=tuple(example.keys[i] for i in numbers),
    )


def one_click(model: SamModel, example: Example) -> float:
    """Return the mean IoU of what a user gets for a click in the middle."""
    plane = model.restore(example.embedding)
    results = plane.predict_many(points=[deepest_point(m)[:2] for m in example.objects])
    pairs = zip(results, example.objects, strict=True)
    return float(np.mean([crop_iou(r.crop(), truth) for r, truth in pairs]))


# -- what it is for ---------------------------------------------------------


def test_five_objects_help_their_neighbors(cells: Example, network: SamNetwork):
    """The model never saw cell walls; it learns 5 cells and is asked for others."""
    mine = list(range(0, 15, 3))
    neighbors = [i for i in range(len(cells.objects)) if i not in mine]
    others = part(cells, neighbors[:15])
    quick = AdaptSettings(steps=8, objects=4, learning_rate=4e-4)
    adapted = finish(iter_adapt(network, [part(cells, mine)], quick))
    before = one_click(SamModel.from_network(network, name="base"), others)
    after = one_click(adapted.model(), others)
    assert len(others.objects) >= 10
    assert after > before + 0.1
    assert adapted.n_objects == 4
    assert adapted.n_aside == 1
    assert adapted.improved == (adapted.after.mean > adapted.before.mean)
    assert adapted.shares_embeddings


def test_it_is_judged_by_the_answers_that_users_get(rgb: RGBArray, labels: np.ndarray):
    """The default model blends its masks, so what it learnt is measured like that."""
    network = load_network(find_model("mobile-sam-microscopy").path).float()
    model = SamModel.from_network(network, name="same", device="cpu", dtype="float32")
    plane = model.restore(model.encode_rgb(rgb).embedding)
    values, areas = np.unique(labels, return_counts=True)
    large = [int(v) for v in values[areas > 200]][1:5]
    example = Example.from_labels(plane.embedding, labels, only=large)
    targets = [Target(0, i) for i in range(len(example.objects))]

    def scores() -> Scores:
        given = (network, [plane.embedding], [example], targets, torch.float32)
        return finish(iter_scores(*given))

    mine = [
        interactive_score(plane, truth, n_clicks=3, feed_logits=True)
        for truth in example.objects
    ]
    found = scores()
    assert found.one_click == pytest.approx(
        np.mean([m.clicks[0] for m in mine]), abs=0.01
    )
    assert found.three_clicks == pytest.approx(
        np.mean([m.clicks[2] for m in mine]), abs=0.01
    )
    assert found.box == pytest.approx(np.mean([m.box for m in mine]), abs=0.01)
    network.blend = None
    assert scores() != found


def test_the_base_stays_as_it_is(cells: Example, network: SamNetwork):
    """Adaptation works on a copy; the same seed gives the same weights."""
    network = load_network(find_model(BASE).path)
    network.prompt_head = PromptHead()
    network.prompt_head.reset_parameters()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    example = part(cells, [0, 1, 2, 3, 4])
    one, two = (finish(iter_adapt(network, [example], ONE_STEP)) for _ in range(2))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert one.weights.keys() == two.weights.keys()
    assert all(torch.equal(v, two.weights[k]) for k, v in one.weights.items())
    changed = [k for k, v in one.network.state_dict().items() if (v != before[k]).any()]
    assert changed
    assert set(changed) <= one.weights.keys()
    assert not any(k.startswith(("image_encoder.", "prompt_head.")) for k in changed)
    assert "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix" not in changed


def test_progress_rises_and_closing_ends_it(cells: Example, network: SamNetwork):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    steps = iter_adapt(
        network, [part(cells, list(range(6)))], replace(ONE_STEP, steps=50)
    )
    seen = [next(steps) for _ in range(7)]
    steps.close()
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done < seen[-1].total
    assert any("step 1 of 50" in p.text for p in seen)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_the_neck_learns_too(
    cells: Example, rgb: RGBArray, network: SamNetwork, model: Model
):
    example = replace(part(cells, [0, 1, 2, 3, 4]), rgb=rgb)
    settings = replace(ONE_STEP, parts="decoder+neck", learning_rate=1e-3)
    adapted = finish(iter_adapt(network, [example], settings))
    assert any(k.startswith("image_encoder.neck.") for k in adapted.changed)
    assert not adapted.shares_embeddings
    new = adapted.model()
    with pytest.raises(ModelError, match="encode the image again"):
        new.restore(example.embedding)
    # What was measured is what the new model gives.
    steps = iter_inputs(network, [example], CPU, torch.float32)
    measured = embeddings(adapted.network, finish(steps), [example], torch.float32)
    given = adapted.model(dtype="float32").encode_rgb(rgb).embedding
    difference = np.abs(measured[0].features - given.features.astype(np.float32))
    assert difference.max() < 0.02 * np.abs(given.features).max()


# -- what it refuses --------------------------------------------------------


def refused(examples: list[Example], network: SamNetwork, **changes: object) -> str:
    """Return the sentence that the first step raises."""
    with pytest.raises((DataError, ModelError)) as caught:
        next(iter_adapt(network, examples, replace(ONE_STEP, **changes)))
    return str(caught.value)


def test_too_little_is_refused(cells: Example, network: SamNetwork):
    small = replace(
        cells,
        objects=(MaskCrop(np.ones((3, 3), bool), Region(5, 5, 8, 8)),) * 6,
        keys=tuple(range(6)),
    )
    texts = [
        refused([], network),
        refused([part(cells, [])], network),
        refused([part(cells, [0])], network),
        refused([part(cells, [0, 1, 2, 3])], network),
        refused([small], network),
        refused([replace(part(cells, [0] * 9), keys=("same",) * 9)], network),
    ]
    assert "no object" in texts[0]
    assert "no object" in texts[1]
    assert "only one object" in texts[2]
    assert "only 4 objects" in texts[3]
    assert "fewer than 20 pixels" in texts[4]
    assert "All objects (6)" in texts[4]
    assert "only one object" in texts[5]
    assert all(t.endswith(".") and "label" in t for t in texts)


def test_labels_that_fit_nothing_are_refused(embedding: Embedding, labels: np.ndarray):
    with pytest.raises(DataError, match="covers the whole image of ovule"):
        Example.from_labels(embedding, np.full_like(labels, 7), name="ovule")
    with pytest.raises(DataError, match="shape"):
        Example.from_labels(embedding, labels[:-1])


def test_what_belongs_to_another_model_is_refused(cells: Example, network: SamNetwork):
    five = part(cells, [0, 1, 2, 3, 4])
    other = replace(five, embedding=replace(five.embedding, model="vit_b-0"))
    assert "not by" in refused([other], network)
    assert "pixels of ovule" in refused([five], network, parts="decoder+neck")


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("parts", "head"), ("side", 65), ("pull", 2), ("learning_rate", 0)],
)
def test_settings_out_of_range_are_refused(name: str, value: object):
    with pytest.raises(SettingsError, match=name):
        replace(AdaptSettings(), **{name: value})


# -- geometry ---------------------------------------------------------------


def blank(frame: Frame, objects: list[MaskCrop], keys: list[int]) -> Example:
    features = np.zeros((256, 64, 64), np.float16)
    return Example(
        Embedding({"features": features}, frame, "m"), tuple(objects), tuple(keys)
    )


@given(
    keys=st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=4),
    seed=st.integers(0, 9),
)
def test_an_object_is_on_one_side_only(keys: list[list[int]], seed: int):
    """A fifth is kept aside; what an object teaches is not asked of it elsewhere."""
    crop = MaskCrop(np.ones((5, 5), bool), Region(0, 0, 5, 5))
    frame = Frame.fit((64, 64))
    examples = [blank(frame, [crop] * len(k), k) for k in keys]
    count = len({k for plane in keys for k in plane})
    if count < 5:
        with pytest.raises(DataError):
            split(examples, seed, 5)
        return
    parts = split(examples, seed, 5)
    sides = [
        {keys[t.example][t.mask] for t in targets}
        for targets in (parts.train, parts.validation, parts.test)
    ]
    assert sum(map(len, sides)) == len(set.union(*sides)) == count
    assert len(sides[2]) == parts.n_test == max(1, round(count / 5))
    assert len(sides[0]) + len(sides[1]) == parts.n_train
    assert sides[0]
    assert parts == split(examples, seed, 5)


@given(
    size=st.tuples(st.integers(40, 900), st.integers(40, 900)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    extent=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_window_holds_its_object(size, place, extent, seed):
    frame = Frame.fit(size)
    shape = tuple(min(e, n) for e, n in zip(extent, size, strict=True))
    corner = [round(p * (n - e)) for p, n, e in zip(place, size, shape, strict=True)]
    region = Region(corner[0], corner[1], corner[0] + shape[0], corner[1] + shape[1])
    crop = MaskCrop(np.ones(shape, bool), region)
    example = blank(frame, [crop], [0])
    side = window_side(crop, frame, 32)
    assert side in (32, 64)
    window = draw_window(np.random.default_rng(seed), Target(0, 0), example, side)
    assert 0 <= window.row <= 64 - side
    assert 0 <= window.col <= 64 - side
    inside = window_mask(crop, frame, window)
    whole = window_mask(crop, frame, Window(0, 0, 0, 64))
    # Nothing of the object is outside the window, and all lies where it should.
    rows = slice(window.row * STRIDE, (window.row + side) * STRIDE)
    cols = slice(window.col * STRIDE, (window.col + side) * STRIDE)
    assert inside.sum() == whole.sum()
    assert (inside == whole[rows, cols]).all()
    scale = frame.scale
    assert abs(whole.sum() - crop.area * scale[0] * scale[1]) <= sum(whole.shape)


def test_a_thin_object_of_a_large_plane_can_be_clicked_on():
    """Its row is none of those that the model's input is sampled from."""
    frame = Frame.fit((8192, 8192))
    region = Region(4097, 100, 4098, 4000)
    crop = MaskCrop(np.ones((1, 3900), bool), region)
    assert not window_mask(crop, frame, Window(0, 0, 0, 64)).any()
    rng = np.random.default_rng(0)
    batch, _ = make_batch(rng, [Target(0, 0)], [blank(frame, [crop], [0])], 64, 0.0)
    rows, cols = (int(x[0]) for x in torch.nonzero(batch.masks[0], as_tuple=True))
    assert rows == 4097 // 8
    assert 100 // 8 <= cols < 4000 // 8
    assert batch.xy[0, 0].tolist() == [cols, rows]


@pytest.mark.parametrize(("row", "col"), [(0, 0), (7, 40), (32, 32)])
def test_the_neck_of_a_window_is_a_window_of_the_neck(
    network: SamNetwork, row: int, col: int
):
    features = torch.randn(320, 64, 64, generator=torch.Generator().manual_seed(0))
    neck = network.image_encoder.neck
    with torch.no_grad():
        whole = neck(features[None])[:, :, row : row + 24, col : col + 24]
        mine = through_neck(neck, features, Window(0, row, col, 24))
    torch.testing.assert_close(mine, whole, atol=2e-4, rtol=1e-3)
