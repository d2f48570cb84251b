"""The operating system: what it must have, and what only some have. Imported first, so that a refusal is one line."""

import os
import sys

try:
    import fcntl  # noqa: F401
except ImportError:
    print(
        "error: writers lock their files by fcntl, which Windows does not have: use Linux, macOS, or Linux within"
        " Windows (WSL)",
        file=sys.stderr,
    )
    raise SystemExit(2) from None


def cores() -> int:
    """Processor cores that this process may use; where the system does not tell (macOS), those of the machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def duration(seconds: float) -> str:
    """Seconds in a unit for reading."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def counted(count: float, noun: str, plural: str = "") -> str:
    """A number with its noun for reading: 1 network, 2,000 networks."""
    return f"{count:,.0f} {noun if count == 1 else plural or f'{noun}s'}"
