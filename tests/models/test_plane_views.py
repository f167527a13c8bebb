"""Small objects, seen in views that show them larger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_sam.core.imaging import to_rgb
from napari_sam.core.pixels import ArrayPixels
from napari_sam.core.steps import finish
from napari_sam.core.views import SIDE, View, object_view
from napari_sam.models import find_model, load_model
from napari_sam.models.sam1 import view_encoder as views_module
from napari_sam.models.sam1.checkpoint import load_network
from napari_sam.models.sam1.preprocess import preprocess
from napari_sam.models.sam1.prompts import tokens
from napari_sam.models.sam1.view_encoder import PlaneViews, ViewEncoder
from napari_sam.training.interactive import decode
from napari_sam.types import Frame, Region

if TYPE_CHECKING:
    from collections.abc import Generator

    from encoded_once import EncodedOnce
    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.models.sam1.fast_decoder import ImageState
    from napari_sam.models.sam1.plane import SamPlane
    from napari_sam.models.sam1.sam import SamModel

COIN = (124.0, 205.0)  # in the photograph of coins, 40 pixels wide
TILE = (303, 384)
AT = (2 * 303, 384)  # of the photograph in the middle of the large image


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def model() -> SamModel:
    return load_model("mobile-sam-microscopy", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def network() -> SamNetwork:
    return load_network(find_model("mobile-sam-microscopy").path).float().eval()


@pytest.fixture(scope="module")
def many_coins(coins: np.ndarray) -> np.ndarray:
    """Return an RGB image in which a coin is 27 of the model's pixels wide."""
    return to_rgb(np.tile(coins, (5, 4)))


@pytest.fixture(scope="module")
def plane(model: SamModel, many_coins: np.ndarray) -> SamPlane:
    return model.encode_rgb(many_coins)


@pytest.fixture(scope="module")
def coin(model: SamModel, coins: np.ndarray) -> np.ndarray:
    """Return a coin's mask as the model finds it in the photograph alone."""
    result = model.encode(coins).predict(points=[COIN])
    assert result.detail is None  # large enough as it is
    return result.best


def in_middle(mask: np.ndarray) -> np.ndarray:
    return mask[AT[0] : AT[0] + TILE[0], AT[1] : AT[1] + TILE[1]]


@pytest.mark.parametrize("prompt", ["click", "box", "correction"])
def test_a_small_object_is_outlined_as_well_as_a_large_one(
    model: SamModel, plane: SamPlane, coin: np.ndarray, prompt: str
) -> None:
    blind = model.restore(plane.embedding)  # the same without pixels
    found = []
    for one in (plane, blind):
        point = (COIN[0] + AT[0], COIN[1] + AT[1])
        rows, cols = np.nonzero(coin)
        box = (
            rows.min() + AT[0] - 0.5,
            cols.min() + AT[1] - 0.5,
            rows.max() + AT[0] + 0.5,
            cols.max() + AT[1] + 0.5,
        )
        if prompt == "box":
            result = one.predict(box=box)
        else:
            result = one.predict(points=[point])
        if prompt == "correction":
            beside = (point[0], box[3] + 2)
            result = one.predict(
                points=[point, beside], labels=[1, 0], logits=result.logits[0]
            )
        assert (result.detail is not None) == (one is plane)
        assert result.default == 0
        found.append(iou(in_middle(result.best), coin))
        # What is fed back, in coarse cells, is the same mask.
        coarse = result.logits[0] > 0
        assert coarse.sum() * (16 / one.frame.scale[0] ** 2) == pytest.approx(
            result.best.sum(), rel=0.2
        )
    closer, before = found
    assert closer > 0.9
    assert closer > before


def test_a_view_as_a_plane_answers_from_itself_alone(
    plane: SamPlane, coin: np.ndarray
) -> None:
    """One decoding, in pixels from the view's first one; for propagation."""
    rows, cols = np.nonzero(coin)
    extent = (
        rows.min() + AT[0], cols.min() + AT[1],
        rows.max() + AT[0] + 1.0, cols.max() + AT[1] + 1.0,
    )  # fmt: skip
    view = object_view(extent, coin.sum(), plane.frame.image_size, plane.frame.scale[0])
    assert view is not None
    seen = finish(plane.iter_view(view))
    assert seen is not None
    assert seen.frame == view.frame
    assert seen.objects() is not None
    row, col = view.region.row0, view.region.col0
    box = np.array(extent) - 0.5 - (row, col, row, col)
    result = seen.predict(box=box)
    assert result.detail is None
    whole = np.zeros(plane.frame.image_size, bool)
    whole[view.region.slices] = result.best
    assert iou(in_middle(whole), coin) > 0.9
    # It is kept: the same view is not encoded again.
    assert len(list(plane.iter_view(view))) == 0
    assert finish(plane.iter_view(view)).predict(box=box).score == result.score


def test_a_plane_without_pixels_has_no_view(model: SamModel, plane: SamPlane) -> None:
    view = View(Region(0, 0, 200, 200), Frame((200, 200), (448, 448), 448))
    blind = model.restore(plane.embedding)
    assert finish(blind.iter_view(view)) is None
    box = (AT[0] + 100, AT[1] + 180, AT[0] + 150, AT[1] + 230)
    whole = finish(plane.iter_view(None))
    assert whole is not None
    np.testing.assert_array_equal(
        whole.predict(box=box).logits, blind.predict(box=box).logits
    )


def test_models_that_do_not_blend_have_no_views(many_coins: np.ndarray) -> None:
    plane = load_model("mobile-sam", device="cpu").encode_rgb(many_coins)
    assert plane.predict(points=[np.add(COIN, AT)]).detail is None


def test_many_are_answered_like_one(plane: SamPlane) -> None:
    points = [np.add(COIN, (AT[0] + 303 * i, AT[1])) for i in range(-1, 2)]
    for point, many in zip(points, plane.predict_many(points), strict=True):
        one = plane.predict(points=[point])
        assert one.detail is not None
        assert many.detail is not None
        assert one.detail.view == many.detail.view
        np.testing.assert_allclose(one.detail.logits, many.detail.logits, atol=0.02)
        assert one.score == pytest.approx(many.score, abs=1e-3)


def test_neighbors_share_a_window_even_if_one_only_is_kept(
    model: SamModel,
    plane: SamPlane,
    many_coins: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked together, in whatever order, each view is encoded once."""
    monkeypatch.setattr(views_module, "_KEPT", 1)
    encoded: list[Frame] = []
    visited: set[View] = set()
    prepare, decode_in = ViewEncoder.iter_prepare, PlaneViews.decode

    def counted(
        self: ViewEncoder, rgb: np.ndarray, frame: Frame, store: None
    ) -> Generator[None, None, ImageState]:
        encoded.append(frame)
        return prepare(self, rgb, frame, store)

    def watched(self: PlaneViews, view: View, *asked: torch.Tensor):
        visited.add(view)
        return decode_in(self, view, *asked)

    monkeypatch.setattr(ViewEncoder, "iter_prepare", counted)
    monkeypatch.setattr(PlaneViews, "decode", watched)
    plane = model.restore(plane.embedding, many_coins)
    far = np.add(COIN, AT) - (606, 384)
    points = [np.add(COIN, AT), far, np.add(COIN, AT) + 2, far + 2]
    assert all(r.detail is not None for r in plane.predict_many(points))
    assert len(encoded) == len(visited)
    assert 2 < len(visited) < 3 * len(points)


@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
def test_objects_cut_by_the_border(
    model: SamModel, many_coins: np.ndarray, corner: tuple[int, int]
) -> None:
    """The image cut so that a coin lies in its corner."""
    row, col = (int(v) for v in np.add(COIN, AT))
    rows = slice(row - 4, None) if corner[0] == 0 else slice(None, row + 4)
    cols = slice(col - 4, None) if corner[1] == 0 else slice(None, col + 4)
    image = np.ascontiguousarray(many_coins[rows, cols])
    at = (3 if corner[0] == 0 else len(image) - 4, 3)
    at = (at[0], 3 if corner[1] == 0 else image.shape[1] - 4)
    result = model.encode_rgb(image).predict(points=[at])
    assert result.best.shape == image.shape[:2]
    assert result.best[at]
    region = result.crop().region
    assert region == region.intersection(type(region).whole(image.shape[:2]))
    assert region.row0 == 0 or corner[0] == -1
    assert region.row1 == len(image) or corner[0] == 0
    assert result.best.sum() < 60 * 60


def test_a_level_of_a_pyramid(
    model: SamModel, plane: SamPlane, many_coins: np.ndarray
) -> None:
    """Masks have the pixels of the finest level, three to one that is seen."""
    size = (many_coins.shape[0] * 3, many_coins.shape[1] * 3)
    point = np.add(COIN, AT)
    fine = model.encode_rgb(many_coins, size).predict(points=[point * 3 + 1])
    assert fine.detail is not None
    assert fine.best.shape == size
    coarse = plane.predict(points=[point])
    assert iou(fine.best, np.kron(coarse.best, np.ones((3, 3), bool))) > 0.97


@pytest.mark.parametrize("shape", [(1, 2000), (4096, 30), (5, 5), (1023, 1500)])
def test_images_of_any_shape(small_model: SamModel, shape: tuple[int, int]) -> None:
    """Specks in noise, asked for in every way, also at the very border."""
    rng = np.random.default_rng(7)
    image = (rng.random(shape) * 60).astype(np.uint8)
    for row, col in rng.integers(0, shape, (60, 2)):
        image[max(0, row - 3) : row + 3, max(0, col - 3) : col + 3] = 220
    plane = small_model.encode(image)
    last = np.array(shape) - 0.5
    closer = 0
    for point in (rng.uniform(-0.5, last), (-0.5, -0.5), tuple(last)):
        first = plane.predict(points=[point])
        start = np.clip(point, -0.5, last - 1)
        mask = np.zeros(shape, bool)
        mask[tuple(np.clip(np.round(point), 0, last - 0.5).astype(int))] = True
        for result in (
            first,
            plane.predict(
                points=[point, last / 2], labels=[1, 0], logits=first.logits[0]
            ),
            plane.predict(box=(*start, *np.minimum(start + 9, last))),
            plane.predict(mask=mask),
        ):
            assert result.best.shape == shape
            assert np.isfinite(result.logits).all()
            assert 0 <= result.score <= 1.1
            assert 0 <= result.stability() <= 1
            closer += result.detail is not None
    # An image of 64 pixels is enlarged eightfold as it is.
    assert bool(closer) == (max(shape) > 64)


def test_an_array_that_is_used_again(
    model: SamModel, plane: SamPlane, many_coins: np.ndarray
) -> None:
    """A plane answers from the pixels that it was made of."""
    frame = many_coins.copy()
    point = np.add(COIN, AT)
    before = plane.predict(points=[point])
    again = model.encode_rgb(frame)
    frame[:] = 0
    np.testing.assert_array_equal(again.predict(points=[point]).best, before.best)


def test_the_next_click_finds_the_window_encoded(
    model: SamModel,
    plane: SamPlane,
    many_coins: np.ndarray,
    encoded_once: EncodedOnce,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoded_once, "is_on", False)
    plane = model.restore(plane.embedding, many_coins)  # without a view yet
    encoded = []
    hook = model._network.image_encoder.neck.register_forward_hook(
        lambda *args: encoded.append(args[-1].shape[-1])
    )
    try:
        point = np.add(COIN, AT)
        first = plane.predict(points=[point])
        # At the magnifications 1 and 2; the larger one is as large as is best.
        assert encoded == 2 * [SIDE // 16]
        for d in (-1.0, 1.0):
            plane.predict(points=[point + d])
        plane.predict(points=[point, point + 2], labels=[1, 1], logits=first.earlier())
    finally:
        hook.remove()
    assert encoded == 2 * [SIDE // 16]


def test_it_decodes_as_it_was_trained(
    network: SamNetwork, many_coins: np.ndarray
) -> None:
    """Against the decoder of the training, on a crop in the middle of the frame."""
    frame = Frame.fit(many_coins.shape[:2])
    encoder = ViewEncoder(network, "vit_t", torch.device("cpu"), torch.float32)
    views = PlaneViews(ArrayPixels(many_coins), frame, encoder)
    row, col = np.add(COIN, AT)
    given = tokens(frame, [[(row, col)]], [[1]], None)
    assert given is not None
    xy, labels = torch.from_numpy(given.xy), torch.from_numpy(given.labels)
    answer = torch.full((256, 256), -5.0)
    at = [int(v * s / 4) for v, s in zip((row, col), frame.scale, strict=True)]
    answer[at[0] - 3 : at[0] + 4, at[1] - 3 : at[1] + 4] = 5.0
    with torch.inference_mode():
        view = views.of_object(views.whole, answer, xy[0], labels[0])
        assert view is not None
        seen = views.moved(answer, views.whole, view)
        logits, iou_, moved = views.decode(view, xy, labels, seen)
        pixels = many_coins[view.region.slices]
        # Where the click is in the view's own pixels.
        wanted = tokens(
            view.frame,
            [[(row - view.region.row0, col - view.region.col0)]],
            [[1]],
            None,
        )
        assert wanted is not None
        np.testing.assert_allclose(moved[0, 0], wanted.xy[0, 0], atol=1e-3)
        crop = preprocess(np.ascontiguousarray(pixels), view.frame, torch.device("cpu"))
        offset = (1024 - SIDE) // 2
        trained = decode(
            network,
            network.image_encoder(crop),
            (offset, offset),
            moved,
            labels,
            seen[None, None],
        )
    torch.testing.assert_close(logits, trained[0], atol=2e-2, rtol=1e-3)
    torch.testing.assert_close(iou_, trained[1], atol=1e-3, rtol=0)


def test_the_answer_is_the_mean_of_both_views(
    model: SamModel, network: SamNetwork, many_coins: np.ndarray
) -> None:
    """Against the same by hand, for a box."""
    many_coins = many_coins[:1024, :1024]  # fits as it is, its coins are small
    plane = model.encode_rgb(many_coins)
    row, col = np.add(COIN, AT)
    box = (row - 20, col - 19, row + 20, col + 21)
    far = model.restore(plane.embedding).predict(box=box)
    found = plane.predict(box=box)
    assert network.blend is not None
    assert found.detail is not None
    given = tokens(plane.frame, None, None, [box])
    assert given is not None
    xy, labels = torch.from_numpy(given.xy), torch.from_numpy(given.labels)
    views = PlaneViews(
        ArrayPixels(many_coins),
        plane.frame,
        ViewEncoder(network, "vit_t", torch.device("cpu"), torch.float32),
    )
    with torch.inference_mode():
        first, score = network.blend(*plane.decode_tokens(xy, labels))
        view = views.of_object(views.whole, first[0], xy[0], labels[0])
        assert view is not None
        assert view == found.detail.view
        seen = views.moved(first[0], views.whole, view)
        closer, _ = network.blend(*views.decode(view, xy, labels, seen)[:2])
    np.testing.assert_allclose(
        found.detail.logits[0], (closer[0] + seen) / 2, atol=0.05
    )
    np.testing.assert_allclose(found.logits[1:], far.logits[1:], atol=0.02)
    assert found.score == pytest.approx(float(score), abs=1e-3)


def test_what_is_beyond_the_image_does_not_count(network: SamNetwork) -> None:
    """The square input is padded below a wide image, and logits there are noise."""
    shape = (800, 1600)
    frame = Frame.fit(shape)
    views = PlaneViews(
        ArrayPixels(np.zeros((*shape, 3), np.uint8)),
        frame,
        ViewEncoder(network, "vit_t", torch.device("cpu"), torch.float32),
    )
    given = tokens(frame, [[(300.0, 500.0)]], [[1]], None)
    assert given is not None
    xy, labels = torch.from_numpy(given.xy)[0], torch.from_numpy(given.labels)[0]
    logits = torch.full((256, 256), -5.0)
    logits[200:203, 100:103] = 5.0
    assert views.of_object(views.whole, logits, xy, labels) is None
    logits[46:50, 78:82] = 5.0  # the pixel that was clicked is 300 * 0.64 / 4 = 48
    with_noise = views.of_object(views.whole, logits, xy, labels)
    logits[200:203, 100:103] = -5.0
    assert with_noise == views.of_object(views.whole, logits, xy, labels)
    assert with_noise is not None


@pytest.mark.parametrize("shape", [(1515, 1536), (700, 1600), (2000, 300)])
def test_logits_move_to_a_window_and_back(
    network: SamNetwork, shape: tuple[int, int]
) -> None:
    """Linear logits are the same linear function of the image's pixels."""
    frame = Frame.fit(shape)
    views = PlaneViews(
        ArrayPixels(np.zeros((*shape, 3), np.uint8)),
        frame,
        ViewEncoder(network, "vit_t", torch.device("cpu"), torch.float32),
    )
    row, col = shape[0] * 0.6, shape[1] * 0.45
    extent = (row - 15, col - 15, row + 15, col + 15)
    view = object_view(extent, 900, shape, max(frame.scale))
    assert view is not None

    def linear(cells: int, scale: tuple[float, float], origin: tuple[int, int]):
        rows, cols = (
            (torch.arange(cells) * 4 + 2) / s + o
            for s, o in zip(scale, origin, strict=True)
        )
        return 0.01 * rows[:, None] - 0.02 * cols + 3

    whole = linear(256, frame.scale, (0, 0))
    origin = (view.region.row0, view.region.col0)
    wanted = linear(SIDE // 4, view.frame.scale, origin)
    seen = views.moved(whole, views.whole, view)
    rows, cols = (n // 4 for n in view.frame.input_size)
    torch.testing.assert_close(
        seen[:rows, :cols], wanted[:rows, :cols], atol=1e-3, rtol=0
    )
    assert (seen[rows + 1 :] < -10).all()
    assert (seen[:, cols + 1 :] < -10).all()
    marked = torch.full_like(whole, -7.0)
    back = views.put_back(view, wanted, marked)
    changed = back != marked
    # Values are held within half a cell of the view's border.
    inner = changed.nonzero()
    (row0, col0), (row1, col1) = inner.amin(dim=0) + 1, inner.amax(dim=0)
    part = (slice(row0, row1), slice(col0, col1))
    torch.testing.assert_close(back[part], whole[part], atol=5e-3, rtol=0)
    cells = [
        n / 4 * f / w
        for n, f, w in zip(
            view.frame.input_size, frame.scale, view.frame.scale, strict=True
        )
    ]
    assert changed.sum() == pytest.approx(cells[0] * cells[1], rel=0.15)
