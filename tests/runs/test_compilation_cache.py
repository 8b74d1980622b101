"""Compiled programs on disk serve the next process, and a cache that fails costs no run."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import filelock
import jax
import jax.numpy as jnp
import jaxlib
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from glassesjax import cli
from glassesjax.errors import BadInput
from glassesjax.runs import compilation_cache
from glassesjax.runs.compilation_cache import (
    OFF,
    VARIABLE,
    folder_name,
    processor,
    take_counts,
    use_compilation_cache,
    user_cache,
)
from glassesjax.runs.journal import Journal
from glassesjax.runs.rows import RowFile
from proofs_numeric.verify.settings import OPTIMIZATIONS_OFF

OWN_LEAST = compilation_cache.LEAST_SECONDS  # as it is; the fixture below makes it zero
HIT, MISS = {"hits": 1, "misses": 0}, {"hits": 0, "misses": 1}
OPTIONS = (
    *("jax_compilation_cache_dir", "jax_compilation_cache_max_size"),
    *("jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_enable_xla_caches"),
    OPTIMIZATIONS_OFF,
)


@pytest.fixture(autouse=True)
def process(monkeypatch, tmp_path):
    """A process without a cache so far, and a user with a home; all that is set is undone."""
    before = {name: jax.config.values[name] for name in OPTIONS}
    listening, register = [], jax.monitoring.register_event_listener

    def once(listener):
        if listener not in listening:
            listening.append(listener)
            register(listener)

    monkeypatch.setattr(jax.monitoring, "register_event_listener", once)
    monkeypatch.setattr(compilation_cache, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(compilation_cache, "_reported", set())
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jax.config.update("jax_compilation_cache_dir", None)
    jax_cache.reset_cache()
    with warnings.catch_warnings():
        yield
    take_counts()
    for listener in listening:
        jax.monitoring.unregister_event_listener(listener)
    for name, value in before.items():
        jax.config.update(name, value)
    jax_cache.reset_cache()


def compute(factor=3):
    """A program that no process has compiled yet; what it computes, and where it came from."""

    @jax.jit
    def scaled(x):
        return factor * x

    ones = jax.device_put(jnp.ones(2))
    take_counts()
    assert scaled(ones).tolist() == [factor, factor]
    return take_counts()


def entries(base):
    return sorted((base / folder_name()).glob("jit_scaled-*-cache"))


def test_the_next_process_takes_a_program_from_the_disk(tmp_path, capfd):
    use_compilation_cache(str(tmp_path / "here"))
    assert compute() == MISS
    assert compute() == HIT
    assert len(entries(tmp_path / "here")) == 1
    assert compute(4) == MISS
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def cleared(tmp_path):
    """A program that was compiled and cleared from memory, its argument, and a count before."""
    use_compilation_cache(str(tmp_path))
    double, ones = jax.jit(lambda x: 2 * x), jnp.ones(3)
    double(ones)
    take_counts()
    double(ones)
    counted = take_counts()
    jax.clear_caches()
    return double, ones, counted


def test_so_does_a_process_that_has_cleared_its_memory(cleared):
    double, ones, counted = cleared
    assert counted == {}  # from memory
    double(ones)
    assert take_counts()["hits"] >= 1


def test_other_options_of_the_compiler_are_other_programs(tmp_path, monkeypatch):
    use_compilation_cache(str(tmp_path))
    compute()
    jax.config.update(OPTIMIZATIONS_OFF, not jax.config.values[OPTIMIZATIONS_OFF])
    assert compute() == MISS
    flags = os.environ.get("XLA_FLAGS", "")
    monkeypatch.setenv("XLA_FLAGS", f"{flags} --xla_cpu_enable_fast_math=true")
    assert compute() == MISS
    assert compute() == HIT


def junk(content):
    """Packed as a whole entry is, and no program: as XLA refuses one of another machine."""
    return zlib.compress(zlib.decompress(content)[:4] + b"no program")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:99] + bytes([content[99] ^ 0x55]) + content[100:],
        lambda content: b"{}" * 100,
        junk,
    ],
    ids=["cut", "empty", "changed", "foreign", "rejected"],
)
def test_a_broken_program_is_compiled_again_and_said_once(tmp_path, capfd, damage):
    use_compilation_cache(str(tmp_path))
    compute(3), compute(4)
    for entry in entries(tmp_path):
        entry.write_bytes(damage(entry.read_bytes()))
    assert compute(3) == MISS
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("glassesjax: Expected undamaged programs for this machine in ")
    assert "got jit_scaled (" in line
    assert line.endswith("): compiled again.")
    assert compute(4) == MISS
    assert compute(3) == compute(4) == HIT
    assert capfd.readouterr().err == ""


def test_a_write_that_was_killed_stops_no_other(tmp_path, capfd):
    use_compilation_cache(str(tmp_path))
    compute()
    (entry,) = entries(tmp_path)
    entry.with_name(f"{entry.name.removesuffix('-cache')}-atime").unlink()
    entry.write_bytes(entry.read_bytes()[:99])
    use_compilation_cache(str(tmp_path))
    assert entries(tmp_path) == []
    assert compute(4) == MISS
    assert len(entries(tmp_path)) == 1
    assert capfd.readouterr().err == ""


def mode(path):
    return path.stat().st_mode & 0o777


def test_by_default_it_is_a_folder_of_the_user_alone(tmp_path):
    use_compilation_cache()
    compute()
    base = tmp_path / "cache/glassesjax/compiled"
    assert user_cache() == base
    assert len(entries(base)) == 1
    assert {mode(path) for path in (base.parent, base, base / folder_name())} == {0o700}


@pytest.mark.parametrize(
    ("variable", "home"), [("", ".cache"), ("relative", ".cache"), ("/else", "/else")]
)
def test_where_a_users_cache_is(monkeypatch, variable, home):
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert user_cache() == Path.home() / home / "glassesjax" / "compiled"


def test_flag_before_variable_before_jax(tmp_path, monkeypatch):
    place = lambda: Path(str(jax.config.values["jax_compilation_cache_dir"]))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    use_compilation_cache()
    assert place() == tmp_path / "jax"
    assert compute() == MISS  # counted there, too
    monkeypatch.setenv(VARIABLE, str(tmp_path / "variable"))
    use_compilation_cache()
    assert place().parent == tmp_path / "variable"
    use_compilation_cache(str(tmp_path / "flag"))
    assert place().parent == tmp_path / "flag"
    assert os.environ[VARIABLE] == str(tmp_path / "flag")  # for jobs of a sweep


@pytest.mark.parametrize("where", ["flag", "variable"])
def test_off_is_off(tmp_path, monkeypatch, where):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
    monkeypatch.setenv(VARIABLE, OFF if where == "variable" else str(tmp_path / "more"))
    use_compilation_cache(OFF if where == "flag" else None)
    assert compute() == {}
    assert list(tmp_path.iterdir()) == []


def test_no_word_is_no_choice_of_a_folder(capfd, tmp_path):
    words = ["collapse", "toy", "--out", str(tmp_path / "run"), "--compilation-cache", ""]
    assert cli.run(words) == 2
    assert list(tmp_path.iterdir()) == []
    [line] = capfd.readouterr().err.splitlines()
    assert "Expected a folder or off for --compilation-cache, got an empty one: name one" in line


def test_an_empty_variable_is_as_none(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
    use_compilation_cache()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "jax")


@pytest.mark.parametrize("where", ["flag", "variable"])
def test_an_address_is_no_folder(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    address = "gs://bucket/cache"
    monkeypatch.setenv(VARIABLE, address if where == "variable" else "")
    with pytest.raises(BadInput, match="Expected a path of this machine, got an address of gs"):
        use_compilation_cache(address if where == "flag" else None)
    assert list(tmp_path.iterdir()) == []


def refused(capfd, base, reason):
    """The run goes on without, and one line says why."""
    assert compute() == compute() == {}
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"glassesjax: Expected to keep compiled programs in {base}, got ")
    assert reason in line
    assert "this run goes on without; --compilation-cache names another folder, or off." in line


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process is bound to cores")
def test_programs_of_another_number_of_cores_are_others(tmp_path):
    cores, before = os.sched_getaffinity(0), folder_name()
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert folder_name() == f"{before.rpartition('-')[0]}-1"
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("of", ["base", "folder"])
@pytest.mark.parametrize("bits", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_is_refused(tmp_path, capfd, of, bits):
    base = tmp_path / "here"
    use_compilation_cache(str(base))
    (base if of == "base" else base / folder_name()).chmod(bits)
    use_compilation_cache(str(base))
    refused(capfd, base, "others may write into")


def test_a_folder_of_all_whose_names_are_their_owners_will_do(tmp_path):
    tmp_path.chmod(0o1777)  # as /tmp
    use_compilation_cache(str(tmp_path))
    assert compute() == MISS
    assert mode(tmp_path / folder_name()) == 0o700


def owned(monkeypatch, path, user):
    """A path that belongs to that user, whoever runs this."""
    lstat, state = Path.lstat, path.lstat()
    state = os.stat_result([*state[:4], user, *state[5:]])
    monkeypatch.setattr(Path, "lstat", lambda self: state if self == path else lstat(self))


@pytest.mark.parametrize("at", ["above", "base", "folder"])
def test_a_folder_of_another_user_is_refused(tmp_path, capfd, monkeypatch, at):
    base = tmp_path / "above" / "base"
    use_compilation_cache(str(base))
    owned(
        monkeypatch, next(tmp_path.rglob(at if at != "folder" else folder_name())), os.geteuid() + 1
    )
    use_compilation_cache(str(base))
    monkeypatch.undo()
    refused(capfd, base, "belongs to another user")


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o777])
def test_so_is_one_within_a_folder_that_others_may_write(tmp_path, capfd, bits):
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(bits)
    use_compilation_cache(str(above / "within" / "base"))
    assert list(above.iterdir()) == []
    refused(capfd, above / "within" / "base", f"others may write into {above}: chmod go-w")


def test_within_a_folder_where_none_renames_what_is_anothers_is_room(tmp_path):
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o1777)  # as /tmp
    use_compilation_cache(str(above / "base"))
    assert compute() == MISS


def linked(tmp_path, name):
    """A folder, and a link to it that the user has made."""
    (tmp_path / "there").mkdir(mode=0o700)
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("there" if link.parent == tmp_path else "../there")
    return link


def test_programs_do_not_go_through_a_link(tmp_path, capfd):
    link = linked(tmp_path, f"base/{folder_name()}")
    use_compilation_cache(str(tmp_path / "base"))
    assert list((tmp_path / "there").iterdir()) == []
    refused(capfd, tmp_path / "base", f"{link} is a symbolic link")


def test_the_way_there_may_be_a_link_of_the_user(tmp_path):
    use_compilation_cache(str(linked(tmp_path, "base")))
    assert compute() == MISS
    assert len(entries(tmp_path / "there")) == 1


def test_but_none_of_another_user(tmp_path, capfd, monkeypatch):
    link = linked(tmp_path, "base")
    owned(monkeypatch, link, os.geteuid() + 1)
    use_compilation_cache(str(link))
    refused(capfd, link, f"{link} belongs to another user")


def test_nor_one_to_where_others_may_write(tmp_path, capfd):
    link = linked(tmp_path, "base")
    middle = tmp_path / "middle"
    middle.mkdir()
    (middle / "link").symlink_to("../there")
    link.unlink()
    link.symlink_to("middle/link")
    middle.chmod(0o777)
    use_compilation_cache(str(link))
    refused(capfd, link, f"others may write into {middle}")


@pytest.mark.parametrize(
    ("to", "reason"),
    [("nothing", "No such file or directory"), ("base", "Too many levels of symbolic links")],
)
def test_a_link_to_no_folder_is_said(tmp_path, capfd, to, reason):
    (tmp_path / "base").symlink_to(to)
    use_compilation_cache(str(tmp_path / "base"))
    refused(capfd, tmp_path / "base", reason)


def test_a_place_that_is_no_folder_is_said(tmp_path, capfd):
    (tmp_path / "file").touch()
    use_compilation_cache(str(tmp_path / "file"))
    refused(capfd, tmp_path / "file", "Not a directory")


def test_a_file_system_without_locks_is_said(tmp_path, capfd, monkeypatch):
    def acquire(lock, timeout):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    use_compilation_cache(str(tmp_path))
    refused(capfd, tmp_path, "No locks available")


def test_a_user_without_a_home_goes_without(capfd, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    use_compilation_cache()
    refused(capfd, "the user's cache", "Could not determine home directory")


def test_a_full_disk_is_said_once_and_leaves_nothing_broken(tmp_path, capfd):
    use_compilation_cache(str(tmp_path))
    compute(3)
    (entry,) = entries(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (entry.stat().st_size // 2, limits[1]))
    try:
        compute(4), compute(5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (line,) = capfd.readouterr().err.splitlines()
    assert "Expected writing of compiled programs in" in line
    assert "got File too large: this run goes on without" in line
    assert jax.config.values["jax_compilation_cache_dir"] is None
    use_compilation_cache(str(tmp_path))
    assert entries(tmp_path) == [entry]
    compute(4)
    assert len(entries(tmp_path)) == 2
    assert capfd.readouterr().err == ""


def test_the_least_recently_used_programs_go_first(tmp_path, monkeypatch):
    use_compilation_cache(str(tmp_path))
    compute(3)
    (first,) = entries(tmp_path)
    monkeypatch.setattr(compilation_cache, "MOST_BYTES", 5 * first.stat().st_size // 2)
    use_compilation_cache(str(tmp_path))
    compute(4)
    (second,) = {*entries(tmp_path)} - {first}
    compute(3)
    compute(5)
    kept = entries(tmp_path)
    assert first in kept
    assert second not in kept
    assert sum(path.stat().st_size for path in kept) <= compilation_cache.MOST_BYTES


def test_the_least_recently_used_go_when_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "MOST_PROGRAMS", 2)
    use_compilation_cache(str(tmp_path))
    for factor in (3, 4, 3, 5):
        compute(factor)
    use_compilation_cache(str(tmp_path))
    assert len(list((tmp_path / folder_name()).glob("*-cache"))) == 2
    assert [compute(factor) for factor in (5, 3, 4)] == [HIT, HIT, MISS]


def test_what_compiles_in_less_than_a_least_time_is_not_kept(tmp_path, monkeypatch):
    assert OWN_LEAST < 1000
    monkeypatch.setattr(compilation_cache, "LEAST_SECONDS", 1000.0)
    use_compilation_cache(str(tmp_path))
    assert compute() == compute() == {}
    assert entries(tmp_path) == []
    monkeypatch.setattr(compilation_cache, "LEAST_SECONDS", OWN_LEAST)
    use_compilation_cache(str(tmp_path))
    assert jax.config.values["jax_persistent_cache_min_compile_time_secs"] == OWN_LEAST


MANY = """
import sys
import jax
import jax.numpy as jnp
from glassesjax.runs import compilation_cache
compilation_cache.LEAST_SECONDS = 0.0
compilation_cache.use_compilation_cache(sys.argv[1])
def scaled(n):
    if n == 5:  # here both processes meet: neither ends before the other has half of it done
        print("half", flush=True)
        sys.stdin.readline()
    return jax.jit(lambda x: n * x)
print("ready", flush=True)
sys.stdin.readline()
print([scaled(n)(jnp.ones(2)).tolist() for n in range(1, 13)] == [[n, n] for n in range(1, 13)])
"""


@pytest.fixture
def two_at_once(tmp_path, capfd):
    """What a process and this one compute, which fill one folder, and what both print."""
    command = [sys.executable, "-c", MANY, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    use_compilation_cache(str(tmp_path))

    def meet(word):
        assert other.stdout.readline() == f"{word}\n"
        other.stdin.write("\n")
        other.stdin.flush()

    def scaled(n):
        if n == 5:
            meet("half")
        return jax.jit(lambda x: n * x)

    with subprocess.Popen(command, **pipes) as other:
        meet("ready")
        ours = [scaled(n)(jnp.ones(2)).tolist() for n in range(1, 13)]
        return ours, other.communicate()[0], capfd.readouterr()


def test_two_processes_at_once(two_at_once, tmp_path):
    ours, theirs, printed = two_at_once
    assert ours == [[n, n] for n in range(1, 13)]
    assert theirs == "True\n"
    assert printed == ("", "")
    for entry in (tmp_path / folder_name()).glob("*-cache"):
        zlib.decompress(entry.read_bytes())


INTEL = (
    "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t: 85\ncpu MHz\t: {}\nflags\t: sse2 {}\n\n"
)


def test_the_folder_is_named_by_versions_and_processor(tmp_path):
    versions = f"jax-{jax.__version__}-jaxlib-{jaxlib.__version__}"
    assert re.fullmatch(
        rf"{re.escape(versions)}-{re.escape(processor())}-cores-[1-9]\d*", folder_name()
    )
    told = tmp_path / "cpuinfo"

    def name(text):
        told.write_text(text)
        return processor(told)

    avx = name(2 * INTEL.format(2000, "avx2"))
    assert avx == name(INTEL.format(3000, "avx2"))
    assert avx != name(INTEL.format(2000, "avx2 avx512f"))
    assert avx != name(INTEL.format(2000, "avx2").replace("85", "106"))
    assert name("Features\t: fp sve\n") != name("Features\t: fp\n")
    told.unlink()
    assert processor(told) not in (avx, name("Features\t: fp\n"))


def test_a_run_notes_the_programs_of_all_processes_that_made_it(tmp_path):
    def noted(*factors):
        counts = [compute(factor) for factor in factors]
        for each in counts:
            compilation_cache._counts.update(each)
        with RowFile(tmp_path / "rows.jsonl", ("n",)) as file:
            Journal(tmp_path, {"command": "x"}, {}).write(file)
        return json.loads((tmp_path / "provenance.json").read_text()).get("compilation_cache")

    take_counts()
    assert noted() is None
    use_compilation_cache(str(tmp_path / "cache"))
    assert noted(3) == {"hits": 0, "misses": 1}
    assert noted(3, 4) == {"hits": 1, "misses": 2}
    assert noted() == {"hits": 1, "misses": 2}


def test_the_command_uses_it_and_a_call_does_not(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(compilation_cache, "use_compilation_cache", asked.append)
    words = ["collapse", "none.gguf", "--out", str(tmp_path / "run")]  # refused once JAX is set up
    assert cli.run([*words, "--compilation-cache", "here"]) == 2
    assert asked == []
    assert cli.run(words, whole_process=True) == 2
    assert cli.run([*words, "--compilation-cache", "off"], whole_process=True) == 2
    assert asked == [None, "off"]
