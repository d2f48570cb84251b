"""What Hydra prints about a config: the config itself, where it comes from, and the completion of a shell."""

import io
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from configs import Folder, own_folders, points
from configs.arguments import Program, versions
from configs.composing import Folders, hydra_with, in_one_line
from configs.folder import ConfigError

DOING = ("install", "uninstall", "query")


@contextmanager
def _errors(overrides: Sequence[str], name: str) -> Iterator[None]:
    """Errors of Hydra in one line, also those after which it would end the process."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            yield
    except SystemExit:
        raise ConfigError(" ".join(said.getvalue().split())) from None
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise error if isinstance(error, ConfigError) else in_one_line(error, overrides, name) from None


def printed(program: Program, flags: Namespace) -> bool:
    """Print what --version, --cfg, --info or --shell-completion ask for; whether one of them was given."""
    name = flags.config_name or program.module
    if flags.version:
        print(versions())
    elif flags.shell_completion:
        completion(program, flags.rest)
    elif flags.info:
        info(name, flags.rest, flags.config_dir, flags.info)
    elif flags.cfg:
        for text in cfg(name, flags.rest, flags.config_dir, flags.cfg, flags.resolve, flags.package):
            print(text, end="---\n")
    else:
        return False
    return True


def cfg(
    name: str, overrides: Sequence[str], config_dir: Folder, kind: str, resolve: bool, package: str | None
) -> Iterator[str]:
    """The config of each point of a sweep as YAML; of the kind hydra, which all points share, one.

    kind: job, hydra or all. package: the part of the config to show. Raises ConfigError as `points` does.
    """
    found = points(name, overrides, config_dir, whole=False)
    if kind == "hydra" and resolve:  # Hydra's part refers to ours
        kind, package, found = "all", package or "hydra", found[:1]
    for point in found[:1] if kind == "hydra" else found:
        shown = io.StringIO()
        with _errors(overrides, name), hydra_with(own_folders(overrides, config_dir)) as hydra, redirect_stdout(shown):
            hydra.show_cfg(name, list(point.overrides), kind, package, resolve)
        yield shown.getvalue()


def info(name: str, overrides: Sequence[str], config_dir: Folder, kind: str) -> None:
    """Print what Hydra knows about the config of the first point: its defaults, its folders, its plugins."""
    point = points(name, overrides, config_dir, whole=False)[0]
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        with _errors(overrides, name), hydra_with(own_folders(overrides, config_dir)) as hydra:
            hydra.show_info(kind, name, list(point.overrides))
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def completion(program: Program, arguments: Sequence[str]) -> None:
    """Print what `-sc install=bash` and its like do: code for the shell, or the words that complete COMP_LINE.

    What is completed is the console command of the program. Raises ConfigError where it is not clear what to do.
    """
    doing, _, shell = arguments[0].partition("=") if len(arguments) == 1 else ("", "", "")
    if doing not in DOING:
        right = "one of install=SHELL and uninstall=SHELL, as install=bash"
        raise ConfigError(f"{' '.join(['--shell-completion', *arguments])}: {right}")
    if doing != "query":
        print(_of_hydra(program, arguments, ()), end="")
        return
    line = os.environ.get("COMP_LINE", "")
    word = "" if not line.split() or line[-1].isspace() else line.split()[-1]
    if word.startswith("-"):
        print(*(flag for flag in program.flags() if flag.startswith(word)))
        return
    try:
        given = program.parse(line.split()[1:])
        folders = own_folders(given.rest, given.config_dir)
    except ConfigError:
        return  # a line that is not whole
    os.environ["COMP_LINE"] = " ".join([program.command, *given.rest]) + " " * (not word)
    try:
        found = _of_hydra(program, arguments, folders)
    finally:
        os.environ["COMP_LINE"] = line
    between = "\n" if shell == "fish" else " "
    print(between.join(word for word in found.split() if not word.startswith("hydra")))


def _of_hydra(program: Program, arguments: Sequence[str], folders: Folders) -> str:
    """What Hydra prints to complete a program."""
    shown, argv = io.StringIO(), sys.argv
    try:
        sys.argv = [program.command]  # Hydra takes the name of what is completed from there
        with _errors(arguments, program.module), hydra_with(folders) as hydra, redirect_stdout(shown):
            hydra.shell_completion(program.module, list(arguments))
    finally:
        sys.argv = argv
    return shown.getvalue()
