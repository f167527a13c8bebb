"""The history of a Labels layer, from one who annotates it to the next."""

from __future__ import annotations

import gc
import weakref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils._proxies import PublicOnlyProxy

from napari_sam.viewer.labels.history import history_of


def test_a_layer_has_one_history_as_long_as_it_has_one_array() -> None:
    viewer = ViewerModel()
    layer = viewer.add_labels(np.zeros((8, 8), np.uint8))
    history = history_of(layer)
    assert history_of(layer) is history
    assert history_of(PublicOnlyProxy(viewer).layers[0]) is history
    assert history_of(Labels(layer.data)) is not history
    layer.data = np.zeros((8, 8), np.uint8)
    assert history_of(layer) is not history


def test_a_layer_that_is_gone_takes_its_history_along() -> None:
    layer = Labels(np.zeros((8, 8), np.uint8))
    there = weakref.ref(layer), weakref.ref(history_of(layer))
    del layer
    gc.collect()
    assert [each() for each in there] == [None, None]
