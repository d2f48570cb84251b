"""Products with weights: the compiled loops in float32 agree with torch in float64."""

import pytest
import torch
from torch import Tensor

from simulate.numerics.gram import Form
from simulate.numerics.products import _uses_loops, affine, descend, pull_back


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _wide(slopes: Tensor | Form | None) -> Tensor | Form | None:
    return slopes.double() if isinstance(slopes, Tensor) else slopes


@pytest.mark.parametrize(
    "shape",
    [(3, 5, 194, 195), (2, 4, 7, 200), (2, 3, 201, 64), (1, 9, 64, 48), (3, 5, 70, 1), (2, 3, 9, 2), (1, 2, 64, 4)],
)
@pytest.mark.parametrize("shared", [False, True])
def test_loops_over_weights(shape: tuple[int, ...], shared: bool) -> None:
    """Forward, backward and update agree with torch in float64, at sizes that leave every kind of remainder."""
    M, N, J, I = shape
    s, V, b, d = (x.float() for x in (normal(M, N, J), normal(M, J, I, seed=1) / J**0.5, normal(M, I), normal(M, N, I)))
    s = s[:1].expand(M, -1, -1) if shared else s  # all networks share s, as they share inputs
    assert _uses_loops(V)
    assert not _uses_loops(V.double())
    close = {"rtol": 1e-5, "atol": 3e-5}
    wide = [x.double() for x in (s, V, b, d)]
    torch.testing.assert_close(affine(s, V, b).double(), affine(wide[0], wide[1], wide[2]), **close)
    slopes = normal(M, N, J, seed=2).float()
    torch.testing.assert_close(pull_back(d, V).double(), torch.bmm(wide[3], wide[1].mT), **close)
    several = torch.cat([d, 2 * d], dim=1)  # rows of two outputs
    for form in (slopes, Form(tanh=True), Form(below=0.3)):
        got, want = (
            pull_back(several, V, slopes, form),
            pull_back(several.double(), wide[1], slopes.double(), _wide(form)),
        )
        torch.testing.assert_close(got.double(), want, **close)
    for form in (slopes, None) if shared else (slopes, Form(tanh=True), None):
        for other in (True, False):  # the update goes to V itself or, for momentum, to another tensor
            T, T_wide = (x.clone() if other else x for x in (V, wide[1]))
            b_before = b.double()
            got = descend(d, s, V, T, b, (0.1, 0.2), form)
            want = descend(wide[3], wide[0], wide[1], T_wide, wide[2], (0.1, 0.2), _wide(form))
            assert (got is None) == (want is None) == (form is None)
            if got is not None and want is not None:
                torch.testing.assert_close(got.double(), want, **close)
            torch.testing.assert_close(T.double(), T_wide, **close)
            torch.testing.assert_close(b.double(), b_before - 0.2 * wide[3].sum(dim=1), **close)
