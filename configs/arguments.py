"""Flags of both command lines."""

from collections.abc import Sequence

from configs.folder import ConfigError


def valued(arguments: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of a flag that takes one, as --flag=VALUE or --flag VALUE, and the arguments without it. ConfigError
    where it is given twice, or has no value."""
    rest, values, waiting = [], [], False
    for argument in arguments:
        if waiting or argument.startswith(f"{flag}="):
            values.append(argument if waiting else argument.removeprefix(f"{flag}="))
            waiting = False
        elif argument == flag:
            waiting = True
        else:
            rest.append(argument)
    if waiting or "" in values:
        raise ConfigError(f"{flag}: needs a value, as {flag}=VALUE")
    if len(values) > 1:
        raise ConfigError(f"{flag}={values[0]}, {flag}={values[1]}: {flag} is given twice")
    return (values[0] if values else None), rest
