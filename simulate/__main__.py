"""python -m simulate [-m] [overrides]"""

import signal
import sys
import time
from collections.abc import Sequence

import configs
from configs.arguments import valued
from simulate import api, plugins
from simulate.settings.reader import SettingsError, printable
from simulate.store.files import StoreError
from simulate.store.locks import HeldError
from simulate.store.sets import DataSet

GROUPS = ("activation", "initialization", "inputs", "dynamics", "observables", "cluster", "experiment")
FLAGS = {"-m", "--multirun", "--cfg", "--forecast", "-h", "--help"}


def usage(overrides: Sequence[str] = (), config_dir: str | None = None) -> str:
    """The help text, with the options of the package and of the user's own folder, and the records of plugins."""
    loaded: tuple[plugins.Plugin, ...] = ()
    folder = configs.checked(config_dir)
    if overrides:
        loaded = plugins.load(configs.points("simulate", overrides, config_dir)[0][1].get("plugins"), config_dir)
    lines = [
        "usage: python -m simulate [-m] [--cfg] [--forecast] [--config-dir=DIR] [key=value ...]",
        "",
        "Draws an ensemble of finite-width networks, trains it if asked, and writes its statistics to parquet.",
        "",
        "  python -m simulate network.width=64 network.depth=4 output=outputs/a    one data set",
        "  python -m simulate -m network.width=64,128,256 output=outputs/sweep     one data set a width",
        "  python -m simulate experiment=preactivations                            a whole claim, its sweep included",
        "  python -m analysis data=outputs/preactivations                          its verdict",
        "",
        "  -m, --multirun  sweep over comma lists     --cfg  print the config and stop     --help  this text",
        "  --forecast      print operations, memory and time, measured in some ten seconds, and stop",
        "  --shard=K/N     only the K-th (from 0) of N ranges of each data set's networks, made by this process: one",
        "                  for each job of a cluster, as cluster=slurm does",
        "  --config-dir=DIR  a folder of one's own with further options (docs/own_folder.md)",
        "",
    ]
    for group in GROUPS:
        of_folder = configs.own_options(group, folder)
        names = [name + "*" * (name in of_folder) for name in configs.options(group, folder)]
        lines.append(f"  {group + '=':<16} {', '.join(names)}")
    if folder:
        lines.append(f"  * of {folder}")
    for plugin in loaded:
        lines.append(f"  {plugin.name} registers: {plugins.in_words(plugin)}")
    lines += [
        "",
        "Settings: network.{width,depth,outputs}; ensemble.{networks,seed,first,sampler,dtype,device,block};",
        "  inputs.{count,test,seed,normalization,scale,...}; dynamics.{eta,steps,loss,...};",
        "  observables.{record,layers,output_layers,tuples,steps}; initialization.{C_b,C_W}; output; workers;",
        "  cluster.{shards,minutes,partition,memory,gpus,wait}; plugins=[my.py].  --cfg shows all.",
        "Repeat an interrupted command to resume it.",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """0: done; 1: failed; 2: a setting is wrong and nothing was written; 130: interrupted, can be resumed."""
    began = time.monotonic()
    try:
        sets = _main(arguments)
    except (configs.ConfigError, SettingsError, StoreError, HeldError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: committed parts are kept; run the same command to resume", file=sys.stderr)
        return 130
    except (OSError, RuntimeError, MemoryError) as error:
        print(
            f"error: {printable(str(error))}; committed parts are kept, run the same command to resume",
            file=sys.stderr,
        )
        return 1
    if sets:
        networks = sum(data.networks for data in sets)
        print(f"{networks:,} networks in {len(sets)} data set{'s'[: len(sets) > 1]}, {time.monotonic() - began:.1f} s")
        for data in sets:
            print(f"  {data.path}")
    return 0


def _main(arguments: list[str]) -> Sequence[DataSet]:
    """Run the command; returns the data sets that are made by then, none where it only prints or submits."""
    shard, rest = valued(arguments, "--shard")
    config_dir, rest = valued(rest, "--config-dir")
    flags = [argument for argument in rest if argument.startswith("-")]
    overrides = [argument for argument in rest if not argument.startswith("-")]
    if unknown := [flag for flag in flags if flag not in FLAGS]:
        raise configs.ConfigError(f"{unknown[0]}: no such flag; see python -m simulate --help")
    if {"-h", "--help"} & set(flags):
        print(usage(overrides, config_dir))
        return []
    sweeping = bool({"-m", "--multirun"} & set(flags)) or any(
        o.lstrip("+").startswith("experiment=") for o in overrides
    )
    if "--cfg" in flags:
        import yaml

        for _, config in configs.points("simulate", overrides, config_dir):
            print(yaml.safe_dump(config, sort_keys=False), end="---\n")
        return []
    settings, cluster = api.read_all(overrides, sweeping, config_dir)
    if "--forecast" in flags:
        for line in api.forecast(settings):
            print(line)
        return []
    progress = api._progress(quiet=False)
    if shard is not None:  # a shard is made by this process, whatever the launcher
        return api.make(settings, progress, api.read_shard(shard))
    folder = [f"--config-dir={config_dir}"] if config_dir is not None else []
    return api.launch(settings, cluster, [*["-m"] * sweeping, *folder, *overrides], progress)


def command() -> int:
    """The console command, which does not look for packages in the current folder as `python -m` does.

    SIGTERM, by which batch systems and `timeout` end a process, interrupts it as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(command())
