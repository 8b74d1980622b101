"""Multi-process training: initialization, gathering, broadcasting and shutdown on failure.

Every process runs the same command, which ``agree`` checks. If one dies, or does not respond,
the functions of this module raise ``PeerLost`` in the others. ``ended`` is for a command's
outermost call; no other function exits a process.
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

HEARTBEAT = 30  # s after which the others exit if a process was killed
MEETING = 300  # s to wait for all others to start
# s to wait for the others to end, while the writer draws pages. A lost process is still detected,
# since heartbeats continue.
ENDING = 24 * 3600
PORTS = 1 << 16
POLL = 0.1  # s between two polls
GRACE = 5.0  # s in which a call may raise by itself after a process was lost
SHORT = 60  # characters of a value in a message
PATIENCE = 3600.0  # s to wait for the slowest process in a collective
NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def connect(
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    *,
    heartbeat: int = HEARTBEAT,
    meeting: int = MEETING,
) -> None:
    """Initializes ``jax.distributed``; call it before JAX's devices are used.

    Absent values are read from the environment, ``JAX_COORDINATOR_ADDRESS`` (host:port of process
    0), ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``, and then detected by JAX from the cluster:
    SLURM, Open MPI, a TPU pod, Kubernetes.

    Args:
      coordinator: Address of process 0 as host:port.
      count: Number of processes.
      index: Index of this process, from 0.
      heartbeat: Seconds within which the others exit if one is killed or disconnected.
      meeting: Seconds to wait until all have started.

    Raises:
      BadInput: The other processes are not specified, or JAX cannot connect to them.
      PeerLost: Not all processes started in time.
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
    except (ValueError, TypeError) as error:  # neither given nor detected
        expected = f"Expected a cluster that JAX detects, or {', '.join(NAMES)}"
        raise BadInput(f"{expected}, got {_settings_text(known)}: set all three.") from error
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        expected = "Expected to connect to the other processes"
        raise BadInput(f"{expected}, got an error of JAX: {reason}") from error


def is_writer() -> bool:
    """Whether this process (index 0) writes rows, checkpoints and pages."""
    return jax.process_index() == 0


def fetch(tree: Any, *, patience: float = PATIENCE) -> Any:  # noqa: ANN401
    """Gathers arrays to this host, also those that are sharded over several processes.

    All processes must call it with the same tree.

    Args:
      tree: Arrays; keys stay keys.
      patience: Seconds to wait for the slowest process, once this one has computed its part.

    Returns:
      The same tree of NumPy arrays, and of keys on one device.

    Raises:
      PeerLost: Another process ended, or did not respond in time.
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
    """Broadcasts the writer's arrays bit by bit, so that only the writer reads the run folder.

    All processes must call it, with arrays of the same shapes and dtypes.

    Args:
      tree: Fully addressable arrays; the values in processes other than the writer are ignored.
      patience: Seconds to wait for the slowest process.

    Returns:
      The same tree of NumPy arrays, and of keys on one device.

    Raises:
      PeerLost: Another process ended, or did not respond in time.
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
    """Validates that all processes have the same settings.

    All processes must call it, before anything whose shape depends on the settings.

    Args:
      settings: Values by name, JSON-ready.
      patience: Seconds to wait for the slowest process.

    Raises:
      BadInput: They differ; the message is the same in every process.
      PeerLost: Another process ended, or did not respond in time.
    """
    if jax.process_count() == 1:
        return
    # Values, not hashes, are gathered: the message names them.
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
    """Runs a command and returns its exit status; with several processes exits on a failure.

    An ordinary exit, or an interrupt, would deadlock with the other processes. For a command's
    outermost call: no other function exits a process.

    Args:
      run: The command; returns an exit status.

    Returns:
      The status; with several processes always 0.
    """
    status, over = 1, threading.Event()
    watch = threading.Thread(target=_watch, args=(over,), daemon=True)
    watch.start()
    try:
        status = run()
    except (Exception, KeyboardInterrupt) as error:
        if not jax.distributed.is_initialized():
            raise
        status = _report(error)
    finally:  # also if standard error is closed
        if status and jax.distributed.is_initialized():
            _leave(status)  # before the guard is removed: JAX may abort
        over.set()
        watch.join(GRACE)
    return status


def _watch(over: threading.Event) -> None:
    """Exits a command that is blocked in a collective after a process was lost."""
    guard = None
    while not over.wait(POLL):
        if guard is None and jax.distributed.is_initialized():
            guard = _Guard()
        if _LOST.is_set() and not over.wait(GRACE):
            _note_lost(PeerLost(_GONE))
            _leave(1)
    if guard is not None:
        guard.remove()


def _report(error: BaseException) -> int:
    """Prints the error that ended a run, as the command line does; returns the exit status."""
    _REPORTED.set()
    if isinstance(error, PeerLost):
        _note_lost(error)
        return 1
    if (end := ending(error)) is not None:
        line, status = end
        note(f"glassesjax: {line}")
        return status
    if _is_loss(error):
        _note_lost(PeerLost(_GONE))
    else:
        traceback.print_exception(error)
    return 1


def _note_lost(error: PeerLost) -> None:
    note(f"glassesjax: {error} {_ON}")


def _leave(status: int) -> NoReturn:
    """Exits the process without waiting for the others."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


_LOST = threading.Event()
_REPORTED = threading.Event()  # the error of this process is being printed
_GONE = "Another process of this training ended."
_ON = "The same command continues."
# Messages of a collective that lost a peer: Gloo, NCCL, and JAX's coordination service.
_LOSS = re.compile(r"gloo|nccl|connection (closed|reset|refused)|coordination", re.IGNORECASE)


def _is_loss(error: BaseException) -> bool:
    """Whether an error means that another process failed, by its message."""
    known = isinstance(error, RuntimeError | ValueError) and not isinstance(error, BadInput)
    return _LOST.is_set() or (known and bool(_LOSS.search(str(error))))


def _within(patience: float, what: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Runs a collective call with a timeout.

    The call runs in a thread, which is abandoned if it does not return.
    """
    wide, done = jax.config.read("jax_enable_x64"), threading.Event()
    outcome: list[Any] = []

    def work() -> None:
        try:
            with jax.enable_x64(wide):  # the setting is thread-local
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
            expected = "Expected all processes to take part, got no answer"
            raise PeerLost(f"{expected}: {what} waited {patience:g} s for the others.")
    value, error = outcome[0]
    if error is None:
        return value
    if _is_loss(error):
        raise PeerLost(_GONE) from error
    raise error


# Lines that JAX's coordination service prints before it aborts after a lost process.
_SERVICE = re.compile(
    rb"coordination_?service|JAX distributed service|Additional GRPC error|^:UNKNOWN:"
    rb"|^\*\*\* Check failure|^ +@ +0x|^$"
)


class _Guard:
    """Replaces the abort by JAX after a lost process with one line and exit status 1.

    JAX has no public callback for it. Standard error of C++ is filtered; SIGABRT is handled, and
    passed on if it has another reason.
    """

    def __init__(self) -> None:
        self._real, self._python = os.dup(2), sys.stderr
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(writer)
        self._filter = threading.Thread(target=self._pass_on, args=(reader,), daemon=True)
        self._filter.start()
        # A reference is kept since C calls it. Python's handlers would run only after the abort.
        self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._aborted)
        ctypes.CDLL(None).signal(signal.SIGABRT, self._handler)

    def remove(self) -> None:
        """Restores standard error after the pipe is drained."""
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
        if _REPORTED.is_set():
            time.sleep(GRACE)  # in which the command exits
        if _LOST.wait(1):  # otherwise it returns, and the abort continues
            os.write(self._real, f"glassesjax: {_GONE} {_ON}\n".encode())
            os._exit(1)


def _number(name: str, given: int | None) -> int | None:
    text = os.environ.get(name)
    if given is not None or text is None:
        return given
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"Expected an integer for {name}, got {text!r}: set one.") from None


def _check(coordinator: str | None, count: int | None, index: int | None) -> None:
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()):
            raise BadInput(f"Expected a coordinator, got {coordinator!r}: write host:port.")
        if not 0 < int(port) < PORTS:
            expected = f"Expected a port from 1 to {PORTS - 1}"
            raise BadInput(f"{expected}, got {coordinator!r}: choose another.")
    if count is not None and count < 1:
        raise BadInput(f"Expected one process or more, got {count}: use a positive number.")
    if count is not None and index is not None and not 0 <= index < count:
        expected = f"Expected an index from 0 to {count - 1} of {count} processes"
        raise BadInput(f"{expected}, got {index}: change the index.")


def _check_port(coordinator: str) -> None:
    """Validates that the port of the service is free: JAX would crash otherwise."""
    port = int(coordinator.rpartition(":")[2])
    with socket.socket() as here:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one just left is free
        try:
            here.bind(("", port))
        except OSError as error:
            expected = f"Expected a free port for {coordinator}"
            raise BadInput(f"{expected}, got {port}: {error.strerror}: choose another.") from error


def _settings_text(known: tuple[str | int | None, ...]) -> str:
    given = [
        f"{name}={value}" for name, value in zip(NAMES, known, strict=True) if value is not None
    ]
    return " ".join(given) or "neither"


def _plain(leaf: Any) -> Any:  # noqa: ANN401
    """Key data of a key array; other leaves unchanged."""
    return draws.numbers(leaf) if draws.is_key(leaf) else leaf


def _like(leaf: Any, host: np.ndarray) -> Array | np.ndarray:  # noqa: ANN401
    """The host array, with the type of the leaf: a key array or a NumPy array."""
    return draws.wrap(host, draws.implementation(leaf)) if draws.is_key(leaf) else host
