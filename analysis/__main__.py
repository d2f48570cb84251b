"""python -m analysis data=DIR [overrides]"""

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import configs
from analysis import citations, shares, tables
from analysis.pipeline import analyze, write
from analysis.report import posterior as inference
from analysis.result import Options
from configs import show
from configs.arguments import Program, exit_status, run_command
from simulate import plugins
from simulate.api import read_shard
from simulate.launchers import LAUNCHERS, LaunchError, chosen
from simulate.settings.cluster import workers_of
from simulate.store.files import StoreError
from simulate.store.sets import find

OF_PLOTS = {"x": "L/n", "y": None, "samples": None}  # settings of figures, and their values in configs/analysis.yaml
OF_REPORTS = ("alpha", "power", "prior_width", "diverged", "strict", "verbose")
PROGRAM = Program("analysis", "ng-analyze", switches=(("--cite",),), values=(("--shard",),))
USAGE = """usage: python -m analysis data=DIR [flags] [key=value ...]

Estimates, theory, fits, verdicts and a report for the data sets in DIR (one, a sweep, or several sweeps); or with
table= the numbers of one tensor, with plot= its figure.

  output=DIR          where the report goes (DATA/analysis); with table= a file .csv or .parquet, with
                      plot= an .svg, .png or .pdf
  table=V             print any tensor, measured and predicted, by width, layer and component
  plot=V              draw any tensor, measured and predicted (DATA/analysis/V.svg)
  x=L/n               with plot=: against L/n, n, 1/n, l, step, or a setting in which the data sets differ
  y=ratio             with plot=: value, ratio (over theory), unit (over n K^a Theta^b); a setting, n, l or step for a
                      heat map of x and y
  samples='"00,00"'   with plot=: these components (the first)
  layers=[4,8]        with table= or plot=: these layers
  alpha=0.01          family-wise false-alarm rate over all tests
  power=0.95          probability that the smallest visible deviation would be found
  prior_width=3.0     width of the priors of next orders in l/n, in units of the quantity
  diverged=0.01       share of diverged networks that is tolerated
  figures=true        draw them
  workers=null        processes; null: one for small data, else one a core as far as memory goes
  posterior.noise=V   Bayesian inference with targets of noise variance V (docs/bayes.md): posterior.parquet
  posterior.targets=FILE    targets of the first samples, .npy or .csv (those of the data set)
  posterior.C_W=[1.6,2.0]   what the same rows say of other C_W, where networks are scale-invariant
  posterior.weights=false   true: the log evidence of each network goes to posterior_weights.parquet
  strict=false        true: exit code 3 where a claim disagrees
  verbose=false       true: the report of each fit with its priors and its error budget
  cluster=slurm       tasks of a cluster read the data sets that outgrow memory (docs/cluster.md)
  plugins=[my.py]     Python files that register further measures, observables, ... (docs/own_folder.md)
  --cite              print what the data sets rest on as BibTeX: the theory, the paper of each method, the papers that
                      a claim reproduces
  --shard=K/N         only keeps the sums of the K-th (from 0) of N shares of these data sets, as such a task does
  --config-dir=DIR    a folder of one's own, where plugins are looked for too
  --cfg [KIND], --resolve, --package=KEY, --info [KIND], --config-name=NAME, -sc install=bash, --version
                      as of python -m simulate (docs/command_line.md)"""


def usage(overrides: list[str], config_dir: str | None) -> str:
    """The help text, with the records that plugins register."""
    lines = [USAGE]
    if overrides:
        config = configs.compose(
            "analysis", ["data=.", *(o for o in overrides if not o.startswith("data="))], config_dir
        )
        loaded = plugins.load(config["plugins"], *configs.own_folders(overrides, config_dir))
        lines += [f"  {plugin.name} registers: {plugins.in_words(plugin)}" for plugin in loaded]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """0: done; 2: a setting or the data are wrong; 3: strict, and a claim disagrees."""
    return exit_status(lambda: _main(arguments), (ValueError, StoreError, OSError, LaunchError))


def _main(arguments: list[str]) -> int:
    flags = PROGRAM.parse(arguments)
    if flags.help:
        print(usage(flags.rest, flags.config_dir))
        return 0
    if show.printed(PROGRAM, flags):
        return 0
    config = configs.compose(flags.config_name or PROGRAM.module, flags.rest, flags.config_dir)
    loaded = plugins.load(config["plugins"], *configs.own_folders(flags.rest, flags.config_dir))
    config["plugins"] = [path for path, _ in plugins.sources(loaded)]
    data, output, layers = (config.pop(name) for name in ("data", "output", "layers"))
    shown = {name: config.pop(name) for name in ("table", "plot")}
    drawn = {name: config.pop(name) for name in OF_PLOTS}
    switches = {name: config[name] for name in ("strict", "verbose", "figures")}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r}: true or false")
    strict, verbose = config.pop("strict"), config.pop("verbose")
    wanted = inference.asked(config.pop("posterior"))
    cluster = chosen(config.pop("cluster"))
    away = not LAUNCHERS[cluster.launcher].here
    elsewhere = {"cluster": cluster.launcher} if away else {}
    elsewhere |= {} if flags.shard is None else {"--shard": flags.shard}
    if not data or isinstance(data, list | dict):
        raise configs.ConfigError(f"data={data!r}: one folder, of a data set, of a sweep, or of several sweeps")
    if flags.cite:
        asked = {**shown, "output": output, "layers": layers}
        _refuse_idle(dict.fromkeys(asked), asked, "a report, a table or a figure, without --cite")
        _refuse_idle({}, _of_reports(flags.rest) | elsewhere, "a report, without --cite")
        print(citations.bibtex(find(str(data))))
        return 0
    if unknown := set(config) - {field.name for field in fields(Options)}:
        raise configs.ConfigError(f"{min(unknown)}: no such setting; see --cfg for those there are")
    if not isinstance(output, str | None):
        raise ValueError(f"output={output!r}: the name of a folder or file, in quotes where it is a number, as '\"5\"'")
    if None not in shown.values():
        raise ValueError(f"table={shown['table']}, plot={shown['plot']}: one of them at a time")
    _refuse_idle(OF_PLOTS, drawn if shown["plot"] is None else OF_PLOTS, "plot=")
    if any(shown.values()):
        _refuse_idle({}, _of_reports(flags.rest) | elsewhere, "a report, without table= and plot=")
    if shown["table"] is not None:
        return _table(str(data), str(shown["table"]), layers, output)
    if shown["plot"] is not None:
        return _plot(str(data), str(shown["plot"]), layers, output, drawn)
    if layers is not None:
        raise ValueError(f"layers={layers!r}: goes with table= or plot=")
    folder = Path(output or Path(str(data)) / "analysis")
    if not away:
        config["workers"] = workers_of(cluster, config["workers"])
    Options(**config | {"plugins": plugins.loaded()})  # checked before anything is read or submitted
    if flags.shard is not None:  # a task makes its share itself, whatever the launcher
        shares.keep_share(tables.sets_of(str(data)), read_shard(flags.shard))
        return 0
    posteriors = inference.infer(find(str(data)), wanted) if wanted else None
    if away:
        shares.run_shares(tables.sets_of(str(data)), cluster, [*PROGRAM.own_files(flags), *flags.rest], folder)
    result = analyze(str(data), **config)
    report = write(result, folder, posteriors[0] if posteriors else None)
    from analysis.report.terminal import fit_reports, print_table

    for verdict in result.verdicts if verbose else ():
        for text in fit_reports(verdict):
            print(text.rstrip(), end="\n\n")
    print_table(result)
    if wanted and posteriors:
        inference.print_posteriors(*posteriors)
        for path in inference.write(posteriors[0], folder, wanted.weights):
            print(f"posterior: {path}")
    print(f"\nreport: {report}")
    return 3 if strict and result.disagrees else 0


def _of_reports(overrides: list[str]) -> dict[str, str]:
    """The typed settings that only a report heeds."""
    typed = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    return {key: value for key, value in typed.items() if key.partition(".")[0] in (*OF_REPORTS, "posterior")}


def _refuse_idle(defaults: Mapping[str, Any], given: Mapping[str, Any], partner: str) -> None:
    """Refuse settings that would do nothing here."""
    for name, value in given.items():
        if name not in defaults or value != defaults[name]:
            raise ValueError(f"{name}={value}: goes with {partner}")


def _table(data: str, tensor: str, layers: list[int] | None, output: str | None) -> int:
    """Print the table of one tensor, and write it if there is an output."""
    from analysis.report.terminal import print_estimates

    path = None if output is None else tables.writable(Path(output))
    frame = tables.table(data, tensor, layers)
    print_estimates(frame)
    if path is not None:
        tables.write(frame, path)
        print(f"\ntable: {path}")
    return 0


def _plot(data: str, tensor: str, layers: list[int] | None, output: str | None, drawn: dict[str, Any]) -> int:
    """Write the figure of one tensor."""
    from analysis import plot

    name = "".join(c if c.isalnum() else "-" for c in tensor)
    samples = drawn["samples"]
    if not isinstance(samples, str | list | None):
        raise ValueError(f"samples={samples!r}: texts, as samples='\"00,00\"'")
    path = Path(output or Path(data) / "analysis" / f"{name}.svg")
    axis = None if drawn["y"] is None else str(drawn["y"])
    print(f"figure: {plot.save(data, path, tensor, str(drawn['x']), axis, layers, samples)}")
    return 0


def command() -> int:
    """The console command, which does not look for packages in the current folder as `python -m` does."""
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
