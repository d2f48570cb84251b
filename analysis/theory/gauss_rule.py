"""Gauss rules of discrete laws in double precision, of which docs/theory.md (17.5) is made.

A rule of m nodes has the moments of its law up to the order 2m - 1. It comes from the law's points by the Lanczos
process, and never from moments, which would lose a digit or two with every node. Leading axes run over laws.
"""

import numpy as np

from analysis.theory.activations import Array

Rule = tuple[Array, Array]  # nodes and weights, (..., points); weights are positive and sum to one

EXHAUSTED = 1e-13  # a next vector of at most this length is rounding: the law has no more points
RESOLVED = 1e-8  # weights above this are squares of components of eigenvectors, which have absolute errors


def gauss_rule(law: Rule, count: int) -> Rule:
    """The Gauss rule of `count` nodes of a law on many points, for docs/theory.md (17.5), (..., count) each.

    Its first moment is that of the law to rounding of the spread, not of the mean. A law on fewer points than `count`
    keeps them, and the other nodes have no weight.
    """
    points, weights = law
    mean = (weights * points).sum(axis=-1, keepdims=True)
    spread = np.sqrt((weights * (points - mean) ** 2).sum(axis=-1, keepdims=True))
    standard = (points - mean) / np.where(spread > 0, spread, 1.0)
    diagonal, beside = _lanczos(standard, weights, count)
    place = np.arange(count)
    jacobi = np.zeros((*diagonal.shape, count))
    jacobi[..., place, place] = diagonal
    jacobi[..., place[1:], place[:-1]] = beside[..., :-1]  # the lower triangle is all that eigh reads
    nodes, vectors = np.linalg.eigh(jacobi)
    out = np.square(vectors[..., 0, :])
    whole = np.all(beside[..., :-1] > 0, axis=-1, keepdims=True)
    out = np.where(whole & (out < RESOLVED), _small_weights(nodes, diagonal, beside), out)
    return mean + spread * nodes, out / out.sum(axis=-1, keepdims=True)


def _lanczos(points: Array, weights: Array, count: int) -> tuple[Array, Array]:
    """The recurrence coefficients of the law's orthonormal polynomials, (..., count) each."""
    basis = np.zeros((*points.shape[:-1], count, points.shape[-1]))
    diagonal, beside = np.zeros(basis.shape[:-1]), np.zeros(basis.shape[:-1])
    vector = np.sqrt(weights / weights.sum(axis=-1, keepdims=True))
    for k in range(count):
        basis[..., k, :] = vector
        known = basis[..., : k + 1, :]
        rest = points * vector
        diagonal[..., k] = (rest * vector).sum(axis=-1)
        rest = rest - diagonal[..., k, None] * vector
        if k:
            rest = rest - beside[..., k - 1, None] * basis[..., k - 1, :]
        shares = np.matmul(known, rest[..., None])  # what rounding leaves of earlier vectors, which would grow
        rest = rest - np.matmul(shares.swapaxes(-1, -2), known)[..., 0, :]
        length = np.sqrt(np.square(rest).sum(axis=-1))
        length = np.where(length > EXHAUSTED, length, 0.0)
        beside[..., k] = length
        vector = np.where(length > 0, 1.0, 0.0)[..., None] * rest / np.where(length > 0, length, 1.0)[..., None]
    return diagonal, beside


def _small_weights(nodes: Array, diagonal: Array, beside: Array) -> Array:
    """The weights 1/sum_k p_k^2 with p_k the orthonormal polynomials, which keep their digits far in a tail."""
    last, here, total = np.zeros_like(nodes), np.ones_like(nodes), np.ones_like(nodes)
    before = np.zeros(nodes.shape[:-1])
    with np.errstate(over="ignore", invalid="ignore"):  # a weight below the range of float64 is zero
        for k in range(nodes.shape[-1] - 1):
            length = np.where(beside[..., k] > 0, beside[..., k], 1.0)
            there = ((nodes - diagonal[..., k, None]) * here - before[..., None] * last) / length[..., None]
            last, here, before = here, there, beside[..., k]
            total = total + here**2
        return np.nan_to_num(1 / total)


def sum_rule(first: Rule, second: Rule, count: int) -> Rule:
    """The Gauss rule of `count` nodes of the sum of two independent numbers, for docs/theory.md (17.5)."""
    points = first[0][..., :, None] + second[0][..., None, :]
    weights = first[1][..., :, None] * second[1][..., None, :]
    flat = (*points.shape[:-2], -1)
    return gauss_rule((points.reshape(flat), weights.reshape(flat)), count)


def sum_of_copies(rule: Rule, copies: int) -> Rule:
    """The Gauss rule of the sum of independent copies of a number, from its Gauss rule, for docs/theory.md (17.5).

    It has as many nodes. By doubling, a sum of n takes some log2 n steps. Each keeps all moments that the rule has,
    because moments of a sum are made of moments of its terms up to the same order.
    """
    count, total, double = rule[0].shape[-1], None, rule
    while True:
        if copies % 2:
            total = double if total is None else sum_rule(total, double, count)
        copies //= 2
        if not copies:
            assert total is not None
            return total
        double = _doubled(double, count)


def _doubled(rule: Rule, count: int) -> Rule:
    """The Gauss rule of the sum of two independent copies; pairs of nodes that differ in order are one point."""
    left, right = np.triu_indices(rule[0].shape[-1])
    points = rule[0][..., left] + rule[0][..., right]
    weights = np.where(left == right, 1.0, 2.0) * rule[1][..., left] * rule[1][..., right]
    return gauss_rule((points, weights), count)
