"""How numba is called: flags, threads, cache and types, decided here and nowhere else.

Kernels release the GIL and run on row ranges; `Threads` runs one compiled
kernel on several ranges at once. One compilation thus serves one thread and
many. A row is written by one range, or by swaps whose order gives the same
bits, so threads cannot change a bit of the result. (numba's own ``parallel=True`` costs several times the
compile time and 10 to 17 us a call.)

No fastmath and no SVML: the vector lanes and the scalar remainder of a loop
may then differ in the last bit, and so would a row computed elsewhere.
"""

import contextlib
import contextvars
import fcntl
import functools
import hashlib
import importlib
import os
import pickletools
import platform
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

from hpcmp import pulse
from hpcmp.workers import Workers

os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")  # read by numba when it is first imported
FUSED_FILES = ("jit.py", "dtypes.py", "hashing.py", "random.py", "engine/bind.py")  # beside kernels/


def _library_key():
    """Hash of the files whose functions end up in kernels: edited ones never meet their old kernels."""
    here, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted([*here.glob("kernels/*.py"), *(here / name for name in FUSED_FILES)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _cache_folder():
    given = os.environ.get("HPCMP_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given) / _library_key()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "hpcmp" / f"numba-{platform.node() or 'host'}" / _library_key()


def _writable(folder):
    """The folder, or one of this process alone where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lock").touch()
        return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix=PRIVATE_CACHE))


# Where compiled kernels of this machine are kept. One folder per host, since nodes that share a home folder must not
# write one cache together; HPCMP_CACHE_DIR or NUMBA_CACHE_DIR moves it.
PRIVATE_CACHE = "hpcmp-numba-"
CACHE_FOLDER = _writable(_cache_folder())

with pulse.slow():  # hundreds of files, perhaps of a slow disk
    import numba
    from numba.extending import register_jitable

# Had numba been imported before us, the variable set above would make it read its environment again at the first
# compilation, and forget this folder.
numba.config.reload_config()
setattr(numba.config, "CACHE_DIR", str(CACHE_FOLDER))  # noqa: B010 (numba fills its config at run time)

# The module in whose name numba stores kernels of functions whose own cannot be imported; loading one imports it.
sys.modules.setdefault(numba.core.utils._dynamic_modname, numba.core.utils._dynamic_module)

# Without the wrappers through which C would call them: a fifth of the time that it takes to compile.
FLAGS = {"nopython": True, "nogil": True, "error_model": "numpy", "fastmath": False, "no_cfunc_wrapper": True}


def kernel(function, **flags):
    """Compile a loop over arrays, kept on disk between runs. Local.

    One process of a machine compiles and saves; the others wait for it, then
    load. Different kernels are compiled side by side.
    """
    dispatcher = numba.jit(cache=True, **FLAGS, **flags)(function)
    if numba.config.DISABLE_JIT:  # the function itself
        return dispatcher
    cache = dispatcher._cache
    cache._cache_file = _SharedFiles(cache._cache_file)
    cache._index_key = lambda signature, codegen: _key_of(function, signature, codegen)
    compile_unlocked = dispatcher.compile

    def compile_alone(signature):
        with _LOCKS.compiling():
            _load_arrays_of_numba()
            return compile_unlocked(signature)

    dispatcher.compile = compile_alone
    return dispatcher


@functools.cache
def _load_arrays_of_numba():
    """Load what numba needs for its first kernel, but not scipy.linalg. Local.

    It looks whether that is there, and would load it: a sixth of the time that a command needs to start, and a hundred
    files. It is loaded for the first kernel that calls it.
    """
    blas = "scipy.linalg.cython_blas"
    if blas not in sys.modules:
        sys.modules[blas] = types.ModuleType(blas)
        try:
            importlib.import_module("numba.np.arraymath")
        finally:
            del sys.modules[blas]


def _key_of(function, signature, codegen):
    """By what numba finds a kernel on disk: types, processor, code, and what the function has around it. Local."""
    around = tuple(cell.cell_contents for cell in function.__closure__ or ())
    code = hashlib.sha256(function.__code__.co_code).hexdigest()
    return signature, codegen.magic_tuple(), (code, _digest_of(numba.core.serialize.dumps(around)))


def _digest_of(pickled):
    """Hash of a pickle, whether or not equal texts in it are one object. Local.

    They are in a function that was compiled just now, and not in the same from a file of bytecode.
    """
    digest, memo, n_others, told = hashlib.sha256(), [], 0, None
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "FRAME":  # the length of what follows
            continue
        if opcode.name == "MEMOIZE" and told[0] == "TEXT":
            memo.append(told)
            continue
        if opcode.name == "MEMOIZE":
            memo.append(("OTHER", n_others))
            n_others += 1
        if opcode.name in ("BINGET", "LONG_BINGET"):
            told = memo[argument]
        else:
            told = ("TEXT" if isinstance(argument, (str, bytes)) else opcode.name), argument
        is_raw = isinstance(told[1], bytes)
        digest.update(f"{told[0]} bytes {len(told[1])} ".encode() if is_raw else repr(told).encode())
        digest.update(told[1] if is_raw else b"")
    return digest.hexdigest()


def kernel_if(compiled, function):
    """``kernel(function)``, or the function itself for plain Python. Local."""
    return kernel(function) if compiled else function


def lean_kernel_if(compiled, function):
    """`kernel_if` without reference counts, where that can be. Local.

    In a loop that hands bundles of arrays to functions which become part of it, numba counts references to each of
    them for every call: measured, 20 times all the rest, and four times the compilation. Without counts nothing can be
    allocated; a function that does is compiled with them.
    """
    if not compiled:
        return function
    chosen = [kernel(function, _nrt=False)]

    def call(*args):
        try:
            return chosen[0](*args)
        except numba.core.errors.NumbaError:  # of one that allocates, or of a mistake, which is found again
            chosen[0] = kernel(function)
            return chosen[0](*args)

    return call


def inlined(function, key=None, **options):
    """Mark a function that kernels call; plain Python stays callable. Local.

    It becomes part of the loop that calls it, however large: a call hands all
    arrays over on the stack, which costs more than most messages.

    Parameters
    ----------
    key : str, optional
        Of a user's function: what it depends on. When that is another than at
        the mark before, say since a global of its module was set, the function
        is compiled anew.
    options
        numba's.
    """
    if function not in _INLINED:  # a second mark would be a second candidate for every call of it
        register_jitable(**{**_CALLED_BY_KERNELS, **options})(function)
        _INLINED[function] = key
    elif _INLINED[function] not in (None, key):
        _forget(function)
        _INLINED[function] = key
    return function


_INLINED: dict = {}  # function -> key, None: of the library
_CALLED_BY_KERNELS = {"error_model": "numpy", "forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def _forget(function):
    """Let numba forget what it compiled of a marked function: by the types of arguments alone it finds it again."""
    if numba.config.DISABLE_JIT:
        return
    try:
        known = numba.core.registry.cpu_target.typing_context.resolve_value_type(function)
    except ValueError:  # numba has compiled nothing since it was marked
        return
    for template in getattr(known, "templates", ()):
        template._impl_cache.clear()
        template._compiled_overloads.clear()


def return_type(function, signature):
    """Compile ``kernel(function)`` for argument types and tell its type. Local."""
    function.compile(signature)
    return function.overloads[signature].signature.return_type


def entry(function, signature):
    """``kernel(function)`` for a signature, called without looking at types. Local.

    numba looks at the type of every argument of every call: some 3 us for a
    step's, a good part of a step on a tiny graph. HPCMP_CHECK_TYPES=1 looks
    all the same, and raises TypeError where one differs.
    """
    code = function.overloads[signature].entry_point
    if not looks_at_types():
        return code

    def checked(*args):
        given = tuple(numba.typeof(a) for a in args)
        different = [f"{g} for {s}" for g, s in zip(given, signature, strict=True) if g != s and not _is_int(g, s)]
        if different:
            raise TypeError(f"a kernel was given {', '.join(different)}")
        return code(*args)

    return checked


def looks_at_types():
    """Whether kernels look at what they are given. Local."""
    return os.environ.get("HPCMP_CHECK_TYPES") == "1"


def _is_int(*types):
    return all(isinstance(t, numba.types.Integer) for t in types)  # unboxing converts Python's


def compile_s():
    """Seconds in which this process compiled or loaded kernels so far. Local."""
    return _LOCKS.seconds


def is_cached(function):
    """How many signatures came from disk, how many were compiled. Local."""
    stats = function.stats
    return sum(stats.cache_hits.values()), sum(stats.cache_misses.values())


class _Locks:
    """Locks of this machine's cache: byte 0 of one file while entries are read or written, another for each kernel.

    The kernel of a lock is one code, closure and signature, not numba's index
    file, which all loops of one factory share. Two processes cannot wait for
    each other: one holds a single kernel's lock, whatever it compiles inside,
    and nothing is waited for while byte 0 is held. Locks of a process end with it.
    """

    def __init__(self):
        self.within_process = threading.RLock()
        self.depth, self.held = 0, None  # how many compilations we are in; the byte of a kernel
        self.seconds = 0.0  # in compilations so far
        self.file = None  # never closed: that would let go of all its locks

    @contextlib.contextmanager
    def compiling(self):
        """While a kernel is compiled or loaded, perhaps inside another's."""
        with self.within_process:
            self.depth, start = self.depth + 1, time.perf_counter()
            try:
                yield
            finally:
                self.depth -= 1
                self.seconds += 0 if self.depth else time.perf_counter() - start
                if self.depth == 0 and self.held is not None:
                    self._set(fcntl.LOCK_UN, self.held)
                    self.held = None

    def compile_alone(self, key):
        """Wait for all others that compile the kernel of a key: was there no lock before? Local."""
        if self.depth == 0 or self.held is not None:
            return False
        text = repr(key).encode()  # of two kernels that look alike one waits, no more
        self.held = 1 + int.from_bytes(hashlib.sha256(text).digest()[:7], "little")
        self._set(fcntl.LOCK_EX, self.held)
        return True

    def reading(self):
        """While entries are read, by all ranks of a machine at once."""
        return self._files(fcntl.LOCK_SH)

    def writing(self):
        """While entries are written."""
        return self._files(fcntl.LOCK_EX)

    @contextlib.contextmanager
    def _files(self, how):
        with self.within_process:
            self._set(how, 0)
            try:
                yield
            finally:
                self._set(fcntl.LOCK_UN, 0)

    def _set(self, what, byte):
        with contextlib.suppress(OSError):  # a file system without locks
            if self.file is None:
                self.file = open(CACHE_FOLDER / "locks", "w+b")  # noqa: SIM115  (to be read, too: LOCK_SH asks for that)
            fcntl.lockf(self.file, what, 1, byte)


_LOCKS = _Locks()


class _SharedFiles:
    """The cache files of numba for one function, of which many processes read and write entries.

    numba writes the index before the entry, under the first free number: two
    that save at once may take the same one, and one may load what stood there.
    """

    def __init__(self, files):
        self.unlocked = files

    def load(self, key):
        """The entry of a key, or None: then no other process compiles it until we are done. Local."""
        found = self._load(key)
        return self._load(key) if found is None and _LOCKS.compile_alone(key) else found

    def _load(self, key):
        with _LOCKS.reading():
            try:
                return self.unlocked.load(key)
            except ImportError:  # of the module of a user's function, which this process has not
                return None

    def save(self, key, entry):
        """Add an entry. Local."""
        with _LOCKS.writing():
            self.unlocked.save(key, entry)

    def flush(self):
        """Forget all entries. Local."""
        with _LOCKS.writing():
            self.unlocked.flush()


class Threads:
    """A few threads that run kernels which released the GIL."""

    def __init__(self, n_threads=1):
        self.n_threads = max(1, int(n_threads))
        self.pool = Workers(self.n_threads - 1) if self.n_threads > 1 else None

    def run(self, call, chunks):
        """Run ``call(lo, hi)`` over all chunks; the first error is raised. Local.

        With one thread or one chunk, in the caller.
        """
        if self.pool is None or len(chunks) < 2:
            for lo, hi in chunks:
                call(lo, hi)
            return
        shared = iter(chunks)  # next() on a list iterator is atomic: each chunk is taken once

        def work():
            for lo, hi in shared:
                call(lo, hi)

        # in a copy of the caller's context each: what it told numpy of overflows holds for all
        others = [self.pool.submit(contextvars.copy_context().run, work) for _ in range(self.n_threads - 1)]
        try:
            work()
        finally:
            failed = [f.exception() for f in others]
        for error in failed:
            if error is not None:
                raise error

    def close(self):
        """Let the threads go. Local."""
        if self.pool is not None:
            self.pool.close()
