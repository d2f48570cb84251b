"""One config from its files and overrides, by Hydra; errors in one line, with a suggestion for an unknown key."""

import difflib
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from configs.folder import PRIMARY, ConfigError, broken, groups, keys_with_defaults, options, read_override
from configs.hydra_settings import refuse_changed
from configs.own_rows import keep_own_rows

MOST_LISTED = 400  # characters of the names that an error lists

Folders = tuple[Path, ...]


@contextmanager
def hydra_with(folders: Folders) -> Iterator[Any]:
    """Hydra's own object, which finds the files of the package and of the user's folders."""
    from hydra import initialize_config_module
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_module("configs", version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra
        search = hydra.config_loader.get_search_path()
        for folder in folders:  # as Hydra does with --config-dir
            search.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
        hydra.config_loader = ConfigLoaderImpl(search)
        yield hydra


def composed(name: str, overrides: Sequence[str], folders: Folders, whole: bool = True) -> dict[str, Any]:
    """The config as plain dicts. Without `whole`, values may be missing and interpolations are left as they are.

    ConfigError for whatever Hydra refuses, and where a user's file changes a setting of Hydra itself.
    """
    usual = _usual_hydra(name) if folders else {}
    try:
        plain, of_hydra = _composed(name, overrides, folders, whole)
    except _errors() as error:
        for folder in folders:
            if fault := broken(folder):
                raise ConfigError(fault) from None
        raise in_one_line(error, overrides, name, folders) from None
    except UserWarning as warning:
        raise ConfigError(f"hydra.searchpath of {name}.yaml: {warning}") from None
    refuse_changed(of_hydra, usual)
    if "experiment" in plain:
        raise ConfigError(f"experiment={plain['experiment']!r}: the file needs the first line # @package _global_")
    return plain


def _errors() -> tuple[type[Exception], ...]:
    """What composing may raise."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    return HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError, RecursionError


def _composed(
    name: str, overrides: Sequence[str], folders: Folders, whole: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our part of the config and Hydra's; the second is empty without folders, when nothing can change it."""
    from hydra import compose
    from omegaconf import OmegaConf

    if not folders:
        config = _of_package(name, overrides)
        keep_own_rows(name, config, overrides, _of_package)
        return _plain(config, whole), {}

    with hydra_with(folders), warnings.catch_warnings():
        warnings.filterwarnings("error", ".*is not available")  # a search path of a file
        config = compose(name, overrides=list(overrides), return_hydra_config=True)
        keep_own_rows(name, config, overrides, lambda file, some: compose(file, overrides=list(some)))
    of_hydra = _plain(config.hydra, False)
    OmegaConf.set_struct(config, False)
    config.pop("hydra", None)
    return _plain(config, whole), of_hydra


def _plain(part: Any, resolve: bool) -> dict[str, Any]:
    from omegaconf import OmegaConf

    found = OmegaConf.to_container(part, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _of_package(name: str, overrides: Sequence[str]) -> Any:
    """The config from the package's files. Hydra first loads the files of the chosen options, which takes long and is
    the same for all points of a sweep and for most runs of a process, and then overrides single settings."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    read = [read_override(override) for override in overrides]
    single = [override for override in read if not _chooses(override.key_or_group) and override.package is None]
    choices = tuple(text for text, override in zip(overrides, read, strict=True) if override not in single)
    config = deepcopy(_of_choices(name, choices))
    ConfigLoaderImpl._apply_overrides_to_config(single, config)
    return config


def _chooses(key: str) -> bool:
    """Whether an override of this key may choose a file; output, workers and all keys with a dot do not."""
    return "." not in key and (key in groups() or "/" in key)


@lru_cache(maxsize=256)
def _of_choices(name: str, choices: tuple[str, ...]) -> Any:
    """The config of the package's files with these options, as `hydra.compose` makes it. Hydra would also compose its
    own settings, which takes half of the time and of which nothing is used here."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import CachingConfigRepository
    from hydra._internal.defaults_list import create_defaults_list
    from hydra.types import RunMode
    from omegaconf import OmegaConf, open_dict

    loader, kept = _package()
    files = CachingConfigRepository(kept)
    read = [read_override(choice) for choice in choices]
    loader.validate_sweep_overrides_legal(read, RunMode.RUN, from_shell=False)
    chosen = create_defaults_list(files, name, read, prepend_hydra=False, skip_missing=False)
    config = loader._compose_config_from_defaults_list(chosen.defaults, files)
    OmegaConf.set_struct(config, True)
    ConfigLoaderImpl._apply_overrides_to_config(chosen.config_overrides, config)
    with open_dict(config):
        config.pop("hydra", None)
    return config


@cache
def _package() -> tuple[Any, Any]:
    """Hydra's loader for the files of the package, and these files."""
    with hydra_with(()) as hydra:
        return hydra.config_loader, _ReadOnce(hydra.config_loader.repository)


class _ReadOnce:
    """A repository of Hydra's that reads each of its files once in a process. It gives copies, as composing changes
    what it is given."""

    def __init__(self, repository: Any):
        self.repository = repository
        self.load_once = cache(repository.load_config)

    def load_config(self, config_path: str) -> Any:
        return deepcopy(self.load_once(config_path))

    def __deepcopy__(self, memo: dict[int, Any]) -> "_ReadOnce":
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.repository, name)


@cache
def _usual_hydra(name: str) -> dict[str, Any]:
    """Hydra's part of a config of the package, to which a file of the user may have added."""
    from hydra import compose
    from omegaconf import OmegaConf

    with hydra_with(()):
        config = compose(name if name in PRIMARY else PRIMARY[0], return_hydra_config=True)
    usual = OmegaConf.to_container(config.hydra, resolve=False)
    assert isinstance(usual, dict)
    return {str(key): value for key, value in usual.items()}


def _some_of(names: Sequence[str], typed: str) -> str:
    """The names, or of many those most like what was typed."""
    if len(", ".join(names)) <= MOST_LISTED:
        return ", ".join(names)
    near = difflib.get_close_matches(typed, names, n=8, cutoff=0.0)
    return f"{', '.join(near)} and {len(names) - len(near)} more, which --help lists"


def in_one_line(error: Exception, overrides: Sequence[str], name: str = "", folders: Folders = ()) -> ConfigError:
    """The error with the setting that is wrong, and a suggestion where a key is unknown."""
    text = str(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        given = next((o for o in overrides if o.partition("=")[0] == match[1]), match[1])
        return ConfigError(f"{given}: no such setting; {hint(match[1], name, folders)}")
    if match := re.search(r"Could not (?:find|load) '([^']+)/([^']*)'", text):
        known = _some_of(options(match[1].partition("/")[0], *folders), match[2])
        where = re.search(r"In '([^']+/[^']+)':", text)
        return ConfigError(
            f"{match[1]}={match[2]}: no such option{f', in {where[1]}' if where else ''}; there are {known}"
        )
    if "Cannot find primary config" in text:
        searched = " or ".join(map(str, folders)) or "the package; --config-dir=DIR names a folder"
        return ConfigError(f"--config-name={name}: no file {name}.yaml in {searched}")
    if "LexerNoViableAlt" in text or "mismatched input" in text or "missing EQUAL" in text:  # of Hydra's grammar
        given = " ".join(overrides) or "''"
        quotes = "a value with other characters than letters, digits and -_./:+%@ in quotes, as output='\"a (b)\"'"
        return ConfigError(f"{given}: an override has the form KEY=VALUE, " + quotes)
    if match := re.match(r"Error merging override (.+)", text):
        return ConfigError(f"{match[1]}: the files have a value of another kind there, which --cfg shows")
    if isinstance(error, RecursionError):
        return ConfigError(f"{' '.join(overrides)}: the defaults of some files name each other in a circle")
    if key := re.search(r"full_key: (\S+)", text):
        return ConfigError(f"{key[1]}: {text.splitlines()[0]}; give it as {key[1]}=...")
    return ConfigError(
        f"{' '.join(overrides)}: "
        + " ".join(line.strip() for line in text.splitlines() if not line.startswith("See https"))
    )


def keys_of(config: Any, prefix: str = "") -> list[str]:
    """Every key of a config, with dots."""
    if not isinstance(config, dict):
        return [prefix.rstrip(".")]
    return [key for name, value in config.items() for key in keys_of(value, f"{prefix}{name}.")] + [prefix.rstrip(".")]


def hint(key: str, name: str, folders: Folders) -> str:
    """What may have been meant by an unknown key: an option that has it, a setting with the same last word, or one of
    nearly the same name."""
    group, last = key.partition(".")[0], key.rpartition(".")[2]
    try:
        chosen = _keys_of_files(name) if not folders else keys_of(_composed(name, [], folders, False)[0])
    except _errors():
        return f"it is in the files of {name}"
    if group in groups() and (having := _having(group, key.partition(".")[2], folders)):
        return f"{having[0]} has it" + (f", and so have {', '.join(having[1:])}" if having[1:] else "")
    if same := [known for known in chosen if known.rpartition(".")[2] == last]:
        return f"did you mean {_listed(same)}?"
    named = {f"{other}.{last}": _having(other, last, folders) for other in groups()}
    if same := [f"{known} of {_listed(having)}" for known, having in named.items() if having]:
        return f"did you mean {_listed(same)}?"
    inside = [known for known in chosen if known.startswith(f"{group}.")]
    near = difflib.get_close_matches(last, [known.rpartition(".")[2] for known in inside or chosen], 1)
    if near:
        return f"did you mean {next(k for k in inside or chosen if k.rpartition('.')[2] == near[0])}?"
    if inside:
        listed = ", ".join(known.partition(".")[2] for known in inside)
        return f"no option of {group} has it; there are {listed}, and plugins can bring others"
    close = difflib.get_close_matches(key, chosen, 1)
    return f"did you mean {close[0]}?" if close else "see --cfg for those there are"


@cache
def _keys_of_files(name: str) -> list[str]:
    """The keys of a config of the package without overrides."""
    return keys_of(_composed(name, [], (), False)[0])


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _having(group: str, setting: str, folders: Folders) -> list[str]:
    """The options of a group that have a setting, as GROUP=OPTION."""
    known = options(group, *folders) if group != "experiment" else []
    return [f"{group}={option}" for option in known if setting in keys_with_defaults(group, option, folders)]
