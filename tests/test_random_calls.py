"""Whatever is passed to the public API: a result, or one sentence and no change.

``NAPARI_SAM_RANDOM_CALLS=3000`` makes as many calls of each kind.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel

import napari_sam as ns
from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.models.sam1.checkpoint import SamNetwork
from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
from napari_sam.models.sam1.prompt_head import PromptHead
from napari_sam.models.sam1.sam import SamModel
from napari_sam.models.sam1.vit import SamViT, ViTShape
from napari_sam.viewer.settings import AnnotationSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam.viewer.session import Session

CALLS = int(os.environ.get("NAPARI_SAM_RANDOM_CALLS", "200"))
SHAPE = (3, 24, 30)
ALLOWED = (ns.SamError, ValueError, TypeError)
WRONG: list[Any] = [
    None, True, False, 0, -1, 1, 2, 1.7, 1e30, -0.0, float("nan"), float("inf"),
    2**70, 10**400, "", "x", "nan", b"b", (), [], {}, object(), (1,), (1, 2), (1, 2, 3),
    (1, 2, 3, 4), [[1, 2, 3]] * 3, [[1, 2], [3]], (float("nan"),) * 3, 3 + 4j,
    np.zeros(0), np.zeros((2, 0)), np.float32(3), np.array(5), np.zeros((4, 4)),
    np.full((3, 3), None), np.datetime64("2020-01-01"), slice(3), range(3),
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny_model() -> SamModel:
    """Return a model of random weights with all that ours can have."""
    torch.manual_seed(0)
    shape = ViTShape(16, 1, 2, 4, 2, (), 8)
    network = SamNetwork(
        SamViT(shape), "vit_tiny", 64, PromptHead(), MultimaskEnsemble()
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    network.prompt_head.reset_parameters()
    return SamModel.from_network(network, name="tiny", device="cpu", dtype="float32")


@pytest.fixture
def session(
    tiny_model: SamModel, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    monkeypatch.setattr("napari_sam.models.load_model", lambda *_, **__: tiny_model)
    viewer = ViewerModel()
    rng = np.random.default_rng(0)
    viewer.add_image(rng.integers(0, 255, SHAPE, np.uint8), name="image")
    with ns.annotate(viewer, model="mobile-sam") as found:
        store = EmbeddingStore(tmp_path, disk_bytes=0)
        found.controller.loader.use(Engine(tiny_model, store))
        found.wait()
        yield found


def point(rng: random.Random) -> Any:
    """Return a point that is usually good."""
    if rng.random() < 0.25:
        return rng.choice(WRONG)
    at = [rng.uniform(-1, n) for n in SHAPE]
    return at if rng.random() < 0.8 else at[: rng.randrange(4)]


def odd(rng: random.Random, good: Any) -> Any:
    return rng.choice(WRONG) if rng.random() < 0.4 else good


def overrides(rng: random.Random, fields: tuple[str, ...]) -> dict[str, Any]:
    names = rng.sample(fields, rng.randrange(3))
    if rng.random() < 0.2:
        names.append("min_scroe")
    values = [0.5, 3, rng.choice(WRONG)]
    return {name: rng.choice(values) for name in names}


def session_calls(rng: random.Random) -> dict[str, Callable[[Session], Any]]:
    a, b = point(rng), point(rng)
    if rng.random() < 0.6 and isinstance(a, list) and isinstance(b, list) and a and b:
        b[0] = a[0]
    some = rng.choice(WRONG)
    settings = overrides(rng, tuple(AnnotationSettings.__slots__))
    return {
        "add_point": lambda s: s.add_point(a, positive=rng.random() < 0.7),
        "add_box": lambda s: s.add_box(a, b),
        "add_outline": lambda s: s.add_outline(odd(rng, [a, b, point(rng)])),
        "select_object": lambda s: s.select_object(odd(rng, rng.randint(1, 3))),
        "level": lambda s: setattr(s, "level", odd(rng, "part")),
        "change_settings": lambda s: s.change_settings(**settings),
        "segment": lambda s: s.segment_everything(
            write=rng.random() < 0.5,
            **{k: v for k, v in settings.items() if k != "everything"},
        ),
        "annotate": lambda s: ns.annotate(
            s.controller.viewer, odd(rng, "image"), labels=odd(rng, None), model=some
        ),
        "accept": lambda s: s.accept(),
        "discard": lambda s: s.discard(),
        "undo": lambda s: s.undo(),
        "redo": lambda s: s.redo(),
        "prefill": lambda s: s.prefill(),
        "review": lambda s: s.review(),
        "accept_proposal": lambda s: s.accept_proposal(),
        "reject_proposal": lambda s: s.reject_proposal(),
        "correct_proposal": lambda s: s.correct_proposal(),
    }


def state(session: Session) -> tuple[Any, ...]:
    """Return what a refused call must leave as it is."""
    viewer, annotator = session.controller.viewer, session.controller.annotator
    labels = session.labels
    items = annotator.items
    return (
        None if labels is None else labels.data.tobytes(),
        tuple(layer.name for layer in viewer.layers),
        items.points,
        tuple(s.vertices.tobytes() for s in items.shapes),
        viewer.dims.current_step,
        session.controller.settings,
        session.level,
    )


@pytest.mark.timeout(300 + CALLS)
def test_random_calls_of_a_session(session: Session) -> None:
    rng = random.Random(0)
    raised = 0
    for number in range(CALLS):
        calls = session_calls(rng)
        name = rng.choice([*calls, "add_point", "add_point", "add_box", "accept"])
        before = state(session)
        try:
            calls[name](session)
        except ALLOWED as caught:
            error: Exception | None = caught
        except Exception as caught:
            raise AssertionError(f"call {number}, {name}") from caught
        else:
            error = None
        if error is not None:
            raised += 1
            assert str(error), name
            assert state(session) == before, (number, name, error)
    assert raised > CALLS // 10


def api_calls(rng: random.Random, model: SamModel, plane: Any) -> dict[str, Any]:
    pixels = np.random.default_rng(rng.randrange(99)).integers(0, 255, SHAPE[1:])
    image = odd(rng, pixels.astype(rng.choice(["u1", "u2", "f4", "?"])))
    some = rng.choice(WRONG)
    points = odd(rng, [[rng.uniform(-1, 25), rng.uniform(-1, 31)] for _ in range(2)])
    box = odd(rng, [rng.uniform(-2, 30) for _ in range(4)])
    settings = overrides(rng, tuple(ns.EverythingSettings.__slots__))
    few = {"points_per_side": 2} | settings
    region = odd(rng, ns.Region(2, 3, 20, 22))
    return {
        "encode": lambda: model.encode(image),
        "predict": lambda: plane.predict(
            points=odd(rng, points), labels=odd(rng, None), box=odd(rng, None)
        ),
        "box": lambda: plane.predict(box=box),
        "mask": lambda: plane.predict(mask=some, logits=rng.choice(WRONG)),
        "many": lambda: plane.predict_many(
            points=points, labels=odd(rng, None), boxes=odd(rng, None)
        ),
        "everything": lambda: ns.segment_everything(
            image, model=odd(rng, model), region=region, **few
        ),
        "stack": lambda: list(
            ns.iter_everything_stack(image, model=model, rgb=odd(rng, False), **few)
        ),
        "settings": lambda: ns.segment_everything(pixels, model=model, settings=some),
        "EverythingSettings": lambda: ns.EverythingSettings(**settings),
        "load_model": lambda: ns.load_model(some, device=odd(rng, "cpu")),
        "read_image": lambda: ns.read_image(some),
        "list_models": lambda: ns.list_models(),
    }


@pytest.mark.timeout(300 + CALLS)
def test_random_calls_of_functions(
    tiny_model: SamModel, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a name such as "x" is no file
    monkeypatch.setenv("NAPARI_SAM_MODELS_DIR", str(tmp_path))
    rng = random.Random(0)
    plane = tiny_model.encode(np.arange(24 * 30).reshape(24, 30))
    raised = 0
    for number in range(CALLS):
        calls = api_calls(rng, tiny_model, plane)
        name = rng.choice(list(calls))
        try:
            calls[name]()
        except ALLOWED as caught:
            raised += 1
            said = str(caught)
        except Exception as caught:
            raise AssertionError(f"call {number}, {name}") from caught
        else:
            said = "no error"
        assert said, name
    assert raised > CALLS // 10
