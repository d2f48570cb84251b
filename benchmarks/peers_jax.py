"""The JAX contenders of the race, which run in environments of their own (`make bench-peers`).

neural-tangents computes the NTK at initialisation; vmap and scan train networks. The process reads cases as JSON lines
from stdin and writes rates and values to stdout. The code is what a user of the libraries would write: one network,
batched by vmap, compiled by jit, with structured derivatives.
"""

import itertools
import json
import os
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np

CONTENDERS: dict[str, object] = {}  # the compiled function and batch size of each case so far


def ntk(n: int, depth: int, x: np.ndarray, batch: int):
    """A function of a seed that draws `batch` networks and returns their NTK at the output, (batch, D, D)."""
    import jax.interpreters.ad as public
    import neural_tangents as nt
    from jax._src.interpreters import ad as private

    # neural-tangents 0.6.5 looks for these names in jax.interpreters.ad. JAX 0.4.30, the last version that it imports
    # with, keeps them elsewhere.
    public.source_info_util, public.config = private.source_info_util, jax.config

    sizes = [x.shape[1], *[n] * (depth - 1), 1]
    inputs = jnp.asarray(x)

    def init(key):
        keys = jax.random.split(key, depth)
        return [jax.random.normal(k, shape) for k, shape in zip(keys, itertools.pairwise(sizes), strict=True)]

    # With W = w / sqrt(n), gradients with respect to w have PDLT's rate lambda_W / n.
    def f(params, s):
        for w in params[:-1]:
            s = jnp.tanh(s @ w / np.sqrt(len(w)))
        return s @ params[-1] / np.sqrt(n)

    kernel = nt.empirical_ntk_fn(
        f, trace_axes=(-1,), vmap_axes=0, implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES
    )
    batched = jax.jit(jax.vmap(lambda key: kernel(inputs, None, init(key))))
    return lambda seed: np.asarray(batched(jax.random.split(jax.random.PRNGKey(seed), batch)))


def train(n: int, depth: int, x: np.ndarray, y: np.ndarray, steps: int, eta: float, rates: tuple, batch: int):
    """A function of a seed that draws `batch` networks, trains them on all samples and returns outputs (batch, N)."""
    sizes = [x.shape[1], *[n] * (depth - 1), 1]
    inputs, targets = jnp.asarray(x), jnp.asarray(y)
    lambda_b, lambda_W = rates

    def init(key):
        keys = jax.random.split(key, depth)
        return [
            (jax.random.normal(k, (a, b)) / np.sqrt(a), jnp.zeros(b))
            for k, (a, b) in zip(keys, itertools.pairwise(sizes), strict=True)
        ]

    def f(params):
        s = inputs
        for W, b in params[:-1]:
            s = jnp.tanh(s @ W + b)
        W, b = params[-1]
        return s @ W + b

    def loss(params):
        return 0.5 * ((f(params) - targets) ** 2).sum()

    def trained(key):
        def step(params, _):
            slope = jax.grad(loss)(params)
            new = [
                (W - eta * lambda_W / W.shape[0] * dW, b - eta * lambda_b * db)
                for (W, b), (dW, db) in zip(params, slope, strict=True)
            ]
            return new, None

        params, _ = jax.lax.scan(step, init(key), None, length=steps)
        return f(params)[:, 0]

    batched = jax.jit(jax.vmap(trained))
    return lambda seed: np.asarray(batched(jax.random.split(jax.random.PRNGKey(seed), batch)))


def prepare(case: dict):
    """The function of a case, which takes a seed and returns values of `batch` networks."""
    x = np.asarray(case["x"], dtype=np.float32)
    if case["work"] == "ntk":
        return ntk(case["n"], case["L"], x, case["batch"])
    y = np.asarray(case["y"], dtype=np.float32)
    return train(case["n"], case["L"], x, y, case["T"], case["eta"], case["rates"], case["batch"])


def main() -> None:
    seed = 0
    for line in sys.stdin:
        request = json.loads(line)
        name = request["name"]
        if "case" in request:
            CONTENDERS[name] = (prepare(request["case"]), request["case"]["batch"])
            CONTENDERS[name][0](0)  # the first call compiles
        run, batch = CONTENDERS[name]
        clock = time.process_time if request["by_cpu"] else time.perf_counter
        rows, began = [], clock()
        while True:
            seed += 1
            rows.append(run(seed))
            spent = clock() - began
            if spent >= request["seconds"]:
                break
        out = np.concatenate(rows).reshape(len(rows) * batch, -1).astype(float)
        answer = {"rate": len(out) / spent, "values": out[:, 0].tolist()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
