"""What exact derivatives cost is said before they start, and what does not fit is refused."""

import dataclasses

import pytest

from glassesjax import memory
from glassesjax.errors import BadInput
from glassesjax.model import DecoderConfig, GatedMlp
from glassesjax.trace.sizes import check_derivatives, note_exact

LLAMA = DecoderConfig(
    vocab_size=32000,
    model_dim=4096,
    num_layers=32,
    num_heads=32,
    mlp=GatedMlp(dim=11008),
)


def test_the_cost_at_width_4096_is_that_by_hand(capsys):
    # 4 matrices of attention, 3 of the MLP and two gains in each of 32 layers; 8 texts of 64.
    weights = 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096)
    note_exact(LLAMA, [64] * 8, 32, 4, spectral=3)
    (line,) = capsys.readouterr().err.splitlines()
    assert "32768 vectors are pulled back, 4096 for each text" in line
    assert f"{4096 * weights * 64 * 8:.1e} multiplications" in line
    assert "12 GiB for operator norms" in line  # 3 * 64 * 4096^2 * 4 bytes
    assert "--method estimated pulls back 32 for each" in line


def test_nothing_is_said_where_it_is_cheap_or_has_no_norms(capsys):
    note_exact(dataclasses.replace(LLAMA, num_layers=1, model_dim=256), [64], 32, 4, spectral=1)
    assert capsys.readouterr().err == ""
    note_exact(LLAMA, [64], 32, 4, spectral=0)
    assert "operator norms" not in capsys.readouterr().err


def test_operator_norms_beyond_the_memory_offer_the_estimate(monkeypatch):
    monkeypatch.setattr(memory, "host_memory", lambda: 12 * 2**30 - 1)
    monkeypatch.setattr(memory, "device_memory", lambda: 0)
    with pytest.raises(BadInput, match="12 GiB at the least: use --method estimated or"):
        check_derivatives(LLAMA, 64, 4, spectral=3)
    check_derivatives(LLAMA, 64, 4, spectral=2)
