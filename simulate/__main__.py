"""python -m simulate [-m] [overrides]"""

import signal
import sys
import time
from collections.abc import Sequence

import configs
from configs import show
from configs.arguments import Program, exit_status, run_command
from simulate import api, plugins
from simulate.settings.reader import SettingsError
from simulate.store.files import StoreError
from simulate.store.locks import HeldError
from simulate.store.sets import DataSet
from simulate.system import counted

GROUPS = (
    "network",
    "activation",
    "initialization",
    "inputs",
    "features",
    "dynamics",
    "observables",
    "cluster",
    "experiment",
)
RESUME = ("committed parts are kept", "run the same command to resume")
PROGRAM = Program("simulate", "ng-simulate", (("--multirun", "-m"), ("--forecast",)), (("--shard",),))


def usage(overrides: Sequence[str] = (), config_dir: str | None = None) -> str:
    """The help text, with the options of the package and of the user's own folders, and the records of plugins."""
    loaded: tuple[plugins.Plugin, ...] = ()
    folders = configs.own_folders(overrides, config_dir)
    if overrides:
        loaded = plugins.load(configs.points("simulate", overrides, config_dir)[0].config.get("plugins"), *folders)
    lines = [
        "usage: python -m simulate [flags] [key=value ...]",
        "",
        "Draws an ensemble of finite-width networks, trains it if asked, and writes its statistics to parquet.",
        "",
        "  python -m simulate network.width=64 network.depth=4 output=outputs/a    one data set",
        "  python -m simulate -m network.width=64,128,256 output=outputs/sweep     one data set a width",
        "  python -m simulate experiment=preactivations                            a whole claim, its sweep included",
        "  python -m analysis data=outputs/preactivations                          its verdict",
        "",
        "  -m, --multirun       sweep over comma lists, choice(a,b), range(2,5), glob(re*)",
        "  --forecast           print operations, memory and time, measured in some ten seconds, and stop",
        "  --shard=K/N          only the K-th (from 0) of N ranges of each data set's networks, made by this process:",
        "                       one for each job of a cluster, as cluster=slurm does",
        "  --cfg [KIND]         print the config and stop: job (ours), hydra, or all; --resolve, --package=network",
        "  --info [KIND]        print where the config comes from: all, config, defaults, defaults-tree, ...",
        "  --config-dir=DIR     a folder of one's own with further options (docs/own_folder.md)",
        "  --config-name=NAME   a config of one's own in it that takes the place of simulate.yaml",
        "  -sc install=bash     print the completion of ng-simulate for a shell (docs/command_line.md)",
        "  --version, --help",
        "",
    ]
    for group in GROUPS:
        own = configs.own_options(group, *folders)
        names = [name + "*" * (name in own) for name in configs.options(group, *folders)]
        lines.append(f"  {group + '=':<16} {', '.join(names)}")
    if folders:
        lines.append(f"  * of {', '.join(map(str, folders))}")
    for plugin in loaded:
        lines.append(f"  {plugin.name} registers: {plugins.in_words(plugin)}")
    lines += [
        "",
        "Settings: network.{width,depth,outputs,skip}; ensemble.{networks,seed,first,sampler,dtype,device,block};",
        "  inputs.{count,test,seed,normalization,scale,...}; features.{degree,...};",
        "  dynamics.{eta,steps,loss,...}; observables.{record,layers,output_layers,tuples,steps};",
        "  initialization.{C_b,C_W}; output; workers;",
        "  cluster.{shards,minutes,partition,memory,gpus,wait}; plugins=[my.py].  --cfg shows all.",
        "Repeat an interrupted command to resume it.",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """0: done; 1: failed; 2: a setting is wrong and nothing was written; 130: interrupted, can be resumed."""
    return exit_status(lambda: _main(arguments), (SettingsError, StoreError, HeldError), RESUME)


def _main(arguments: list[str]) -> int:
    began = time.monotonic()
    if sets := _made(arguments):
        networks = sum(data.networks for data in sets)
        there = f"{counted(networks, 'network')} in {counted(len(sets), 'data set')}"
        print(f"{there}, {time.monotonic() - began:.1f} s")
        for data in sets:
            print(f"  {data.path}")
    return 0


def _made(arguments: list[str]) -> Sequence[DataSet]:
    """Run the command; returns the data sets that are made by then, none where it only prints or submits."""
    flags = PROGRAM.parse(arguments)
    overrides, config_dir, config_name = flags.rest, flags.config_dir, flags.config_name or PROGRAM.module
    if flags.help:
        print(usage(overrides, config_dir))
        return []
    if show.printed(PROGRAM, flags):
        return []
    sweeping = flags.multirun or any(o.lstrip("+").startswith("experiment=") for o in overrides)
    settings, cluster = api.read_all(overrides, sweeping, config_dir, config_name)
    if flags.forecast:
        for line in api.forecast(settings):
            print(line)
        return []
    progress = api._progress(quiet=False)
    whole = [*["-m"] * sweeping, *PROGRAM.own_files(flags), *overrides]
    if flags.shard is not None:  # a shard is made by this process, whatever the launcher
        return api.make(settings, progress, api.read_shard(flags.shard), command=api.command_line(whole))
    return api.launch(settings, cluster, whole, progress)


def command() -> int:
    """The console command, which does not look for packages in the current folder as `python -m` does.

    SIGTERM, by which batch systems and `timeout` end a process, interrupts it as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
