"""A user's own rows in an experiment that was written for other inputs."""

from collections.abc import Callable, Sequence
from typing import Any

from configs.folder import PRIMARY

OWN_ROWS = ("file", "arrays")  # sources whose rows are the user's


def keep_own_rows(
    name: str, config: Any, overrides: Sequence[str], compose: Callable[[str, Sequence[str]], Any]
) -> None:
    """Where an override replaces the inputs of an experiment by the user's own rows, take back, in place, what the
    experiment sets for its own source: a count of two digits must not cut a file to two rows.

    Settings of `inputs` that are among the overrides stay. compose: makes a config of a file and overrides, unresolved.
    """
    keys = [override.partition("=")[0].lstrip("+~") for override in overrides]
    if "inputs" not in keys or config.get("inputs", {}).get("source") not in OWN_ROWS:
        return
    typed = [text for text, key in zip(overrides, keys, strict=True) if key.partition(".")[0] == "inputs"]
    others = [text for text in overrides if text not in typed]
    if compose(name, others).get("inputs", {}).get("source") in OWN_ROWS:
        return  # its settings were written for rows of the user
    config.inputs = compose(PRIMARY[0], typed).inputs
