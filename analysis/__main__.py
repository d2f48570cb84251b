"""python -m analysis data=DIR [overrides]"""

import sys
from pathlib import Path

import configs
from analysis.pipeline import analyze, write
from simulate.settings import printable
from simulate.store.files import StoreError

USAGE = """usage: python -m analysis data=DIR [key=value ...]

Estimates, theory, fits, verdicts and a report for the data sets in DIR (one, a sweep, or several sweeps).

  output=DIR          where the report goes (DATA/analysis)
  alpha=0.01          family-wise false-alarm rate over all tests
  power=0.95          with which the smallest visible deviation would be found
  prior_width=3.0     of next orders in l/n, in units of the quantity
  diverged=0.01       share of diverged networks that is tolerated
  figures=true        draw them
  strict=false        true: exit code 3 where a claim disagrees"""


def main(arguments: list[str]) -> int:
    """0: done; 2: a setting or the data are wrong; 3: strict, and a claim disagrees."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    try:
        config = configs.compose("analysis", arguments)
        data, output, strict = config.pop("data"), config.pop("output"), config.pop("strict")
        if not isinstance(strict, bool) or not isinstance(config["figures"], bool):
            raise ValueError(f"strict={strict!r}, figures={config['figures']!r}: true or false")

        folder = Path(output or Path(str(data)) / "analysis")
        result = analyze(str(data), **config)
        report = write(result, folder)
    except (configs.ConfigError, StoreError, ValueError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    from analysis.report.terminal import print_table

    print_table(result)
    print(f"\nreport: {report}")
    return 3 if strict and result.disagrees else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
