"""Palette commands for projects; they act on the dock widget of their viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_info

if TYPE_CHECKING:
    import napari.viewer

    from napari_sam.widgets.project_panel import ProjectPanel


def _panel(viewer: napari.viewer.Viewer) -> ProjectPanel | None:
    from napari_sam.widgets.dock import SamWidget

    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, SamWidget) and not widget.controller.is_closed:
            return widget.project
    show_info("Open Segment Anything from the Plugins menu first.")
    return None


def _act(viewer: napari.viewer.Viewer, action: str) -> None:
    panel = _panel(viewer)
    if panel is not None:
        getattr(panel, action)()


def save(viewer: napari.viewer.Viewer) -> None:
    """Save the project."""
    _act(viewer, "do_save")


def save_as(viewer: napari.viewer.Viewer) -> None:
    """Save the project under another name."""
    _act(viewer, "save_as")


def open_(viewer: napari.viewer.Viewer) -> None:
    """Open a project."""
    _act(viewer, "open_")


def recent(viewer: napari.viewer.Viewer) -> None:
    """Show the projects that were open last."""
    _act(viewer, "_show_menu")


def copy_script(viewer: napari.viewer.Viewer) -> None:
    """Copy Python that makes the same labels."""
    _act(viewer, "copy_script")
