"""Where each weight of a decoder lies in a model's files, validated from headers alone."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from glassesjax.errors import BadInput, brief
from glassesjax.model.config import DecoderConfig
from glassesjax.model.families.family import Family, Reading, Source
from glassesjax.model.families.keys import Keys
from glassesjax.model.families.table import family_of
from glassesjax.model.folder import ModelFolder, StoredTensor
from glassesjax.model.safetensors_file import FLOATS
from glassesjax.model.weights import parameter_shapes

NAMES = {"F64": "f64", "F32": "f32", "BF16": "bf16", "F16": "f16"}
TABLE = "embed.table"
STACKED = "blocks."


@runtime_checkable
class Container(Protocol):
    """What files of weights say in their headers: a folder, or a GGUF file with its parts."""

    @property
    def folder(self) -> Path:
        """Where the model is, for messages."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """Of weights, in the order of their names."""
        ...

    @property
    def tensors(self) -> Mapping[str, StoredTensor]:
        """By the name in the file."""
        ...


class Placed(NamedTuple):
    """A decoder, and where its weights are."""

    family: Family
    config: DecoderConfig
    sources: Mapping[str, Source]
    """By our name; the file's names as they are there."""
    zeros: frozenset[str]
    notes: tuple[str, ...]
    dtypes: tuple[str, ...]
    """Names of the dtypes in which the weights are stored, such as ``BF16``."""
    repeated: str | None
    """The file's name of an unembedding that repeats the table of embeddings."""

    @property
    def computed(self) -> bool:
        """Whether some weight is computed from those of the file."""
        return any(source.layout.computes for source in self.sources.values())


def place(folder: ModelFolder) -> Placed:
    """Compares a folder's tensors with what its configuration needs.

    Args:
      folder: Its headers.

    Raises:
      BadInput: The family or a key is not supported, or a tensor is missing, unknown, of another
        shape or of a dtype that holds no weights.
    """
    keys = Keys(folder.config, str(folder.config_path))
    family = family_of(keys)
    reading = family.read(keys)
    keys.check_all_read()
    placed = placed_in(folder, family, reading, where=keys.where, prefix=family.prefix)
    for dtype in placed.dtypes:
        if dtype not in FLOATS:
            expected = f"weights of {', '.join(NAMES.values())}"
            raise keys.refusal(expected, f"{dtype}, as quantized models have")
    return placed


def placed_in(
    container: Container,
    family: Family,
    reading: Reading,
    *,
    where: str,
    prefix: str = "",
    read: Collection[str] = (),
) -> Placed:
    """Compares a container's tensors with what a reading of its configuration needs.

    Args:
      container: Its headers.
      family: The row of the table.
      reading: Settings and sources.
      where: What has the settings, for messages.
      prefix: Begin of names that the files may leave out.
      read: Tensors that the reading has used already.

    Raises:
      BadInput: The settings make no model, or a tensor is missing, unknown or of another shape.
    """
    try:
        config = DecoderConfig(**reading.settings)
        # Before shapes are made of sizes that may be anything.
        sizes = (config.vocab_size, config.model_dim, config.num_heads * config.key_dim)
        if max(*sizes, config.mlp_dim) > _largest(container):
            raise ValueError(f"Expected sizes of its tensors, got {max(*sizes, config.mlp_dim)}")
        shapes = parameter_shapes(config)
    except BadInput:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        got = str(error).rstrip(".")
        expected = f"Expected sizes that make a model in {where}"
        raise BadInput(f"{expected}, got {got}: use another model.") from error
    if any(name.startswith(prefix) for name in container.tensors):
        prefix = ""
    sources = {
        ours: source._replace(names=tuple(_name(name, prefix, container) for name in source.names))
        for ours, source in reading.sources.items()
    }
    used = _check_tensors(container, config, shapes, sources, reading.zeros)
    repeated = _check_others(container, family, sources, used | set(read))
    dtypes = sorted({container.tensors[name].entry.dtype for name in used})
    return Placed(family, config, sources, reading.zeros, reading.notes, tuple(dtypes), repeated)


def layer_name(name: str, layer: int) -> str:
    """The name of a layer's tensor."""
    return name.replace("{}", str(layer))


def layers_of(ours: str, config: DecoderConfig) -> range:
    """The layers whose tensors make a weight; one for a weight of no layer."""
    return range(config.num_layers if ours.startswith(STACKED) else 1)


def _largest(container: Container) -> int:
    return max(
        (size for tensor in container.tensors.values() for size in tensor.entry.shape), default=0
    )


def _name(names: str, prefix: str, container: Container) -> str:
    """Of several names of a tensor the one that is there; without the prefix if it is left out."""
    every = [name.removeprefix(prefix) for name in names.split("|")]
    return next((name for name in every if layer_name(name, 0) in container.tensors), every[0])


def _check_tensors(
    container: Container,
    config: DecoderConfig,
    shapes: Mapping[str, tuple[int, ...]],
    sources: Mapping[str, Source],
    zeros: frozenset[str],
) -> set[str]:
    used: set[str] = set()
    for ours, shape in shapes.items():
        if ours in zeros:
            continue
        source = sources[ours]
        one = shape[1:] if ours.startswith(STACKED) else shape
        expected = source.layout.shapes(one, config)
        for layer in layers_of(ours, config):
            for name, wanted in zip(source.names, expected, strict=True):
                name = layer_name(name, layer)
                if name not in container.tensors:
                    got = f"one in which {name} is missing"
                    raise _refusal(container, f"the tensors of {config.num_layers} layers", got)
                if (got := container.tensors[name].entry.shape) != wanted:
                    got = f"{list(got)} for {list(wanted)} in {name}"
                    raise _refusal(container, "tensors that fit its configuration", got)
                used.add(name)
    return used


def _check_others(
    container: Container, family: Family, sources: Mapping[str, Source], used: set[str]
) -> str | None:
    """Refuses tensors that are neither used nor known to be no weights."""
    repeated = None
    for name, tensor in container.tensors.items():
        if name in used or any(f".{name}".endswith(f".{end}") for end in family.buffers):
            continue
        table = container.tensors[sources[TABLE].names[0]].entry
        if name == family.unembedding and tensor.entry.shape == table.shape:
            repeated = name  # of a tied model; compared with the table once it is read
            continue
        got = f"also {brief(name)}"
        raise _refusal(container, f"the tensors of a model of {family.title}", got)
    return repeated


def _refusal(container: Container, expected: str, got: str) -> BadInput:
    return BadInput(f"Expected {expected} in {container.folder}, got {got}: use another model.")
