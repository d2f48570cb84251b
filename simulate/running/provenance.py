"""What computes a part: the device, the code that was generated for it, and the versions that it came from.

Rows are the same bit for bit only where all of these are the same (docs/data.md).
"""

import hashlib
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numba.core.registry import cpu_target

from simulate.running.jobs import package_version


@cache
def made_on(device: str) -> dict[str, Any]:
    """The device (kind and name) and the code of parts that this process computes on `cpu` or `cuda`.

    The code names the CPU and a digest of its features for which numba compiles, which NUMBA_CPU_NAME changes, and the
    capability for which torch chooses its kernels.
    """
    _, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    capability = torch.backends.cpu.get_cpu_capability()
    name = cpu
    if device == "cuda":
        name = torch.cuda.get_device_name()
        capability = ".".join(map(str, torch.cuda.get_device_capability()))
    return {
        "device": {"kind": device, "name": name},
        "code": {
            "cpu": cpu,
            "features": hashlib.sha256(features.encode()).hexdigest()[:12],
            "capability": capability,
            "torch": torch.__version__,
            "numba": numba.__version__,
            "numpy": np.__version__,
            "nearly-gaussian": package_version(),
        },
    }
