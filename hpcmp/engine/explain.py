"""What numba and Python say of a user's function, in one line."""

from pathlib import Path

# What in numba's account says what is wrong, the most telling first
TELLING = (
    "values were given",
    "was given",
    "Unknown attribute",
    "Untyped global name",
    "NameError",
    "is not defined",
    "cannot be stored",
    "Cannot unify",
    "Can't unify",
    "missing a required argument",
    "too many positional",
    "Use of unsupported",
    "not supported",
    "nsupported",
    "No implementation of function Function(<built-in",
    "Invalid use of",
)
OWN_FOLDER = str(Path(__file__).parents[1])
OWN_FILES = ("hpcmp/kernels/", "hpcmp/engine/", "hpcmp/jit.py", "numba/")


def place_of(error):
    """Where in the user's file an error arose when plain Python ran it: text. Local."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(OWN_FOLDER):
            place = f" ({code.co_filename}, line {trace.tb_lineno}, in {code.co_name})"
        trace = trace.tb_next
    return place


def telling(text):
    """The line of numba's account that says what is wrong, and where. Local."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("raise ")]  # numba quotes the source of our own messages
    at = next((k for word in TELLING for k, line in enumerate(lines) if word in line), 0)
    what = " ".join(lines[at : at + 1] + [line for line in lines[at + 1 : at + 2] if line.startswith(">>>")])
    what = what.removeprefix("TypingError: ")
    places = [line.rstrip(":") for line in lines if line.startswith("File ") and not any(f in line for f in OWN_FILES)]
    return what + (f" ({places[0]})" if places else "")
