"""Where arrays lie on a mesh, by hand, and a mesh of one device."""

import dataclasses
import logging

import chex
import jax
import pytest
from jax.sharding import PartitionSpec as P
from train.made_hosts import TRAINING, started

from glassesjax.errors import BadInput
from glassesjax.train import train_steps
from glassesjax.train.config import check_mesh
from glassesjax.train.mesh import make_mesh, shard
from glassesjax.train.sharding import partition_spec

WAYS = {"seed": 2, "data": 1, "model": 4}


@pytest.mark.parametrize(
    ("shape", "ways", "wanted"),
    [
        ((2, 3, 64, 32), {}, P("seed", None, "model")),  # the longest
        ((2, 3, 32, 64), {}, P("seed", None, None, "model")),
        ((2, 3, 66, 32), {}, P("seed", None, None, "model")),  # 4 does not divide 66
        ((2, 3, 66, 33), {}, P("seed")),  # nor any
        ((2, 1023), {}, P("seed")),  # small
        ((2, 1024), {}, P("seed", "model")),
        ((2,), {}, P("seed")),
        ((2, 3, 64, 32), {"model": 1}, P("seed")),
        ((2, 3, 64, 32), {"seed": 1}, P(None, None, "model")),
        ((2, 3, 64, 32), {"seed": 1, "model": 1}, P()),
    ],
)
def test_where_arrays_lie(shape, ways, wanted):
    assert partition_spec(shape, WAYS | ways) == wanted


@pytest.fixture(scope="module")
def without():
    """Two training states after two steps on no mesh."""
    return train_steps(started([0, 1], 8), TRAINING, 2)


def test_a_mesh_of_one_device_changes_nothing(without, caplog):
    mesh, (wanted, told) = make_mesh(), without
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        found, said = train_steps(shard(started([0, 1], 8), mesh, TRAINING), TRAINING, 2, mesh=mesh)
        chex.assert_trees_all_equal((found.decoder, said), (wanted.decoder, told))
        compiled = lambda: sum("Compiling jit(train_steps)" in text for text in caplog.messages)
        first = compiled()
        train_steps(found, TRAINING, 2, mesh=mesh)
    assert compiled() == first == 1


def test_bad_input():
    with pytest.raises(BadInput, match=r"at most 1 devices, got 2 x 1 x 3"):
        make_mesh(seed=2, model=3)
    with pytest.raises(BadInput, match="got 1 x 0 x 1"):
        make_mesh(data=0)
    check_mesh(WAYS, 4, TRAINING)
    with pytest.raises(BadInput, match=r"a multiple of 2 seeds, .*, got 3"):
        check_mesh(WAYS, 3, TRAINING)
    with pytest.raises(BadInput, match=r"a multiple of 4 examples .*, got 2"):
        check_mesh(WAYS, 4, dataclasses.replace(TRAINING, parts=4))
