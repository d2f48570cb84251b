"""Flags of the command lines: those of Hydra that have a meaning here, and a program's own."""

import argparse
import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any

from configs.folder import ConfigError, printable
from configs.sweeps import text

FLAGS = (("--shell-completion", "-sc"), ("--resolve",))
VALUES = (("--config-name", "-cn"), ("--package", "-p"))
KINDS = {  # what can be shown; the first is the usual one
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
SHOWS = ("cfg", "info", "shell_completion", "forecast", "version", "help")  # flags with which a command only prints
# Flags of Hydra that have no meaning here, and what does the same.
INSTEAD = {
    **dict.fromkeys(("--config-path", "-cp"), "use --config-dir=DIR"),
    **dict.fromkeys(("--multirun", "-m"), "give the folder of the sweep"),
    **dict.fromkeys(("--run", "-r"), "a single run needs no flag"),
    "--hydra-help": "see --help",
    "--experimental-rerun": "repeat the command to resume a run",
}
CLOSED = 141  # the exit code of a program whose reader has left: 128 + SIGPIPE


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(f"{message}; see python -m {self.prog} --help")


class _Once(argparse.Action):
    """Takes a value, which has to be there, and only once."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, value: Any, flag: str | None = None) -> None:
        name, earlier = self.option_strings[0], getattr(namespace, self.dest)
        if not value:
            raise ConfigError(f"{name}: needs a value, as {name}=VALUE")
        if earlier is not None:
            raise ConfigError(f"{name}={earlier}, {name}={value}: {name} is given twice")
        setattr(namespace, self.dest, value)


@dataclass(frozen=True)
class Program:
    """A program and its flags.

    module: as in `python -m MODULE`; its config has the same name. command: the console command. switches, values: the
    names of its own flags without and with a value. configured: whether its config can be shown, for which it has
    --config-name, --cfg, --resolve, --package, --info and --shell-completion, in addition to the --help, --version and
    --config-dir of every program.
    """

    module: str
    command: str
    switches: tuple[tuple[str, ...], ...] = ()
    values: tuple[tuple[str, ...], ...] = ()
    configured: bool = True

    def parser(self) -> argparse.ArgumentParser:
        parser = _Parser(prog=self.module, add_help=False, allow_abbrev=False)
        for names in (("--help", "-h"), ("--version",), *self.switches, *FLAGS * self.configured):
            parser.add_argument(*names, action="store_true")
        for names in (("--config-dir", "-cd"), *self.values, *VALUES * self.configured):
            parser.add_argument(*names, nargs="?", const="", action=_Once)
        for name, kinds in KINDS.items() if self.configured else ():
            parser.add_argument(name, name[1:3], action=_Once, choices=kinds)
        return parser

    def own_files(self, flags: argparse.Namespace) -> list[str]:
        """The flags that name files of the user's own, as tasks of the same command need them."""
        found = [f"--config-dir={flags.config_dir}"] if flags.config_dir is not None else []
        return found + ([f"--config-name={flags.config_name}"] if flags.config_name not in (None, self.module) else [])

    def flags(self) -> list[str]:
        """The long names of all flags."""
        return [action.option_strings[0] for action in self.parser()._actions]

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The flags, each an attribute, and the other arguments as `rest`. ConfigError for an unknown flag, a missing
        value, a value given twice, or flags that exclude each other."""
        found, rest = self.parser().parse_known_args(_with_kinds(arguments) if self.configured else list(arguments))
        for argument in rest:
            if argument.startswith("-"):
                hint = INSTEAD.get(argument.partition("=")[0], f"see python -m {self.module} --help")
                raise ConfigError(f"{argument}: no such flag; {hint}")
        shows = [name for name in SHOWS if getattr(found, name, None)]
        if len(shows) > 1:
            raise ConfigError(", ".join(f"--{name.replace('_', '-')}" for name in shows) + ": one of them at a time")
        for name in ("resolve", "package"):
            if getattr(found, name, None) and not found.cfg:
                raise ConfigError(f"--{name}: goes with --cfg")
        found.rest = rest
        return found


def _with_kinds(arguments: Sequence[str]) -> list[str]:
    """The arguments, in which --cfg and --info without a kind have the usual one."""
    out = []
    for argument, following in pairwise([*arguments, ""]):
        kinds = next((kinds for name, kinds in KINDS.items() if argument in (name, name[1:3])), (following,))
        out.append(argument if following in kinds else f"{argument}={kinds[0]}")
    return out


def versions() -> str:
    """The version of this project, and of the libraries on which numbers and options depend."""

    def found(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "(not installed)"

    libraries = ", ".join(f"{name} {found(name)}" for name in ("hydra-core", "torch", "numpy"))
    return f"nearly-gaussian {found('nearly-gaussian')} ({libraries})"


def overrides_of(given: Sequence[Any], function: str) -> list[str]:
    """The overrides of a call, each a text or a mapping of settings to values, as `{"network.width": 64}`. TypeError
    for anything else."""
    out = []
    for entry in given:
        if isinstance(entry, str):
            out.append(entry)
        elif isinstance(entry, Mapping) and all(isinstance(key, str) for key in entry):
            out += [f"{key}={text(value)}" for key, value in entry.items()]
        else:
            right = f'{function}("network.width=64", "output=DIR") or {function}({{"network.width": 64}})'
            raise ConfigError(f"{entry!r:.80}: an override is a text, or a mapping of settings to values, as {right}")
    return out


def closed(stream: Any) -> bool:
    """Whether the reader of a pipe has left, as `head` does."""
    try:
        stream.flush()
        if not hasattr(select, "poll"):  # Windows
            return False
        state = select.poll()
        state.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in state.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # no file, as in a notebook
        return False


def exit_status(
    work: Callable[[], int], wrong: tuple[type[Exception], ...], resume: tuple[str, str] | None = None
) -> int:
    """What `work` returns, or the exit status of the error that ends it, which is printed in one line.

    2: a ConfigError or an error of `wrong`, by which settings or data are refused. resume: of a program that the same
    command resumes, what is kept, and that; it also ends with 130 where it is interrupted and with 1 after any other
    error of the system. A broken pipe goes on to `run_command` where the reader of the output has left.
    """
    refusals: tuple[type[Exception], ...] = (ConfigError, *wrong)
    failures: tuple[type[Exception], ...] = (OSError, RuntimeError, MemoryError) if resume else ()
    try:
        return work()
    except KeyboardInterrupt:
        if not resume:
            raise
        print(f"\ninterrupted: {'; '.join(resume)}", file=sys.stderr)
        return 130
    except (*refusals, *failures) as error:
        if isinstance(error, BrokenPipeError) and closed(sys.stdout):
            raise
        refused = isinstance(error, refusals)
        then = "" if refused or not resume else f"; {', '.join(resume)}"
        print(f"error: {printable(str(error))}{then}", file=sys.stderr)
        return 2 if refused else 1


def run_command(main: Callable[[list[str]], int]) -> int:
    """The exit code of a program. It ends without a message where the reader of its output has left."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return CLOSED
    return code
