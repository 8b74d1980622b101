"""Small random folders as users have them, written with NumPy alone."""

import json

import ml_dtypes
import numpy as np

NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 11,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "rope_theta": 10000.0,
    "torch_dtype": "float32",
}


def llama_tensors(dtype=np.float32, seed=0):
    """Tensors of ``LLAMA`` under the names of its files."""
    shapes = {
        "input_layernorm": (8,),
        "post_attention_layernorm": (8,),
        "self_attn.q_proj": (8, 8),
        "self_attn.k_proj": (4, 8),
        "self_attn.v_proj": (4, 8),
        "self_attn.o_proj": (8, 8),
        "mlp.gate_proj": (12, 8),
        "mlp.up_proj": (12, 8),
        "mlp.down_proj": (8, 12),
    }
    every = {f"model.layers.{i}.{n}.weight": s for i in range(2) for n, s in shapes.items()}
    every |= {"model.embed_tokens.weight": (11, 8), "model.norm.weight": (8,)}
    every |= {"lm_head.weight": (11, 8)}
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in every.items()}


def written(path, tensors, *, change=lambda header: None):
    """A safetensors file; ``change`` may spoil its header."""
    header, at = {}, 0
    for name, array in tensors.items():
        end = at + array.nbytes
        header[name] = {
            "dtype": NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, end],
        }
        at = end
    change(header)
    text = json.dumps(header).encode()
    data = b"".join(array.tobytes() for array in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def folder(path, config=LLAMA, tensors=None):
    """A folder with a configuration and one file of weights."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    written(path / "model.safetensors", llama_tensors() if tensors is None else tensors)
    return path


def sharded(path, config=LLAMA, tensors=None):
    """The same in two files with an index."""
    tensors = llama_tensors() if tensors is None else tensors
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    names, places = list(tensors), {}
    for part, some in enumerate((names[:10], names[10:]), start=1):
        file = f"model-{part:05}-of-00002.safetensors"
        written(path / file, {name: tensors[name] for name in some})
        places |= dict.fromkeys(some, file)
    index = {"metadata": {}, "weight_map": places}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


BF16 = ml_dtypes.bfloat16
