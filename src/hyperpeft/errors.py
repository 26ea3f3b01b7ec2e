"""The exceptions that hyperpeft raises on purpose.

Every message is one clear sentence or two that say what is wrong, what was expected, what was
found instead and what to do about it. The command line turns an `InputError` into exit status 2
without a traceback; anything else that escapes is a defect and exits with 1.
"""

from __future__ import annotations

_LONGEST = 1600  # characters


class HyperpeftError(Exception):
    """Root of the tree.

    Parameters
    ----------
    what : str
        What is wrong, naming the file, the key or the option.
    expected, got : object, optional
        What would have been right, and what was there instead.
    hint : str, optional
        What the user can do now.

    Examples
    --------
    >>> print(HyperpeftError("patch size", expected="an odd number", got=8, hint="use 9"))
    patch size: expected an odd number, got 8; use 9
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
    ) -> None:
        found = [f"expected {expected}"] if expected is not None else []
        found += [f"got {got}"] if got is not None else []
        message = f"{what}: {', '.join(found)}" if found else what
        super().__init__(f"{_short(message)}; {hint}" if hint else _short(message))


def _short(value: object) -> str:
    """In one line, and its beginning and end where what was found is a whole file."""
    text = " ".join(str(value).splitlines())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 200]} ... {text[-200:]}"


class InputError(HyperpeftError):
    """The user's input or configuration is wrong (exit status 2)."""


class ConfigError(InputError):
    """An option, a configuration file or a combination of options cannot be used."""


class SceneError(InputError):
    """A scene's file is missing, unreadable, ambiguous or not a cube."""


class LabelsError(InputError):
    """Labels are missing, unreadable or do not fit the scene."""


class SplitError(InputError):
    """Training and test pixels cannot be drawn as asked."""


class WeightsError(InputError):
    """A checkpoint is missing, unsafe or its keys do not match the architecture."""


class AdapterError(InputError):
    """An adapter cannot be attached, merged, saved or loaded."""


class TrainingError(InputError):
    """Training cannot continue with this configuration and these data."""


class NotFiniteError(TrainingError):
    """A model whose outputs are not finite numbers."""


class BundleError(InputError):
    """A run folder is incomplete or belongs to another base model."""


class DownloadError(InputError):
    """A file could not be fetched, or what came is not the file that was asked for."""


class Interrupted(HyperpeftError):
    """The user interrupted the work and its state has been saved (exit status 130)."""
