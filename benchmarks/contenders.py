"""The contenders of the race. Each uses one thread and float32.

A contender is prepared once for a case. After that each call runs for some seconds and returns networks per second and
values (networks,). Each contender draws its own networks. The mean and mean square of its values must agree with those
of the first contender of the case, or its row is void.
"""

import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap

from simulate.api import read_one
from simulate.running import runner
from simulate.running.prepare import prepare
from simulate.running.process import keep_memory
from simulate.running.progress import Progress

Array = NDArray[np.float64]
Contender = Callable[[float], tuple[float, Array]]  # takes seconds; returns networks per second, and values
by_cpu = False  # whether seconds are those of the processor


def clock() -> float:
    """The seconds in which everything here is timed."""
    return time.process_time() if by_cpu else time.perf_counter()


@dataclass(frozen=True)
class Case:
    """A case of the race, with networks of width n and depth L on N digits.

    work: "ntk" is the NTK at the output at initialisation, "train" is T steps of gradient descent.
    """

    work: str
    n: int
    L: int
    N: int
    T: int = 0

    @property
    def name(self) -> str:
        return f"({self.n}, {self.L}, {self.N}{f', {self.T}' * bool(self.T)})"

    @property
    def eta(self) -> float:
        return 0.2 / self.N

    @property
    def rates(self) -> tuple[float, float]:
        """The learning rates (lambda_b, lambda_W)."""
        return (0.5, 1.0) if self.T else (0.0, 1.0)

    def overrides(self) -> list[str]:
        """The case as settings of `python -m simulate`."""
        common = [f"network.width={self.n}", f"network.depth={self.L}", f"inputs.count={self.N}"]
        common += ["ensemble.device=cpu", "ensemble.networks=1", "workers=1", f"dynamics.lambda_b={self.rates[0]}"]
        if self.work == "ntk":
            return [*common, "observables=ntk", "observables.record=[ntk]"]
        training = [f"dynamics.steps={self.T}", f"dynamics.eta={self.eta}", f"observables.steps=[{self.T}]"]
        return [*common, "dynamics=gradient_descent", *training, "observables.record=[outputs]"]

    def samples(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs x (N, 64) and targets y (N, 1), on the default device."""
        with torch.device("cpu"):
            loaded = prepare(read_one(self.overrides())).samples
        assert loaded.y is not None
        x, y = (torch.as_tensor(a, dtype=torch.float32) for a in (loaded.x, loaded.y))
        return x.to(torch.get_default_device()), y.to(torch.get_default_device())


def timed(batch: Callable[[], Array], seconds: float) -> tuple[float, Array]:
    """Repeat `batch` for some seconds. Returns networks per second, and all values."""
    values, began = [], clock()
    while not values or clock() - began < seconds:
        values.append(batch())
    return sum(map(len, values)) / (clock() - began), np.concatenate(values)


# ------------------------------------------------------------------------------------------- ours


def ours(case: Case, *overrides: str) -> Contender:
    """Complete runs of this project in this process, which draw, train, measure, commit rows and read them."""
    settings = read_one([*case.overrides(), *overrides])
    keep_memory()
    family = "H" if case.work == "ntk" else "z"
    folder = Path(tempfile.mkdtemp(prefix="nearly-gaussian-"))
    ranges = itertools.count()
    size = 4 * prepare(settings).block

    def run() -> Array:
        out = folder / "data"
        ensemble = replace(settings.ensemble, first=next(ranges) * size, networks=size)
        (data,) = runner.run([prepare(replace(settings, ensemble=ensemble, output=str(out)))], Progress(quiet=True))
        values = data.read(family)[:, 0, -1, 0].astype(float)
        shutil.rmtree(out)
        return values

    run()  # the first run compiles the loops, or loads compiled ones
    # A part must take at least a quarter of a second, as in a real run.
    while size < 2**19:
        began = clock()
        run()
        if clock() - began > 0.25:
            break
        size, ranges = 2 * size, itertools.count(1 + next(ranges))
    return lambda seconds: timed(run, seconds)


# ------------------------------------------------------------------------------------------- torch


def network(case: Case) -> nn.Sequential:
    """The network of a case as a torch module."""
    sizes = [64, *[case.n] * (case.L - 1), 1]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def draw(case: Case, names: list[tuple[str, torch.Size]], M: int | None) -> dict[str, torch.Tensor]:
    """Parameters at the critical initialisation: stacked for M networks, or of a single one if M is None."""
    stack = () if M is None else (M,)
    return {
        name: torch.randn(*stack, *shape) / shape[1] ** 0.5 if len(shape) == 2 else torch.zeros(*stack, *shape)
        for name, shape in names
    }


def torch_func(case: Case, M: int) -> Contender:
    """torch.func as its tutorials use it, with stacked modules, vmap over networks, and jacrev or grad."""
    model, (x, y) = network(case).to("meta"), case.samples()
    names = [(name, p.shape) for name, p in model.named_parameters()]

    def f(parameters: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        return functional_call(model, parameters, (inputs,))

    def rate(name: str, p: torch.Tensor) -> float:
        return case.rates[1] / p.shape[-1] if name.endswith("weight") else case.rates[0]

    def ntk(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        jacobian = vmap(jacrev(lambda p, row: f(p, row)[0]), (None, 0))(parameters, x)
        return sum(rate(k, parameters[k]) * J.flatten(1) @ J.flatten(1).T for k, J in jacobian.items())  # type: ignore[return-value]

    def loss(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return ((f(parameters, x) - y) ** 2).sum() / 2

    def batch() -> Array:
        p = draw(case, names, M)
        if case.work == "ntk":
            return vmap(ntk)(p)[:, 0, 0].double().cpu().numpy()
        for _ in range(case.T):
            slopes = vmap(grad(loss))(p)
            for name, slope in slopes.items():
                p[name] = p[name] - case.eta * rate(name, slope) * slope
        return vmap(f, (0, None))(p, x)[:, 0, 0].double().cpu().numpy()

    return lambda seconds: timed(batch, seconds)


def modules(case: Case) -> Contender:
    """A loop over networks as nn.Module, with autograd, and torch.optim.SGD with a group for each rate."""
    model, (x, y) = network(case), case.samples()
    names = [(name, p.shape) for name, p in model.named_parameters()]
    rates = [
        case.rates[1] / p.shape[-1] if name.endswith("weight") else case.rates[0]
        for name, p in model.named_parameters()
    ]

    def batch() -> Array:
        with torch.no_grad():
            for p, new in zip(model.parameters(), draw(case, names, None).values(), strict=True):
                p.copy_(new)
        if case.work == "ntk":
            parameters = list(model.parameters())
            slopes = [torch.autograd.grad(z, parameters, retain_graph=True) for z in model(x)[:, 0]]
            J = [torch.stack([s[k].flatten() for s in slopes]) for k in range(len(parameters))]
            H = sum(rate * j @ j.T for rate, j in zip(rates, J, strict=True))
            assert isinstance(H, torch.Tensor)
            return np.array([float(H[0, 0])])
        groups = [{"params": [p], "lr": case.eta * rate} for p, rate in zip(model.parameters(), rates, strict=True)]
        optimizer = torch.optim.SGD(groups)
        for _ in range(case.T):
            optimizer.zero_grad()
            (((model(x) - y) ** 2).sum() / 2).backward()
            optimizer.step()
        return np.array([float(model(x)[0, 0].detach())])

    return lambda seconds: timed(batch, seconds)


# ------------------------------------------------------------------------------------------- JAX


class Jax:
    """A process that runs benchmarks/peers_jax.py in its own environment, with JAX `version`, over a pipe."""

    def __init__(self, python: str):
        asked = [python, "-c", "import importlib.metadata; print(importlib.metadata.version('jax'))"]
        self.version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        script = str(Path(__file__).with_name("peers_jax.py"))
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            [python, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises RuntimeError if the process has ended."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request | {"by_cpu": by_cpu}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the JAX environment gave up on {request['name']}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def contender(self, case: Case, batch: int) -> Contender:
        x, y = case.samples()
        fields = {"work": case.work, "n": case.n, "L": case.L, "T": case.T, "eta": case.eta, "rates": case.rates}
        fields |= {"x": x.tolist(), "y": y.tolist(), "batch": batch}
        name = f"{case.work} {case.name} {batch}"
        self.ask({"name": name, "case": fields, "seconds": 0.0})

        def run(seconds: float) -> tuple[float, Array]:
            answer = self.ask({"name": name, "seconds": seconds})
            return answer["rate"], np.array(answer["values"])

        return run
