"""How torch's idle threads wait, chosen before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("before", "chosen", "expected"),
    [
        ("", None, "True PASSIVE"),
        ("", "ACTIVE", "False ACTIVE"),
        ("import torch; ", None, "False None"),
    ],
)
def test_threads_sleep_unless_the_user_chose_or_torch_was_there_first(
    before: str, chosen: str | None, expected: str
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if chosen is not None:
        environment["OMP_WAIT_POLICY"] = chosen
    code = (
        f"{before}import os; from napari_sam.models import THREADS_SLEEP; "
        "print(THREADS_SLEEP, os.environ.get('OMP_WAIT_POLICY'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


def test_listing_models_does_not_import_torch() -> None:
    code = (
        "import sys; from napari_sam.models import list_models; "
        "list_models(); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("before", "expected"), [("", "2"), ("import torch; ", "1")])
def test_one_thread_where_idle_threads_spin(before: str, expected: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    code = (
        f"{before}from napari_sam.models.openmp import use_one_thread_if_spinning; "
        "use_one_thread_if_spinning(); import torch; print(torch.get_num_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
