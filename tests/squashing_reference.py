"""Over-squashing once more, slow and obvious: paths one by one, exact products, tokens in a list.

Nothing here is shared with the package. Numbers are fractions wherever a float is not the subject:
a float is a fraction, so that a rollout of given weights has one exact value.
"""

import itertools
import math
from fractions import Fraction

import numpy as np


def random_causal(rng, *shape):
    """Row-stochastic lower-triangular weights with entries of very different sizes."""
    *_, n, _ = shape
    logits = np.where(np.tril(np.ones((n, n), bool)), rng.normal(scale=3, size=shape), -np.inf)
    grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def fractions(matrix):
    """The exact values of a matrix of floats, as rows."""
    return [[Fraction(float(entry)) for entry in row] for row in np.asarray(matrix)]


def plus_identity(matrix, take, keep):
    n = len(matrix)
    return [[take * matrix[i][j] + (keep if i == j else 0) for j in range(n)] for i in range(n)]


def path_sums(layers):
    """For each token, the sum over all paths to the last token; the first layer comes first."""
    n, depth = len(layers[0]), len(layers)
    sums = [Fraction(0)] * n
    for start in range(n):
        for between in itertools.product(range(n), repeat=depth - 1):
            path = (start, *between, n - 1)
            steps = (layers[level][path[level + 1]][path[level]] for level in range(depth))
            sums[start] += math.prod(steps, start=Fraction(1))
    return sums


def last_row(layers, n):
    """The last row of the product of exact layers, the last one leftmost."""
    row = [Fraction(int(i == n - 1)) for i in range(n)]
    for layer in reversed(layers):
        row = [sum(row[j] * layer[j][i] for j in range(n)) for i in range(n)]
    return row


def uniform(n, sink=Fraction(0)):
    """Uniform causal attention, of which the part ``sink`` goes to the first token."""
    rows = [
        [(1 - sink) / Fraction(i + 1) if j <= i else Fraction(0) for j in range(n)]
        for i in range(n)
    ]
    return [[row[0] + sink, *row[1:]] for row in rows]


def window(n, width):
    rows = []
    for i in range(n):
        seen = [max(0, i - width + 1) <= j <= i for j in range(n)]
        rows.append([Fraction(int(s), sum(seen)) for s in seen])
    return rows


def geometric(n, decay):
    """Weights in proportion to decay^distance, as a left edge at the first token leaves them."""
    rows = []
    for i in range(n):
        sizes = [decay ** (i - j) if j <= i else Fraction(0) for j in range(n)]
        rows.append([size / sum(sizes) for size in sizes])
    return rows


def typed_attention(tokens, logits, values, resid, causal=False):
    """One attention output a token of a list of types, by loops."""
    found = []
    for i, a in enumerate(tokens):
        seen = tokens[: i + 1] if causal else tokens
        sizes = [math.exp(logits[a][t]) for t in seen]
        mixed = sum(size * values[t] for size, t in zip(sizes, seen, strict=True)) / sum(sizes)
        found.append(mixed + resid[a])
    return np.array(found)
