"""Makes tests/data/family_logits.npz: what transformers says on a small folder of each family.

Weights come from a seed and NumPy, so that numbers alone are stored. Run in the environment that
``make parity`` makes:

    .venv-parity/bin/python scripts/make_family_fixture.py --out tests/data/family_logits.npz
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from model.made_families import ROWS, family_folder

TOKENS = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8)


def main() -> None:
    """Opens each folder, runs the tokens, saves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    out, arrays = parser.parse_args().out, {}
    with tempfile.TemporaryDirectory() as root:
        for name in ROWS:
            folder = family_folder(Path(root) / name, name)
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
            # A name that the peer does not know would leave random weights.
            assert not report["missing_keys"], (name, report["missing_keys"])
            with torch.no_grad():
                arrays[name] = model.eval()(torch.tensor([TOKENS])).logits[0].numpy()
    np.savez_compressed(out, **arrays)
    print(f"{out}: torch {torch.__version__}, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
