"""Several processes as one program: finding each other, fetching, sharing, and ending together.

Every process runs the same command, which ``agree`` checks. Where one dies, or lives and does not
come, the functions of this module raise ``PeerLost`` in the others. ``ended`` is for a command's
outermost call, and it alone ends a process.
"""

import contextlib
import ctypes
import functools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from glassesjax import draws
from glassesjax.errors import BadInput, PeerLost
from glassesjax.process import ending, note

HEARTBEAT = 30  # s after which a process that was killed has ended all others
MEETING = 300  # s to wait for all others to start
# s to wait for the others to end: the writer draws pages meanwhile. Nothing else is missed by it,
# for heartbeats go on.
ENDING = 24 * 3600
PORTS = 1 << 16
POLL = 0.1  # s between two looks at whether a wait is over
GRACE = 5.0  # s in which a call that has lost a process may end by itself
SHORT = 60  # characters of a value in a message
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
      meeting: Seconds to wait until all have started.

    Raises:
      BadInput: Neither says who the others are, or JAX cannot join them.
      PeerLost: They did not all start in time.
    """
    coordinator = os.environ.get(NAMES[0]) if coordinator is None else coordinator
    known = coordinator, _number(NAMES[1], count), _number(NAMES[2], index)
    _check(*known)
    if coordinator is not None and known[2] == 0:
        _check_port(coordinator)
    try:
        join = functools.partial(
            jax.distributed.initialize,
            *known,
            initialization_timeout=meeting + HEARTBEAT,  # where JAX itself would abort
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=ENDING,
        )
        _within(meeting, "connect", join)
    except (ValueError, TypeError) as error:  # neither told nor found
        wanted = f"Expected a cluster that JAX knows, or {', '.join(NAMES)}"
        raise BadInput(f"{wanted}, got {_told(known)}: set all three.") from error
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise BadInput(f"Expected to join the other processes; JAX says: {said}") from error


def is_writer() -> bool:
    """Whether this process writes rows, checkpoints and pages: one does."""
    return jax.process_index() == 0


def fetch(tree: Any, *, patience: float = PATIENCE) -> Any:  # noqa: ANN401
    """Arrays as this host's own, whole also where their parts lie in several processes.

    All processes must call it alike.

    Args:
      tree: Arrays; keys stay keys.
      patience: Seconds to wait for the slowest process, once this one has computed its part.

    Returns:
      The same tree of NumPy arrays, and of keys on one device.

    Raises:
      PeerLost: Another process ended, or did not come in time.
    """
    plain = jax.block_until_ready(jax.tree.map(_plain, tree))
    apart = lambda x: isinstance(x, jax.Array) and not x.is_fully_addressable
    leaves, structure = jax.tree.flatten(plain)
    if spread := [leaf for leaf in leaves if apart(leaf)]:
        gather = _gatherer(spread[0].sharding.mesh)
        here = lambda: [np.asarray(x.addressable_data(0)) for x in gather(spread)]
        whole = iter(_within(patience, "fetch", here))
        leaves = [next(whole) if apart(leaf) else leaf for leaf in leaves]
    host = jax.tree.unflatten(structure, [np.asarray(leaf) for leaf in leaves])
    return jax.tree.map(_like, tree, host)


@functools.lru_cache(maxsize=8)
def _gatherer(mesh: Mesh) -> Callable[[list[Array]], list[Array]]:
    """Copies arrays to every device of a mesh, compiled once for it."""
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))


def share(tree: Any, *, patience: float = PATIENCE) -> Any:  # noqa: ANN401
    """The writer's arrays, bit by bit, in every process: so that it alone reads the run folder.

    All processes must call it, with arrays of the same shapes and dtypes.

    Args:
      tree: Arrays that lie whole in their process; those of all but the writer count for nothing.
      patience: Seconds to wait for the slowest process.

    Returns:
      The same tree of NumPy arrays, and of keys on one device.

    Raises:
      PeerLost: Another process ended, or did not come in time.
    """
    host = jax.tree.map(lambda x: np.asarray(_plain(x)), tree)
    if jax.process_count() > 1:
        # As bytes: the broadcast adds zeros of the others, and -0.0 + 0.0 is 0.0.
        raw = jax.tree.map(lambda x: np.frombuffer(x.tobytes(), np.uint8), host)
        sent = _within(patience, "share", lambda: multihost_utils.broadcast_one_to_all(raw))
        whole = lambda x, raw: np.frombuffer(np.asarray(raw).tobytes(), x.dtype).reshape(x.shape)
        host = jax.tree.map(whole, host, sent)
    return jax.tree.map(_like, tree, host)


def agree(settings: Mapping[str, object], *, patience: float = PATIENCE) -> None:
    """Refuses a program whose processes do not all have the same settings.

    All processes must call it, before anything whose shape depends on the settings.

    Args:
      settings: Values by name, JSON-ready.
      patience: Seconds to wait for the slowest process.

    Raises:
      BadInput: They differ; the message is the same in every process.
      PeerLost: Another process ended, or did not come in time.
    """
    if jax.process_count() == 1:
        return
    # One number for each name would do to compare; the values make the message.
    text = json.dumps(settings, sort_keys=True).encode()
    gather = lambda array: np.asarray(multihost_utils.process_allgather(array))
    every = lambda array: _within(patience, "agree", lambda: gather(array))
    room = int(np.max(every(np.asarray(len(text), np.int32))))
    texts = every(np.frombuffer(text.ljust(room), np.uint8))
    first, *others = [json.loads(bytes(row.astype(np.uint8))) for row in texts]
    for index, other in enumerate(others, start=1):
        for name in sorted({*first, *other}):
            one, two = first.get(name), other.get(name)
            if one != two:
                got = f"{name} {_short(one)} in process 0 and {_short(two)} in process {index}"
                raise BadInput(
                    f"Expected the same settings in all processes, got {got}: start the same "
                    "command with the same packages everywhere."
                )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHORT else f"{text[:SHORT]}..."


def ended(run: Callable[[], int]) -> int:
    """The exit status of a command; of several processes one that fails ends here.

    An ordinary exit would wait for the others, which wait for this one; so would an interrupt. For
    a command's outermost call: no other function ends a process.

    Args:
      run: Gives an exit status.

    Returns:
      The status; of several processes only 0.
    """
    status, over = 1, threading.Event()
    watch = threading.Thread(target=_watch, args=(over,), daemon=True)
    watch.start()
    try:
        status = run()
    except (Exception, KeyboardInterrupt) as error:
        if not jax.distributed.is_initialized():
            raise
        status = _told_status(error)
    finally:  # also where nobody reads any more what is told
        if status and jax.distributed.is_initialized():
            _leave(status)  # guarded to the end: JAX may be about to abort
        over.set()
        watch.join(GRACE)
    return status


def _watch(over: threading.Event) -> None:
    """Ends a command that goes on waiting where Python cannot reach it, in a collective."""
    guard = None
    while not over.wait(POLL):
        if guard is None and jax.distributed.is_initialized():
            guard = _Guard()
        if _LOST.is_set() and not over.wait(GRACE):
            _say_lost(PeerLost(_GONE))
            _leave(1)
    if guard is not None:
        guard.remove()


def _told_status(error: BaseException) -> int:
    """Tells what ended a run, as the command line does, and gives its exit status."""
    _TOLD.set()
    if isinstance(error, PeerLost):
        _say_lost(error)
        return 1
    if (end := ending(error)) is not None:
        line, status = end
        note(f"glassesjax: {line}")
        return status
    if _is_loss(error):
        _say_lost(PeerLost(_GONE))
    else:
        traceback.print_exception(error)
    return 1


def _say_lost(error: PeerLost) -> None:
    note(f"glassesjax: {error} {_ON}")


def _leave(status: int) -> NoReturn:
    """Ends the process without waiting for the others."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


_LOST = threading.Event()
_TOLD = threading.Event()  # what ended this process is being told
_GONE = "Another process of this training ended."
_ON = "The same command continues."
# How a collective says that its other end is gone: Gloo, NCCL, and JAX's own service.
_LOSS = re.compile(r"gloo|nccl|connection (closed|reset|refused)|coordination", re.IGNORECASE)


def _is_loss(error: BaseException) -> bool:
    """Whether it is another process that failed, in the words of the libraries that noticed."""
    known = isinstance(error, RuntimeError | ValueError) and not isinstance(error, BadInput)
    return _LOST.is_set() or (known and bool(_LOSS.search(str(error))))


def _within(patience: float, what: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What a call gives in which all processes come together; collectives have no time limit.

    The call runs in a thread, which is left behind where it does not return.
    """
    wide, done = jax.config.read("jax_enable_x64"), threading.Event()
    outcome: list[Any] = []

    def work() -> None:
        try:
            with jax.enable_x64(wide):  # a setting of the thread
                outcome.append((call(), None))
        except BaseException as error:  # raised again by the caller
            outcome.append((None, error))
        done.set()

    threading.Thread(target=work, daemon=True).start()
    limit = time.monotonic() + patience
    while not done.wait(POLL):
        if _LOST.is_set() and not done.wait(GRACE):
            raise PeerLost(_GONE)
        if time.monotonic() > limit:
            expected = "Expected all processes to come together, got no answer"
            raise PeerLost(f"{expected}: {what} waited {patience:g} s for the others.")
    value, error = outcome[0]
    if error is None:
        return value
    if _is_loss(error):
        raise PeerLost(_GONE) from error
    raise error


# What JAX's service says of a lost process, before it aborts this one with a stack of its own.
_SERVICE = re.compile(
    rb"coordination_?service|JAX distributed service|Additional GRPC error|^:UNKNOWN:"
    rb"|^\*\*\* Check failure|^ +@ +0x|^$"
)


class _Guard:
    """Makes one line, and status 1, of the abort by which JAX ends a process that lost another.

    JAX has no public way to be told instead. What C++ writes to standard error passes a filter;
    the signal of the abort is caught, and left alone where it has another reason.
    """

    def __init__(self) -> None:
        self._real, self._python = os.dup(2), sys.stderr
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(writer)
        self._filter = threading.Thread(target=self._pass_on, args=(reader,), daemon=True)
        self._filter.start()
        # Kept: C calls it. Python's own handlers would run only after the abort.
        self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._aborted)
        ctypes.CDLL(None).signal(signal.SIGABRT, self._handler)

    def remove(self) -> None:
        """Standard error as it was, once all is written."""
        ctypes.CDLL(None).signal(signal.SIGABRT, ctypes.c_void_p(0))
        sys.stderr = self._python
        os.dup2(self._real, 2)  # the last writer of the pipe
        self._filter.join(1)

    def _pass_on(self, reader: int) -> None:
        with os.fdopen(reader, "rb") as lines:
            for line in lines:
                if not _SERVICE.search(line):
                    os.write(self._real, line)
                elif line.strip():
                    _LOST.set()

    def _aborted(self, number: int) -> None:
        if _TOLD.is_set():
            time.sleep(GRACE)  # in which the command leaves
        if _LOST.wait(1):  # else it returns, and the abort goes on
            os.write(self._real, f"glassesjax: {_GONE} {_ON}\n".encode())
            os._exit(1)


def _number(name: str, told: int | None) -> int | None:
    text = os.environ.get(name)
    if told is not None or text is None:
        return told
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"Expected a whole number for {name}, got {text!r}.") from None


def _check(coordinator: str | None, count: int | None, index: int | None) -> None:
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()):
            raise BadInput(f"Expected a coordinator as host:port, got {coordinator!r}.")
        if not 0 < int(port) < PORTS:
            raise BadInput(f"Expected a port from 1 to {PORTS - 1}, got {coordinator!r}.")
    if count is not None and count < 1:
        raise BadInput(f"Expected 1 process or more, got {count}.")
    if count is not None and index is not None and not 0 <= index < count:
        raise BadInput(f"Expected an index from 0 to {count - 1} of {count}, got {index}.")


def _check_port(coordinator: str) -> None:
    """JAX would crash where the port of its service is taken."""
    port = int(coordinator.rpartition(":")[2])
    with socket.socket() as here:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one just left is free
        try:
            here.bind(("", port))
        except OSError as error:
            wanted = f"Expected a free port for {coordinator}"
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
