"""python -m simulate [-m] [overrides]"""

import sys
import time
from dataclasses import replace

import configs
from simulate import api
from simulate.launchers.slurm import submit
from simulate.settings.cluster import split
from simulate.settings.reader import SettingsError, printable
from simulate.store.files import StoreError
from simulate.store.locks import HeldError

GROUPS = ("activation", "initialization", "inputs", "dynamics", "observables", "experiment")


def usage() -> str:
    lines = [
        "usage: python -m simulate [-m] [--cfg] [--forecast] [key=value ...]",
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
        "  --shard=K/N     only the K-th (from 0) of N ranges of each data set's networks: one for each job of a",
        "                  cluster, as hydra/launcher=slurm cluster.{shards,minutes,partition,memory,gpus,wait} does",
        "",
    ]
    for group in GROUPS:
        lines.append(f"  {group + '=':<16} {', '.join(configs.options(group))}")
    lines += [
        "",
        "Settings: network.{width,depth,outputs}; ensemble.{networks,seed,first,sampler,dtype,device,block};",
        "  inputs.{count,test,seed,normalization,scale,...}; dynamics.{eta,steps,loss,...};",
        "  observables.{record,layers,output_layers,tuples,steps}; initialization.{C_b,C_W}; output; workers.",
        "  --cfg shows all.",
        "An interrupted run goes on when called again with the same settings.",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """0: done; 1: failed; 2: a setting is wrong and nothing was written; 130: interrupted, can be resumed."""
    shards = [a.removeprefix("--shard=") for a in arguments if a.startswith("--shard=")]
    flags = {a for a in arguments if a.startswith("-") and not a.startswith("--shard=")}
    overrides = [a for a in arguments if not a.startswith("-")]
    if flags & {"-h", "--help"}:
        print(usage())
        return 0
    if unknown := flags - {"-m", "--multirun", "--cfg", "--forecast"}:
        print(f"error: {sorted(unknown)[0]}: no such flag; see python -m simulate --help", file=sys.stderr)
        return 2
    began = time.monotonic()
    try:
        where, overrides = split(overrides)
        sweeping = bool(flags & {"-m", "--multirun"}) or any(a.lstrip("+").startswith("experiment=") for a in overrides)
        if "--cfg" in flags:
            import yaml

            for _, config in configs.points("simulate", overrides):
                print(yaml.safe_dump(config, sort_keys=False), end="---\n")
            return 0
        settings = api.read_sweep(overrides) if sweeping else [api.read_one(overrides)]
        if where and where.launcher == "slurm":
            number, tasks = submit(["-m"] * sweeping + overrides, settings, where)
            print(f"Slurm job {number}, {tasks} tasks; python -m simulate.status says how far they are")
            return 0
        if where and where.shards:
            settings = [replace(s, workers=where.shards) for s in settings]
        shard = api.read_shard(shards[-1]) if shards else (0, 1)
        if "--forecast" in flags:
            for line in api.forecast(settings):
                print(line)
            return 0
        sets = api.make(settings, api._progress(quiet=False), shard)
    except (configs.ConfigError, SettingsError, StoreError, HeldError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: what is committed is kept; the same command goes on from there", file=sys.stderr)
        return 130
    except (OSError, RuntimeError, MemoryError) as error:
        print(
            f"error: {printable(str(error))}; what is committed is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return 1
    networks = sum(data.networks for data in sets)
    print(f"{networks:,} networks in {len(sets)} data set{'s'[: len(sets) > 1]}, {time.monotonic() - began:.1f} s")
    for data in sets:
        print(f"  {data.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
