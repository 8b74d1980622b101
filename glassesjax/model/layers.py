"""Products, norms and the MLP. All numerics are our own and follow a rounding plan.

Glossary of axes in einsum strings: ``t`` query, ``s`` key, ``k`` key-value head, ``n`` the queries
of all heads that share it, ``h`` head width, ``d`` model width, ``f`` output features. Weights are
stored ``[out, in]``, so that a decoding step reads their rows.
"""

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from glassesjax import draws
from glassesjax.model.config import (
    ConstantNorm,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    IdentityMlp,
    LayerNorm,
    LinearMlp,
    NoNorm,
    Norm,
    RMSNorm,
    ZeroMlp,
)
from glassesjax.precision import RoundingPlan, Site, accumulated_product


def normal(key: Array, out_dim: int, in_dim: int, dtype: jnp.dtype) -> nnx.Param:
    """A matrix that keeps the scale of its input: variance one over the input's width."""
    return nnx.Param(draws.normal(key, (out_dim, in_dim), dtype) * in_dim**-0.5)


def present(wanted: bool, make: Callable[[], nnx.Param]) -> Any:  # noqa: ANN401
    """A parameter, or None where a switch leaves it out; the same switch then never reads it."""
    return make() if wanted else None


def exact(subscripts: str, x: Array, y: Array, carrier: jnp.dtype) -> Array:
    """A product summed in the carrier, whatever the backend's default is."""
    # A GPU would take TF32 and a TPU bfloat16 for float32 products.
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum(subscripts, x, y, precision=highest, preferred_element_type=carrier)


@functools.cache
def matmul_precision() -> str:
    """The precision that ``exact`` requests of the backend, read from the lowered program."""
    x, y = jnp.zeros((2, 3), jnp.float32), jnp.zeros((4, 3), jnp.float32)
    text = jax.jit(lambda x, y: exact("td,fd->tf", x, y, x.dtype)).lower(x, y).as_text()
    [product] = re.findall("dot_general.*", text)
    # The attribute has one entry for each operand, and is absent where it is the default.
    requested = re.findall(r"\b(DEFAULT|HIGH|HIGHEST)\b", product) or ["DEFAULT"]
    return " and ".join(dict.fromkeys(requested)).lower()


class Rounding(nnx.Module):
    """A part of a decoder, which rounds by a plan.

    ``Decoder.at`` sets the plan of all parts. It is no array, so every transform keeps it.
    """

    def __init__(self) -> None:
        self._plan: RoundingPlan | None = None

    def plan_of(self, x: Array) -> RoundingPlan:
        """The plan; without one, no rounding but that of the dtype in which ``x`` is stored."""
        return RoundingPlan.of_dtype(x.dtype) if self._plan is None else self._plan

    @property
    def own_plan(self) -> RoundingPlan | None:
        """The plan that it was given."""
        return self._plan

    def follow(self, plan: RoundingPlan | None) -> None:
        """Sets the plan of this part and of all parts in it."""
        for _, part in nnx.iter_modules(self):
            if isinstance(part, Rounding):
                part._plan = plan


def product(subscripts: str, x: Array, y: Array, plan: RoundingPlan) -> Array:
    """A product of the pass: its operands and its sum as the plan has them, not yet stored."""
    carrier = plan.carrier_dtype
    if plan.operands is not None:
        x, y = (plan.store(Site.OPERANDS, each) for each in (x, y))
    if plan.product_sum is None:
        return exact(subscripts, x, y, carrier)
    wide = lambda each: each.astype(carrier)
    return accumulated_product(subscripts, wide(x), wide(y), plan.product_sum)


def project(
    x: Float[Array, "seq inputs"],
    weight: nnx.Param,
    bias: nnx.Param | None,
    plan: RoundingPlan,
) -> Float[Array, "seq features"]:
    """``W x + b`` in the carrier, not yet stored."""
    x = x if plan.inputs is None else plan.store(Site.INPUTS, x)
    # Weights narrower than the carrier are widened here, one layer at a time: less memory.
    y = product("td,fd->tf", x, weight[...], plan)
    return y if bias is None else y + bias[...].astype(plan.carrier_dtype)[None]


class Normalize(Rounding):
    """One of the four norms, in the carrier, with two-pass variance."""

    def __init__(self, norm: Norm, *, width: int, dtype: jnp.dtype) -> None:
        super().__init__()
        self.norm = norm
        gained = isinstance(self.norm, RMSNorm | LayerNorm)
        # The stored gain is what is left beside the offset, so that both start as a gain of one.
        offset = self.norm.offset if isinstance(self.norm, RMSNorm) else 0.0
        fill = lambda value: nnx.Param(jnp.full(width, value, dtype))
        self.gain = present(gained, lambda: fill(1 - offset))
        self.bias = present(isinstance(self.norm, LayerNorm), lambda: fill(0))

    def __call__(self, x: Float[Array, "*rows width"]) -> Float[Array, "*rows width"]:
        """The normalized rows in the carrier, not yet stored."""
        x = x.astype(self.plan_of(x).carrier_dtype)
        mean_of = lambda values: jnp.mean(values, axis=-1, keepdims=True)
        # (width) -> (1, ..., width): one for all rows
        wide = lambda weight: weight[...].astype(x.dtype).reshape(*[1] * (x.ndim - 1), -1)
        match self.norm:
            case NoNorm():
                return x
            case ConstantNorm(beta=beta):
                return x / jnp.asarray(beta, x.dtype)
            case RMSNorm(eps=eps, offset=offset):
                gain = wide(self.gain) + jnp.asarray(offset, x.dtype)
                return x / jnp.sqrt(mean_of(x * x) + jnp.asarray(eps, x.dtype)) * gain
            case LayerNorm(eps=eps):
                # Two passes: the mean of squares less the squared mean would cancel.
                x = x - mean_of(x)
                x = x / jnp.sqrt(mean_of(x * x) + jnp.asarray(eps, x.dtype))
                return x * wide(self.gain) + wide(self.bias)


class MlpBlock(Rounding):
    """The map psi."""

    def __init__(self, config: DecoderConfig, *, key: Array, dtype: jnp.dtype) -> None:
        super().__init__()
        self.mlp = config.mlp
        # All three whatever the kind, so that a switch does not change the other draws.
        gate_key, up_key, down_key = draws.split(key, 3)
        dim = config.model_dim
        gated = isinstance(self.mlp, GatedMlp)
        deep = isinstance(self.mlp, DenseMlp | GatedMlp)
        there = deep or isinstance(self.mlp, LinearMlp)
        hidden = config.mlp_dim if deep else dim
        zeros = lambda width, wanted: present(
            wanted and config.bias, lambda: nnx.Param(jnp.zeros(width, dtype))
        )
        self.gate = present(gated, lambda: normal(gate_key, hidden, dim, dtype))
        self.up = present(deep, lambda: normal(up_key, hidden, dim, dtype))
        self.down = present(there, lambda: normal(down_key, dim, hidden, dtype))
        self.gate_bias, self.up_bias = zeros(hidden, gated), zeros(hidden, deep)
        self.down_bias = zeros(dim, there)

    def __call__(self, x: Float[Array, "seq model_dim"]) -> Float[Array, "seq model_dim"]:
        """The MLP's output in the carrier, not yet stored."""
        plan = self.plan_of(x)
        carrier, store = plan.carrier_dtype, functools.partial(plan.store, Site.ACTIVATIONS)
        match self.mlp:
            case ZeroMlp():
                return jnp.zeros_like(x, carrier)
            case IdentityMlp(sigma=sigma):
                return x.astype(carrier) * jnp.asarray(sigma, carrier)
            case LinearMlp():
                return project(x, self.down, self.down_bias, plan)
            case GatedMlp(activation=activation):
                # JAX's default is the tanh form, which GeGLU has.
                act = jax.nn.silu if activation == "silu" else jax.nn.gelu
                gate = act(project(x, self.gate, self.gate_bias, plan))
                hidden = store(gate * project(x, self.up, self.up_bias, plan))
                return project(hidden, self.down, self.down_bias, plan)
            case DenseMlp(activation=activation):
                hidden = dense_activation(activation)(project(x, self.up, self.up_bias, plan))
                return project(store(hidden), self.down, self.down_bias, plan)


def dense_activation(name: str) -> Callable[[Array], Array]:
    """The function between the two matrices of a ``DenseMlp``."""
    exact_gelu = functools.partial(jax.nn.gelu, approximate=False)
    return {"gelu": gelu, "gelu_exact": exact_gelu, "relu": jax.nn.relu}[name]


@jax.custom_jvp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The tanh form."""
    return jax.nn.gelu(x, approximate=True)


@gelu.defjvp
def _gelu_slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """The slope beside the value: a gradient then keeps one array instead of five."""
    [x], [moved] = primals, tangents
    # gelu(x) = x (1 + tanh(a (x + b x^3))) / 2 (arXiv 1606.08415); Python floats are weakly typed.
    steep, cubic = math.sqrt(2 / math.pi), 0.044715
    tanh = jnp.tanh(steep * (x + cubic * x**3))
    slope = (1 + tanh) / 2 + x * (1 - tanh**2) / 2 * steep * (1 + 3 * cubic * x**2)
    return gelu(x), slope * moved


def softcap(x: Float[Array, "*shape"], cap: float | Float[Array, ""]) -> Float[Array, "*shape"]:
    """A smooth clip to the open interval (-cap, cap)."""
    limit = jnp.asarray(cap, x.dtype)
    return limit * jnp.tanh(x / limit)
