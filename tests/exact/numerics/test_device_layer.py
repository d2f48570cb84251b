"""A layer in one kernel of a CUDA device is the layer that is composed of the loops of a CPU. The kernels run on the
device, or without one in Triton's interpreter on the CPU. Without Triton the tests skip themselves."""

import importlib
from dataclasses import replace
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
from torch import Tensor

from simulate.api import read_one
from simulate.networks import one_pass
from simulate.numerics import layer
from simulate.numerics.gram import Form, factor, gram
from simulate.numerics.normals import Address
from simulate.running import compute
from simulate.running.prepare import prepare
from tests.exact.numerics.test_device import DEVICE, drawn

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="no Triton here, which the extra gpu-test brings")
M, KEY, SCALE = 2, (2**32 - 1, 12), 0.2
TANH, LEAKY = Form(tanh=True), Form(below=0.3)
FORMS = {TANH: torch.tanh, LEAKY: lambda z: torch.where(z > 0, z, LEAKY.below * z), Form(): torch.relu}
CLOSE = {torch.float32: 2e-6, torch.float64: 1e-12}


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    """simulate.numerics.device_layer; without a CUDA device tests/conftest.py has its kernels interpreted."""
    return importlib.import_module("simulate.numerics.device_layer")


def address_of(N: int, dtype: torch.dtype, first: int = 2**33 + 5, scale: float = 1.0) -> Address:
    return Address(M, N, first, 11, KEY, scale, dtype, torch.device("cpu"))


def there(*values: object) -> list[object]:
    return [value.to(DEVICE) if isinstance(value, Tensor) else value for value in values]


def close(got: tuple[Tensor, ...], want: tuple[Tensor, ...], tolerance: float) -> bool:
    """Whether arrays agree to rounding, relative to the largest number of each."""
    sizes = [max(1.0, float(b.abs().max())) if b.numel() else 1.0 for b in want]
    return all(torch.allclose(a.cpu(), b, 0.0, tolerance * size) for a, b, size in zip(got, want, sizes, strict=True))


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(
    ("D", "n", "form"), [(1, 64, Form()), (2, 70, TANH), (3, 192, LEAKY), (4, 16, Form()), (5, 200, TANH)]
)
def test_forward(kernels: ModuleType, D: int, n: int, form: Form, dtype: torch.dtype) -> None:
    """Also at widths that are no multiple of a group or of a block, which is 128 neurons at 5 samples, and at high
    counters. The control is the next network."""
    C, keep, hold = factor(gram(drawn(M, D, 40))) / 4, D != 2, D != 3
    want = layer.forward(C, address_of(D * n, dtype), FORMS[form], None, keep, hold)
    got = kernels.forward(C.to(DEVICE), address_of(D * n, dtype), form, keep, hold)
    assert close(got, want, CLOSE[dtype])
    assert [part.numel() for part in got[:3]] == [M * D * n * there for there in (hold, keep or hold, hold)]
    other = kernels.forward(C.to(DEVICE), address_of(D * n, dtype, 2**33 + 6), form, keep, True)
    assert not close(other[3:], want[3:], 0.01)
    if hold:
        torch.testing.assert_close(other[0][:-1].cpu(), want.xi[1:], rtol=1e-6, atol=1e-6)


def given(K: int, D: int, n: int, above: int, C_b: float, dtype: torch.dtype) -> tuple[object, ...]:
    """Arguments of `simulate.numerics.layer.backward` up to the biases."""
    s, xi, u = torch.tanh(drawn(M, D, n)).to(dtype), drawn(M, D, above, dtype=dtype), drawn(M, K, above, dtype=dtype)
    bias = C_b**0.5 * drawn(M, K, 1, dtype=dtype) if C_b else u[:0]
    factors = factor(gram(u)), factor(gram(s, SCALE**2, C_b))
    return u, *factors, xi, s, address_of(K * n, dtype, scale=SCALE), bias


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(
    ("K", "split", "D", "n", "above", "C_b", "form"),
    [(1, 0, 1, 64, 1, 0.0, LEAKY), (1, 0, 4, 70, 1, 0.4, TANH), (2, 2, 2, 192, 40, 0.0, TANH),
     (4, 4, 4, 64, 70, 0.1, TANH), (3, 2, 2, 80, 64, 0.0, Form()), (5, 5, 5, 200, 7, 0.3, LEAKY)],
)  # fmt: skip
def test_backward(
    kernels: ModuleType, K: int, split: int, D: int, n: int, above: int, C_b: float, form: Form, dtype: torch.dtype
) -> None:
    """With and without biases, and with vectors that all samples share."""
    arguments = (*given(K, D, n, above, C_b, dtype), form, split)
    assert close(kernels.backward(*there(*arguments)), layer.backward(*arguments), CLOSE[dtype])


def test_other_pull_backs_are_not_that(kernels: ModuleType) -> None:
    """Controls: the fresh normals of other networks, known directions that are drawn again, no biases, other slopes,
    and the factors of another network."""
    u, R, C, xi, s, address, bias = given(2, 2, 16, 5, 0.3, torch.float32)
    want = layer.backward(u, R, C, xi, s, address, bias, TANH, 2)
    assert close(kernels.backward(*there(u, R, C, xi, s, address, bias, TANH, 2)), want, 2e-6)
    for other in (
        (u, R, C, xi, s, address._replace(first=0), bias, TANH, 2),
        (u, R, 0 * C, xi, s, address, bias, TANH, 2),
        (u, R, C, xi, s, address, bias[:0], TANH, 2),
        (u, R, C, xi, s, address, bias, LEAKY, 2),
        (u, R, C.flip(0), xi, s, address, bias, TANH, 2),
    ):
        assert not close(kernels.backward(*there(*other)), want, 1e-3)


def test_samples_that_are_equal_or_dead(kernels: ModuleType) -> None:
    """A factor with columns of zero, as equal samples and dead networks have it."""
    s = drawn(M, 4, 70).relu()
    s[:, 1], s[:, 2], s[1] = s[:, 0], 0.0, 0.0
    u, xi = drawn(M, 4, 9), drawn(M, 4, 9)
    C, R = factor(gram(s, SCALE**2)), factor(gram(u))
    arguments = (u, R, C, xi, s, address_of(4 * 70, torch.float32, scale=SCALE), u[:0], Form(), 4)
    want = layer.backward(*arguments)
    assert close(kernels.backward(*there(*arguments)), want, 2e-6)
    assert all(part.isfinite().all() for part in want)


def test_tanh_is_good_to_three_units(kernels: ModuleType) -> None:
    """Relative to float64, at all sizes, and never beyond 1."""
    n, D = 2500, 3
    C = torch.diag(torch.tensor([6.0, 0.3, 1e-3], dtype=torch.float64)).expand(M, -1, -1).contiguous()
    _, z, s, _ = (
        part.cpu() for part in kernels.forward(C.to(DEVICE), address_of(D * n, torch.float32), TANH, True, True)
    )
    exact = torch.tanh(z.double())
    unit = torch.exp2(torch.floor(torch.log2(exact.abs())) - 23)
    errors = (s.double() - exact).abs() / unit
    assert errors.max() < 3
    assert errors.max() > 0.5  # rounding alone
    assert s.abs().max() == 1.0
    _, z, s, _ = (
        part.cpu() for part in kernels.forward(C.to(DEVICE), address_of(D * n, torch.float64), TANH, True, True)
    )
    torch.testing.assert_close(s, torch.tanh(z), rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("form", [TANH, Form()], ids=["tanh", "relu"])
def test_a_diverged_network_stays_diverged(kernels: ModuleType, form: Form) -> None:
    """NaN goes through, and leaves the other networks as they are."""
    C = factor(gram(drawn(M, 2, 40)))
    C[0] = torch.nan
    want = layer.forward(C, address_of(140, torch.float32), FORMS[form], None, True)
    xi, *others = kernels.forward(C.to(DEVICE), address_of(140, torch.float32), form, True, True)
    assert all(part[0].isnan().all() for part in others[1:])
    assert close([xi, *(part[1:] for part in others)], [want.xi, *(part[1:] for part in want[1:])], 2e-6)
    u = drawn(M, 2, 70)
    arguments = (u, factor(gram(u)), C, want.xi, want.s, address_of(140, torch.float32), u[:0], form, 2)
    got = kernels.backward(*there(*arguments))
    assert all(part[0].isnan().all() for part in got)
    assert close([part[1:] for part in got], [part[1:] for part in layer.backward(*arguments)], 2e-6)


@pytest.mark.parametrize(
    ("activation", "observables"), [("tanh", "ntk"), ("relu", "ntk"), ("sin", "ntk"), ("tanh", "preactivations")]
)
def test_networks_take_them(
    kernels: ModuleType, activation: str, observables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a block, with the NTK of two layers, are those of a CPU; activations without a form, and more samples
    than a program holds, are composed."""
    job = prepare(read_one([
        f"observables={observables}", "observables.layers=[3,4]", "network.width=16", "network.depth=4",
        f"activation={activation}", "initialization=gaussian", "initialization.C_b=0.3", "initialization.C_W=1.5",
        "inputs.count=2", "ensemble.networks=2", "ensemble.block=2", "ensemble.device=cpu",
    ]))  # fmt: skip
    want, calls = compute.compute_block(job, 0), []
    for name, kernel in [(name, getattr(kernels, name)) for name in ("forward", "backward")]:
        monkeypatch.setattr(kernels, name, lambda *a, of=kernel, name=name: calls.append(name) or of(*a))
    if DEVICE.type == "cpu":  # as if it had kernels, for whole layers alone
        monkeypatch.setattr(layer, "on_device", lambda device: True)
        monkeypatch.setattr(one_pass, "applies", lambda *_: False)
    assert layer._kernels(17, torch.empty(0, device=DEVICE)) is None
    on_device = replace(job.settings, ensemble=replace(job.settings.ensemble, device=DEVICE.type))
    rows, status = compute.compute_block(replace(job, settings=on_device), 0)
    expected = ["forward"] * 3 + ["backward"] * 3 * (observables == "ntk")
    assert calls == ([] if activation == "sin" else expected)
    assert (status == want[1]).all()
    for family, of_family in want[0].items():
        torch.testing.assert_close(
            *map(torch.from_numpy, (rows[family], of_family)), rtol=1e-4, atol=1e-5, equal_nan=True
        )
