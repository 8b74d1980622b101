"""Several processes as one program: finding each other, fetching, sharing, and ending together.

Every process runs the same command. A process that dies takes the others with it: JAX's service
misses its heartbeat and aborts them. One that lives and does not come is waited for only so long.
"""

import contextlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from glassesjax import draws
from glassesjax.errors import BadInput

HEARTBEAT = 30  # s after which a process that was killed has ended all others
MEETING = 300  # s to wait for all others to start
# s to wait for the others to end: the writer draws pages meanwhile. Nothing else is missed by it,
# for heartbeats go on.
ENDING = 24 * 3600
PORTS = 1 << 16
PATIENCE = 3600.0  # s to wait for the slowest process where all come together
NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def connect(
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    *,
    heartbeat: int = HEARTBEAT,
    meeting: int = MEETING,
) -> None:
    """Makes this process one of several; call it before anything asks JAX for its devices.

    What is absent is read from the environment, ``JAX_COORDINATOR_ADDRESS`` (host:port of process
    0), ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``, and then asked of the cluster, where JAX knows
    it: SLURM, Open MPI, a TPU pod, Kubernetes.

    Args:
      coordinator: Where process 0 can be reached, as host:port.
      count: Processes in all.
      index: Of this process, from 0.
      heartbeat: Seconds within which the others end if one is killed or cut off.
      meeting: Seconds to wait until all have started. Then the process ends with status 1.

    Raises:
      BadInput: Neither says who the others are, or JAX cannot join them.
    """
    coordinator = os.environ.get(NAMES[0]) if coordinator is None else coordinator
    known = coordinator, _number(NAMES[1], count), _number(NAMES[2], index)
    _check(*known)
    if coordinator is not None and known[2] == 0:
        _check_port(coordinator)
    try:
        with _waiting(meeting, "connect"):
            jax.distributed.initialize(
                *known,
                initialization_timeout=meeting + HEARTBEAT,  # where JAX itself would abort
                heartbeat_timeout_seconds=heartbeat,
                shutdown_timeout_seconds=ENDING,
            )
    except (ValueError, TypeError) as error:  # neither told nor found
        wanted = f"Wanted a cluster that JAX knows, or {', '.join(NAMES)}"
        raise BadInput(f"{wanted}; found {_told(known)}: set all three.") from error
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise BadInput(f"Wanted to join the other processes; JAX says: {said}") from error


def is_writer() -> bool:
    """Whether this process writes rows, checkpoints and pages: one does."""
    return jax.process_index() == 0


def fetch(tree: Any, *, patience: float = PATIENCE) -> Any:  # noqa: ANN401
    """Arrays as this host's own, whole also where their parts lie in several processes.

    All processes must call it alike.

    Args:
      tree: Arrays; keys stay keys.
      patience: Seconds to wait for the slowest process, once this one has computed its part. Then
        the process ends with status 1.

    Returns:
      The same tree of NumPy arrays, and of keys on one device.
    """
    plain = jax.block_until_ready(jax.tree.map(_plain, tree))
    apart = lambda x: isinstance(x, jax.Array) and not x.is_fully_addressable
    leaves, structure = jax.tree.flatten(plain)
    if spread := [leaf for leaf in leaves if apart(leaf)]:
        mesh = spread[0].sharding.mesh
        with _waiting(patience, "fetch"):
            gather = jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))
            whole = iter([np.asarray(x.addressable_data(0)) for x in gather(spread)])
        leaves = [next(whole) if apart(leaf) else leaf for leaf in leaves]
    host = jax.tree.unflatten(structure, [np.asarray(leaf) for leaf in leaves])
    return jax.tree.map(_like, tree, host)


def share(tree: Any, *, patience: float = PATIENCE) -> Any:  # noqa: ANN401
    """The writer's arrays, bit by bit, in every process: so that it alone reads the run folder.

    All processes must call it, with arrays of the same shapes and dtypes.

    Args:
      tree: Arrays that lie whole in their process; those of all but the writer count for nothing.
      patience: Seconds to wait for the slowest process. Then the process ends with status 1.

    Returns:
      The same tree of NumPy arrays, and of keys on one device.
    """
    host = jax.tree.map(lambda x: np.asarray(_plain(x)), tree)
    if jax.process_count() > 1:
        # As bytes: the broadcast adds zeros of the others, and -0.0 + 0.0 is 0.0.
        raw = jax.tree.map(lambda x: np.frombuffer(x.tobytes(), np.uint8), host)
        with _waiting(patience, "share"):
            sent = multihost_utils.broadcast_one_to_all(raw)
        whole = lambda x, raw: np.frombuffer(np.asarray(raw).tobytes(), x.dtype).reshape(x.shape)
        host = jax.tree.map(whole, host, sent)
    return jax.tree.map(_like, tree, host)


def ended(run: Callable[[], int]) -> int:
    """The exit status of a run; of several processes one that fails ends here, and all with it.

    An ordinary exit would wait for the others, which wait for this one; so would an interrupt.

    Args:
      run: Gives an exit status.

    Returns:
      The status; of several processes only 0.
    """
    status = 1
    try:
        status = run()
    except (Exception, KeyboardInterrupt) as error:
        if not jax.distributed.is_initialized():
            raise
        status = _told_status(error)
    finally:  # also where nobody reads any more what is told
        if status and jax.distributed.is_initialized():
            _leave(status)
    return status


def _told_status(error: BaseException) -> int:
    """Tells what ended a run, as the command line does, and gives its exit status."""
    match error:
        case BadInput():
            print(f"glassesjax: {error}", file=sys.stderr)
            return 2
        case KeyboardInterrupt():
            print("glassesjax: stopped; the same command continues.", file=sys.stderr)
            return 130
    traceback.print_exception(error)
    return 1


def _leave(status: int) -> NoReturn:
    """Ends the process without waiting for the others."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def _waiting(patience: float, what: str) -> Iterator[None]:
    """A time within which all processes must come together; collectives themselves have none."""

    def give_up() -> None:
        print(f"glassesjax: {what} waited {patience:g} s for the other processes.", file=sys.stderr)
        _leave(1)

    timer = threading.Timer(patience, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _number(name: str, told: int | None) -> int | None:
    text = os.environ.get(name)
    if told is not None or text is None:
        return told
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"Wanted a whole number for {name}; found {text!r}.") from None


def _check(coordinator: str | None, count: int | None, index: int | None) -> None:
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()):
            raise BadInput(f"Wanted a coordinator as host:port; found {coordinator!r}.")
        if not 0 < int(port) < PORTS:
            raise BadInput(f"Wanted a port from 1 to {PORTS - 1}; found {coordinator!r}.")
    if count is not None and count < 1:
        raise BadInput(f"Wanted 1 process or more; found {count}.")
    if count is not None and index is not None and not 0 <= index < count:
        raise BadInput(f"Wanted an index from 0 to {count - 1} of {count}; found {index}.")


def _check_port(coordinator: str) -> None:
    """JAX would crash where the port of its service is taken."""
    port = int(coordinator.rpartition(":")[2])
    with socket.socket() as here:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one just left is free
        try:
            here.bind(("", port))
        except OSError as error:
            wanted = f"Wanted a free port for {coordinator}"
            raise BadInput(f"{wanted}; {port}: {error.strerror}: choose another.") from error


def _told(known: tuple[str | int | None, ...]) -> str:
    told = [
        f"{name}={value}" for name, value in zip(NAMES, known, strict=True) if value is not None
    ]
    return " ".join(told) or "neither"


def _plain(leaf: Any) -> Any:  # noqa: ANN401
    """Keys as the numbers that they are made of."""
    return draws.numbers(leaf) if draws.is_key(leaf) else leaf


def _like(leaf: Any, host: np.ndarray) -> Array | np.ndarray:  # noqa: ANN401
    """What lies on the host, as the leaf was."""
    return draws.wrap(host, draws.implementation(leaf)) if draws.is_key(leaf) else host
