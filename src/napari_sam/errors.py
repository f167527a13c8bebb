"""Errors a user can fix.

Every message is one sentence that says what is wrong, names the offending
value, and says what to do.  None of these derive from ``RuntimeError``: Qt
worker objects treat ``RuntimeError`` as "the worker was deleted" and drop it
silently, and torch's out-of-memory error is one.
"""

from __future__ import annotations


class SamError(Exception):
    """Base of every error this package raises for the user to read."""


class ImageError(SamError):
    """The image cannot be segmented: its size, type or content is unusable."""


class PromptError(SamError):
    """A prompt is outside the image, on another plane, or empty."""


class LabelsError(SamError):
    """The labels cannot take the result: wrong shape, type or not writable."""


class LabelsPlaceError(LabelsError):
    """The labels have the image's shape but lie elsewhere: moving them is enough."""


class TracksError(SamError):
    """Tracks cannot be joined, divided or written so."""


class DataError(SamError):
    """Images or their ground truth cannot be used to train or to evaluate."""


class ModelError(SamError):
    """The model cannot be found, loaded or run."""


class DeviceMemoryError(ModelError):
    """The device has no memory left for this model or image."""


class FileFormatError(SamError):
    """A file cannot be read or written."""


class Cancelled(SamError):
    """The user cancelled; what was finished has been kept."""


class SettingsError(SamError, ValueError):
    """A setting is outside the range it can have."""
