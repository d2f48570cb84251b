"""The kernels of a CUDA device agree with the loops of a CPU. They run on the device, or without one in Triton's
interpreter on the CPU, where they are compiled for a device, too. Without Triton the tests skip themselves."""

import importlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from simulate.numerics import gram, normals

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="no Triton here, which the extra gpu-test brings")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def device() -> ModuleType:
    """simulate.numerics.device; without a CUDA device tests/conftest.py has its kernels interpreted."""
    return importlib.import_module("simulate.numerics.device")


@pytest.fixture(scope="module")
def products(device: ModuleType) -> ModuleType:
    return importlib.import_module("simulate.numerics.device_products")


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 5e-7), (torch.float64, 1e-14)])
@pytest.mark.parametrize("N", [1, 64, 1000])
@pytest.mark.parametrize("first", [0, 2**33 + 5])
def test_normals_are_those_of_the_loops(
    device: ModuleType, dtype: torch.dtype, rtol: float, N: int, first: int
) -> None:
    """Normals agree to rounding at sizes that are no multiple of a group or a program, and at high counters."""
    M, key, scale = 7, (2**32 - 1, 12), 1.5
    want = normals.normal(normals.Address(M, N, first, 5, key, scale, dtype, torch.device("cpu")))
    per_network = -(-N // (16 * (4 if dtype == torch.float32 else 2)))
    out = torch.full((M, N), torch.nan, dtype=dtype, device=DEVICE)
    address = (5, per_network, *key)
    got = device.normal(out, first * per_network * normals.LANES, address, scale, normals.LANES).cpu()
    torch.testing.assert_close(got, want, rtol=rtol, atol=rtol)
    other = device.normal(out, (first + 1) * per_network * normals.LANES, address, scale, normals.LANES).cpu()
    torch.testing.assert_close(other[:-1], want[1:], rtol=rtol, atol=rtol)  # the next address
    assert not torch.allclose(other, want, rtol=1e-2, atol=1e-2)


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("D", "n"), [(1, 1), (2, 64), (4, 300), (7, 5)])
def test_gram_mix_and_factor_are_those_of_the_loops(device: ModuleType, D: int, n: int, dtype: torch.dtype) -> None:
    """Also where g is singular, with fewer neurons than samples."""
    M, tight = 5, {"rtol": 1e-12, "atol": 1e-12}
    s = drawn(M, D, n, dtype=dtype)
    g = gram.gram(s, 0.3, 0.1)
    got = device.cross(s.to(DEVICE), s.to(DEVICE), 0.3, 0.1).cpu()
    torch.testing.assert_close(got, g, **tight)
    C = gram.factor(g)
    factor = device.factor(g.to(DEVICE), gram.ROUNDING).cpu()
    torch.testing.assert_close(factor @ factor.mT, g, **tight)
    assert torch.equal(factor, factor.tril())
    if n > D:  # otherwise g is singular, and rounding decides about the last columns
        torch.testing.assert_close(factor, C, rtol=1e-9, atol=1e-9)
    x, rounding = drawn(M, D, n, dtype=dtype), {torch.float32: 1e-6, torch.float64: 1e-12}[dtype]
    got = device.blend(C.to(DEVICE), x.to(DEVICE)).cpu()
    torch.testing.assert_close(got, gram.mix(C, x), rtol=rounding, atol=rounding)
    assert not torch.allclose(got, x, rtol=1e-2, atol=1e-2)


def test_exhausted_pivots_and_nan(device: ModuleType) -> None:
    """Equal inputs give a zero column, and NaN stays NaN, as in the loops."""
    g = torch.ones(3, 3, 3, dtype=torch.float64)
    g[1] = torch.nan
    g[2] = torch.diag(torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(device.factor(g.to(DEVICE), gram.ROUNDING).cpu(), gram.factor(g), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("K", "T", "D", "C_b"), [(1, 1, 1, 0.4), (2, 1, 2, 0.0), (4, 4, 4, 0.4), (6, 3, 3, 0.0)])
def test_pull_back_is_that_of_the_loops(
    device: ModuleType, K: int, T: int, D: int, C_b: float, dtype: torch.dtype
) -> None:
    M, n, above, scale = 3, 40, 6, 0.2
    s, xi, u = drawn(M, D, n, dtype=dtype), drawn(M, D, above, dtype=dtype), drawn(M, K, above, dtype=dtype)
    C, square = gram.factor(gram.gram(s, scale**2, C_b)), gram.gram(u)
    x, slopes = drawn(M, K, n, dtype=dtype) * scale, drawn(M, T, n, dtype=dtype)
    bias = drawn(M, K, 1, dtype=dtype) if C_b else u[:0]
    arrays = (u, gram.factor(square), C, xi, s, x, bias)
    want = gram.pull_back(*arrays, scale, slopes, K)
    got = device.pull_back(*(a.to(DEVICE) for a in arrays), scale, slopes.to(DEVICE)).cpu()
    tolerance = {torch.float32: 2e-6, torch.float64: 1e-11}[dtype]
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


SHAPES = [(2, 3, 130, 131), (2, 4, 7, 200), (3, 5, 70, 1), (1, 2, 1, 4)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shared", [False, True])
def test_products_are_those_of_torch(
    products: ModuleType, shape: tuple[int, ...], shared: bool, dtype: torch.dtype
) -> None:
    """Forward, backward and update agree with torch in float64, at sizes that leave every kind of remainder."""
    M, N, J, I = shape
    s, V, b, d = (drawn(*sizes, dtype=dtype).to(DEVICE) for sizes in ((M, N, J), (M, J, I), (M, I), (M, N, I)))
    V = V / J**0.5
    s = s[:1].expand(M, -1, -1) if shared else s
    wide = [x.double().clone() for x in (s, V, b, d)]
    tolerance = {torch.float32: 3e-5, torch.float64: 1e-12}[dtype]
    close = {"rtol": tolerance, "atol": tolerance}
    wanted = torch.baddbmm(wide[2][:, None], wide[0], wide[1])
    torch.testing.assert_close(products.affine(s, V, b).double(), wanted, **close)
    pulled = torch.bmm(wide[3], wide[1].mT)
    torch.testing.assert_close(products.descend(d, None, V, None, 0.0, below=True).double(), pulled, **close)
    moved = wide[1] - 0.1 * torch.bmm(wide[0].mT, wide[3])
    for other in (True, False):  # the update goes to V itself or, for momentum, to another tensor
        T = V.clone() if other else V
        got = products.descend(d, s, V, T, 0.1, below=other)
        torch.testing.assert_close(T.double(), moved, **close)
        assert not torch.allclose(T.double(), wide[1], **close)
        if other:
            torch.testing.assert_close(got.double(), pulled, **close)


COMPILE = """
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from simulate.numerics import device, device_layer, device_products

WIDE = {"R", "A", "g", "C", "square"}
POINTERS = WIDE | {"u", "s", "out", "x", "slopes", "V", "b", "z", "d", "T", "below", "xi", "bias"}
SIZES = {"LANES": 16, "BLOCK": 64, "VECTORS": 4, "ROWS": 4, "COLUMNS": 64, "OUT": 4}

for name, kernel in sorted((vars(device) | vars(device_products) | vars(device_layer)).items()):
    if not isinstance(kernel, triton.JITFunction) or kernel.fn.__annotations__.get("return", 0) is not None:
        continue  # what a kernel calls returns something
    for item in ("fp32", "fp64"):
        signature, constants = {}, {}
        of_item = {"WIDE": item == "fp64", "WHOLE": item == "fp32", "EACH": 2 if item == "fp64" else 4}
        for number, parameter in enumerate(kernel.params):
            if parameter.is_constexpr:
                constants[(number,)] = (SIZES | of_item).get(parameter.name, True)
                signature[parameter.name] = "constexpr"
            elif parameter.name in POINTERS and not parameter.annotation_type:
                wide = parameter.name in WIDE or (name == "_cross" and parameter.name == "out")
                signature[parameter.name] = "*fp64" if wide or name == "_factors" else "*" + item
            else:
                signature[parameter.name] = parameter.annotation_type or "i32"
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        print(name, item, len(made.asm["cubin"]) > 0)
"""


def test_kernels_compile_for_a_device(tmp_path: Path) -> None:
    """Every kernel compiles for an H100 in float32 and float64, whatever machine this is."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    made = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert made.stdout.split("\n")[:-1] == [
        f"{kernel} {item} True"
        for kernel in ("_affine", "_backward", "_blend", "_cross", "_descend", "_factors", "_forward", "_normals")
        for item in ("fp32", "fp64")
    ]
