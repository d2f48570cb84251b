"""Every choice that a user makes: one folder a choice, one file an option. `compose` puts them together.

The only module that knows Hydra; both command lines and the notebook functions go through it.
"""

import difflib
import itertools
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any


class ConfigError(ValueError):
    """An override that Hydra cannot take; one line, whatever was typed."""

    def __init__(self, text: str):
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


def _plain(error: Exception, overrides: Sequence[str], name: str = "") -> ConfigError:
    """One line that names the setting; with a suggestion where a key is unknown."""
    text = str(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        every = ["inputs=file", "dynamics=gradient_descent"] if name == "simulate" else []
        known = _keys(_compose(name, every, whole=False))
        near = difflib.get_close_matches(match[1], known, 1)
        hint = f"did you mean {near[0]}?" if near else "see --cfg for those there are"
        given = next((o for o in overrides if o.partition("=")[0] == match[1]), match[1])
        return ConfigError(f"{given}: no such setting; {hint}")
    if match := re.search(r"Could not find '([^']+)/([^']+)'", text):
        there = ", ".join(options(match[1])) if "/" not in match[1] else ", ".join(options(match[1].split("/")[0]))
        return ConfigError(f"{match[1]}={match[2]}: no such option; there are {there}")
    if match := re.search(r"full_key: (\S+)", text):
        return ConfigError(f"{match[1]}: {text.splitlines()[0]}; give it as {match[1]}=...")
    return ConfigError(
        f"{' '.join(overrides)}: "
        + " ".join(line.strip() for line in text.splitlines() if not line.startswith("See https"))
    )


def _keys(config: Any, prefix: str = "") -> list[str]:
    """Every key of a config, with dots."""
    if not isinstance(config, dict):
        return [prefix.rstrip(".")]
    return [key for name, value in config.items() for key in _keys(value, f"{prefix}{name}.")] + [prefix.rstrip(".")]


def _compose(name: str, overrides: Sequence[str], whole: bool = True) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_module("configs", version_base="1.3"):
            config = hydra_compose(name, overrides=list(overrides))
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=whole)
    except (HydraException, OmegaConfBaseException) as error:
        raise _plain(error, overrides, name) from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


FORMULA = "activation.expression"  # its value has parentheses, which Hydra's grammar takes in quotes only


def _quoted(overrides: Sequence[str]) -> list[str]:
    """The overrides with formulas in quotes, as a shell passes them on without; a comma list stays one."""

    def quoted(text: str) -> str:
        key, _, value = text.partition("=")
        if key.lstrip("+") != FORMULA or not value or value[0] in "'\"[" or "\\" in value:
            return text
        return f"{key}=" + ",".join("'" + part.strip().replace("'", "\\'") + "'" for part in value.split(","))

    return [quoted(text) for text in overrides]


def compose(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """One config as plain dicts: primary config `name` with the overrides, in Hydra's grammar.

    Raises ConfigError for an unknown key or option, a missing value, or a comma sweep.
    """
    fixed, swept = _split(_quoted(overrides))
    if swept:
        key, values = next(iter(swept.items()))
        raise ConfigError(f"{key}={','.join(values)}: several values need a sweep (-m), a list is written [a,b]")
    return _compose(name, fixed)


def points(name: str, overrides: Sequence[str]) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """All points of a sweep: (what is special to the point, its config), in the order of the product.

    Swept are the comma lists among the overrides, and the `sweep:` of the experiment's file unless an override
    sets the same key.
    """
    fixed, swept = _split(_quoted(overrides))
    # With the first value of each comma list: of `dynamics=a,b dynamics.eta=1` the second needs the first.
    base = _compose(name, [*fixed, *(f"{key}={values[0]}" for key, values in swept.items())])
    named = {override.partition("=")[0].lstrip("+~") for override in fixed} | set(swept)
    from_file = base.get("sweep") or {}
    if not isinstance(from_file, dict) or not all(isinstance(v, list) for v in from_file.values()):
        raise ConfigError(f"sweep={from_file!r}: a mapping of settings to lists of values")
    axes = {key: [_text(v) for v in values] for key, values in from_file.items() if key not in named} | swept
    out = []
    for values in itertools.product(*axes.values()):
        special = dict(zip(axes, values, strict=True))
        out.append((special, _compose(name, [*fixed, *(f"{k}={v}" for k, v in special.items())]) if axes else base))
    return out


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    return "[" + ",".join(map(_text, value)) + "]" if isinstance(value, list) else str(value)


def _split(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Overrides with one value, and those with several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    fixed, swept = [], {}
    for text in overrides:
        try:
            (parsed,) = OverridesParser.create().parse_overrides([text])
        except HydraException as error:
            raise _plain(error, [text]) from None
        if parsed.is_sweep_override():
            swept[parsed.get_key_element()] = list(parsed.sweep_string_iterator())
        else:
            fixed.append(text)
    return fixed, swept


def keys(group: str, name: str) -> list[str]:
    """The settings that an option file gives by itself, read off its lines: a YAML library takes a while to load."""
    return re.findall(r"^(\w+):", files("configs").joinpath(group).joinpath(f"{name}.yaml").read_text(), re.MULTILINE)


def options(group: str) -> list[str]:
    """The files of a group, as `GROUP=` takes them."""
    names, folders = [], [("", files("configs").joinpath(group))]
    for prefix, folder in folders:
        for entry in folder.iterdir():
            if entry.is_dir():
                folders.append((f"{prefix}{entry.name}/", entry))
            elif entry.name.endswith(".yaml"):
                names.append(prefix + entry.name.removesuffix(".yaml"))
    return sorted(names)
