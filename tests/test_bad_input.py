"""Every mistake of a user ends all ranks with one message that says what is wrong, where, and what to do.

Each case runs on 1 and on 3 ranks: exit code 2, one message, spoken by rank 0;
no traceback; and an output of hpcmp that was there before keeps its bytes. All cases run
in one job, and `LAUNCHED` once more in a job each, of which no process is left:
every fourth, or all with HPCMP_LONG_TESTS=1, and on one rank, where nobody can
be left behind, every sixth.
"""

import functools
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import bad_files
import jobs
import launch as launching
import pytest
from thorough import IS_LONG

SENTINEL = bad_files.older_result()  # to be kept
KEPT = "by hand\n"
NOTES = ("note: ", "reading ", "building ", "cutting ", "step ")  # lines of progress, which may come before the message
LONGEST = 600  # characters of a message that is still read
LIMIT_S = 40  # a launch takes about one second; a loaded machine several


@dataclass(frozen=True)
class Case:
    argv: str  # words of the command line; out.h5 lies in an own folder, all else where the bad files are
    says: tuple  # patterns that the message must hold

    def words(self, files, output):
        places = {"OUT": str(output)}
        return [places.get(word, word.replace("@", f"{files}/")) for word in self.argv.split(" ")]


def convert(name, *says, options=""):
    return Case(f"convert @{name}{options and ' '}{options} -o OUT", says)


def opens(name, *says):
    return Case(f"run wcc @{name}.h5 -o OUT", (f"{name}.h5", *says))


def user(name, *says, options=""):
    return Case(f"run @user.py:{name} @ring.h5{options and ' '}{options} -o OUT", says)


def run(words, *says):
    return Case(f"run {words} -o OUT", says)


def partition(words, *says):
    return Case(f"partition @ring.h5 {words} -o OUT", says)


def labels(options, *says):
    words = "convert @tiny.tsv --train @train.tsv --key who --label class"
    return Case(f"{words} {options} -o OUT", says)  # of an option that is there twice, the last counts


NO_PLACE = ("/proc", "cannot be written|make room")


CASES = {
    # ------------------------------------------------ text
    "gz cut short": convert("cut.tsv.gz", r"cut\.tsv\.gz", "damaged gzip"),
    "gz corrupt": convert("corrupt.tsv.gz", r"corrupt\.tsv\.gz", "damaged gzip"),
    "a line with fewer columns": convert("three-and-two.tsv", "line 3", "2 columns where 3 belong"),
    "a word where an id belongs": convert("word.tsv", "line 2", "'two'", "--names"),
    "a word where a weight belongs": convert("word-weight.tsv", "line 2", "'heavy'", "not a number"),
    "a float where an id belongs": convert("float-id.tsv", "line 2", r"'2\.5'", "not an integer"),
    "an id beyond int64": convert("beyond.tsv", "line 2", "9223372036854775808", "beyond int64"),
    "a weight that is nan": convert("nan.tsv", "line 2", "nan", "not a number"),
    "one column": convert("one-column.tsv", r"one-column\.tsv"),
    "only comments": convert("comments.tsv", r"comments\.tsv"),
    "an empty file": convert("empty.tsv", r"empty\.tsv", "empty"),
    "bytes that are no text": convert("binary.tsv", r"binary\.tsv"),
    "text in UTF-16": convert("utf16.tsv", r"utf16\.tsv", "UTF-16|UTF-8"),
    "a missing file": convert("missing.tsv", r"missing\.tsv", "does not exist"),
    "a folder": convert("a-folder", "a-folder", "folder"),
    "LDBC without vertices": convert("alone.e", r"alone\.v", "missing"),
    "LDBC with an unlisted vertex": convert("broken.e", "vertex 4", "not in the vertex list"),
    "METIS with more edges than it says": convert("few.graph", r"few\.graph", "4", "1"),
    "METIS with fewer edges than it says": convert("many.graph", r"many\.graph", "4", "6"),
    "METIS with fewer vertices than it says": convert("short.graph", r"short\.graph", "3", "4"),
    "METIS with an edge at one end only": convert("one-way.graph", r"one-way\.graph", "one end"),
    "METIS with a vertex outside": convert("outside.graph", r"outside\.graph", "7"),
    "METIS of a huge declared size": convert("huge.graph", r"huge\.graph", "4611686018427387904"),
    "METIS without a header": convert("no-header.graph", r"no-header\.graph", "header"),
    "MatrixMarket with too few entries": convert("fewer.mtx", r"fewer\.mtx", "2 entries", "3"),
    "MatrixMarket with too many entries": convert("more.mtx", r"more\.mtx", "2 entries", "1"),
    "MatrixMarket with a vertex outside": convert("outside.mtx", r"outside\.mtx", "line 3", "4"),
    "MatrixMarket without a banner": convert("banner.mtx", r"banner\.mtx", "MatrixMarket"),
    "MatrixMarket that is not square": convert("wide.mtx", "2 x 3", "square"),
    "GraphML cut short": convert("unclosed.graphml", r"unclosed\.graphml"),
    "GraphML with an unknown node": convert("unknown-node.graphml", "'b'", "no node"),
    "npz without dst": convert("no-dst.npz", r"no-dst\.npz", "'dst'"),
    "npz whose shapes disagree": convert("shapes.npz", r"shapes\.npz", "3", "4"),
    "npz of pickles": convert("objects.npz", r"objects\.npz", "object"),
    "npz cut short": convert("cut.npz", r"cut\.npz"),
    "npz of a huge declared size": convert("lies.npz", r"lies\.npz", "bytes"),
    # ------------------------------------------------ options of convert
    "an unknown format": convert("tiny.tsv", "'pajek'", "edgelist", options="--format pajek"),
    "columns without dst": convert("tiny.tsv", "dst", options="--columns src,weight,time"),
    "too few columns named": convert("tiny.tsv", "3|column", options="--columns src,dst"),
    "a column of an unknown type": convert("tiny.tsv", "complex128", options="--columns src,dst,weight:complex128"),
    "a separator of two bytes": convert("tiny.tsv", "'::'", options="--separator ::"),
    "a weight that is no field": convert("tiny.tsv", "'length'", "weight", options="--weight length"),
    "directed against the file": convert("said.e", "undirected", "--directed", options="--directed"),
    "no parts": convert("tiny.tsv", "parts = 0|--parts 0", options="--parts 0"),
    "a negative number of parts": convert("tiny.tsv", "-3", options="--parts -3"),
    "an unknown method": convert("tiny.tsv", "'magic'", "metis", options="--method magic"),
    "relations for some inputs": Case("convert a=@tiny.tsv @tiny.tsv -o OUT", ("NAME=PATH",)),
    "two kinds of vertices": Case("convert @two.graphml @tiny.tsv -o OUT", ("ids|names",)),
    "a vertex that is not in the table": convert("tiny.tsv", "vertex 3", "table", options="--vertices @lacks.vertices.tsv"),
    "a vertex twice in the table": convert("tiny.tsv", "vertex 2", "2 times", options="--vertices @twice.vertices.tsv"),
    "a vertex table without ids": convert("tiny.tsv", "neither id nor name", options="--vertices @no-id.vertices.tsv"),
    "a vertex field with a taken name": convert("tiny.tsv", "in_degree", options="--vertices @taken.vertices.tsv"),
    "features of an unknown vertex": convert("tiny.tsv", "77", options="--features @unknown.features.tsv"),
    "a negative feature": convert("tiny.tsv", "line 1", "-1", options="--features @minus.features.tsv"),
    # ------------------------------------------------ tables with labels, reversed relations
    "labels of an unknown vertex": labels("--test @stranger.tsv", "vertex 77", r"stranger\.tsv, line 3"),
    "labels by another kind of key": labels("--key class", "class 'red' is not an integer", r"train\.tsv, line 2"),
    "a vertex in two tables": labels("--test @again.tsv", "vertex 2", r"train\.tsv, line 3", r"again\.tsv, line 3"),
    "a vertex twice in one table": labels("--val @twice.tsv", "vertex 1", r"twice\.tsv, line 2", r"twice\.tsv, line 4"),
    "labels without their key": labels("--key id", "'id'", r"train\.tsv", "who, class"),
    "labels without their label": labels("--label colour", "'colour'", r"train\.tsv", "who, class"),
    "a label column that is there twice": labels("--test @two-columns.tsv", "two columns 'class'", r"two-columns\.tsv"),
    "labels without a row": labels("--test @no-row.tsv", r"no-row\.tsv", "no row"),
    "labels in an empty file": labels("--val @empty.tsv", r"empty\.tsv", "empty"),
    "labels in a missing file": labels("--val @missing.tsv", r"missing\.tsv", "does not exist"),
    "a vertex without a class": labels("--test @no-class.tsv", r"no-class\.tsv, line 3", "class is empty"),
    "a negative class": labels("--train @numbers.tsv --test @minus.tsv", r"minus\.tsv, line 3", "'-1' is negative"),
    "a label from two tables": labels("--vertices @labelled.vertices.tsv", "'label'", "leave out one"),
    "a label column without tables": convert("tiny.tsv", "--label needs --train", options="--label class"),
    "a test table without one to learn from": convert("tiny.tsv", "--test needs --train", options="--test @test.tsv"),
    "labels without a key": convert("tiny.tsv", "--train needs --key", options="--train @train.tsv --label class"),
    "labels without a label": convert("tiny.tsv", "--train needs --label", options="--train @train.tsv --key who"),
    "reversed edges of undirected ones": Case("convert a=@tiny.tsv --undirected --reverse-relations -o OUT", ("undirected",)),
    "reversed edges of no relation": convert("tiny.tsv", "no relations", "NAME=FILE", options="--reverse-relations"),
    "a relation called like a reversed one": convert(
        "cites.tsv", r"'\^cites'", "'cites'", options="--columns src,dst,relation --reverse-relations"
    ),
    # ------------------------------------------------ generate and partition
    "a negative scale": Case("generate kronecker --scale -2 -o OUT", ("-2",)),
    "a huge scale": Case("generate kronecker --scale 99 -o OUT", ("99", "40")),
    "weights that are no range": Case("generate ring --vertices 5 --weights heavy -o OUT", ("heavy", "LOW:HIGH")),
    "an unknown kind": Case("generate tree -o OUT", ("tree", "kronecker")),
    "a factor with a vertex outside": Case("generate product @factor.edges @outside.edges -o OUT", (r"outside\.edges", "3")),
    "a missing factor": Case("generate product @factor.edges @none.edges -o OUT", (r"none\.edges", "does not exist")),
    "partition into nothing": partition("--parts 0", "parts = 0", "outside"),
    "partition by magic": partition("--method magic", "'magic'", "metis"),
    "partition by no file": partition("--method file", "--from"),
    "partition by a short file": partition("--method file --from @few.parts", r"few\.parts", "3 lines", "8"),
    "partition by words": partition("--method file --from @words.parts", "line 3", "'last'"),
    "a part outside": Case("partition @ring4.h5 --parts 2 --method file --from @outside.parts -o OUT", ("vertex 3", "9", "2")),
    # ------------------------------------------------ graph files
    "a text called h5": opens("not-h5", "not an HDF5 file", "convert"),
    "HDF5 that is not ours": opens("plain", "not one of hpcmp's"),
    "a result in place of a graph": opens("result", "hpcmp-result", "hpcmp-graph"),
    "a graph cut short": opens("cut", "not an HDF5 file|truncated"),
    "a missing graph": Case("run wcc @none.h5 -o OUT", (r"none\.h5", "does not exist")),
    "a folder in place of a graph": Case("run wcc @a-folder -o OUT", ("a-folder", "folder")),
    "no format": opens("no-format", "format"),
    "another format": opens("foreign", "netcdf"),
    "another version": opens("future", "version 99"),
    "a count in words": opens("text-count", "n_edges", "many"),
    "a negative count": opens("minus-count", "n_vertices", "-1"),
    "a huge count": opens("huge-count", "vertices/id", "8 rows", str(2**62)),
    "sources that are no JSON": opens("sources", "sources"),
    "no ids": opens("no-ids", "vertices/id"),
    "no edges": opens("no-edges", "in_edges"),
    "a dataset in place of a group": opens("flat", "vertices"),
    "too few ids": opens("short-ids", "vertices/id", "5 rows", "8"),
    "too few sources": opens("short-src", "in_edges/src", "5 rows", "16"),
    "too few weights": opens("short-weight", "in_edges/weight", "3 rows", "16"),
    "weights that are text": opens("text-weight", "in_edges/weight", "S1"),
    "ids that are floats": opens("float-ids", "vertices/id", "float64"),
    "ids in a square": opens("square-ids", "vertices/id", "2 dimensions"),
    "sources of 32 bits": opens("narrow-src", "in_edges/src", "int32", "int64"),
    "a pointer that goes back": opens("ptr-back", "in_edges/ptr", "goes back", "row 2", "damaged"),
    "a pointer that goes back where a part starts": opens("ptr-back-at-part", "in_edges/ptr", "goes back", "damaged"),
    "a pointer beyond the edges": opens("ptr-beyond", "in_edges/ptr", "16"),
    "a negative pointer": opens("ptr-minus", "in_edges/ptr"),
    "a source outside": opens("src-outside", r"in_edges/src\[9\] = 8", r"\[0, 8\)"),
    "a negative source": opens("src-minus", r"in_edges/src\[9\] = -1"),
    "an order outside": opens("order-outside", r"vertices/order\[5\] = 8"),
    "an order twice": opens("order-twice", "vertices/order"),
    "an id twice": opens("id-twice", "vertices/id"),
    "a negative degree": opens("degree-minus", "out_degree"),
    "parts that go back": opens("parts-back", "parts/start"),
    "parts that are floats": opens("parts-float", "parts/start", "float64"),
    "an external link": opens("external-link", "in_edges/src", "link", r"weighted\.h5"),
    "a soft link": opens("soft-link", "in_edges/src", "link"),
    "external storage": opens("external-storage", "vertices/id", "another file"),
    "a virtual dataset": opens("virtual", "vertices/id", "another file"),
    "a dataset of a huge declared size": opens("huge-dataset", "in_edges/src", "declares|bytes"),
    "a repacked dataset": opens("chunked", "in_edges/src", "one piece"),
    # ------------------------------------------------ arguments of run
    "an unknown verb": Case("fly @ring.h5", ("'fly'", "--help")),
    "no verb": Case("--json", ("VERB|--json",)),
    "no arguments": Case("run", ("PROGRAM", "--help")),
    "an unknown option": run("wcc @ring.h5 --fast", "--fast", "--help"),
    "a word where a number belongs": run("pagerank @ring.h5 --steps many", "--steps", "'many'"),
    "an unknown program": run("pagernak @ring.h5", "'pagernak'", "pagerank"),
    "an unknown parameter": run("pagerank @ring.h5 --set dampnig=0.9", "'dampnig'", "damping"),
    "a parameter without a value": run("pagerank @ring.h5 --set damping", "'damping'", "NAME=VALUE"),
    "a parameter of another type": run("pagerank @ring.h5 --set damping=high", "damping", "high"),
    "a parameter outside its range": run("pagerank @ring.h5 --set damping=1.5", "damping = 1.5", r"\[0, 1\]"),
    "an unknown variant": run("pagerank @ring.h5 --set variant=gogle", "'gogle'", "ldbc"),
    "a tolerance in words": run("pagerank @ring.h5 --set tolerance=low", "tolerance", "low"),
    "a source in words": run("bfs @ring.h5 --set source=first", "source", "first"),
    "a source beyond int64": run(f"bfs @ring.h5 --source {2**70}", "source", str(2**70)),
    "negative steps": run("pagerank @ring.h5 --steps -1", "steps = -1", "negative"),
    "no threads": run("pagerank @ring.h5 --threads 0", "--threads 0", "at least 1"),
    "an unknown mode": run("bfs @ring.h5 --source 1 --mode warp", "'warp'", "frontier"),
    "frontier mode without a frontier": run("pagerank @ring.h5 --mode frontier", "frontier", "only_changed"),
    "steps for what has none": run("triangles @ring.h5 --steps 3", "triangles", "--steps"),
    "a source that is no vertex": run("bfs @ring.h5 --source 99", "source 99", "not a vertex"),
    "no weights": run("sssp @ring.h5 --source 0", "weight", "convert"),
    "negative weights": run("sssp @negative.h5 --source 0", "-3.5|1 -> 2", "at least 0"),
    "a negative weight in the file": run("sssp @negative-weight.h5 --source 0", "-0.5", "at least 0"),
    "a weight that is nan in the file": run("sssp @nan-weight.h5 --source 0", "nan", "at least 0"),
    # ------------------------------------------------ user programs
    "a missing program file": run("@none.py:heat @ring.h5", r"none\.py", "does not exist"),
    "no such name in the file": user("cold", "'cold'", "raises"),
    "a program that is a number": run("@other.py:heat @ring.h5", "int", "hpcmp.Program"),
    "a syntax error": run("@syntax.py:heat @ring.h5", r"syntax\.py", "line 2", "SyntaxError"),
    "a file that fails": run("@fails.py:heat @ring.h5", r"fails\.py", "line 3", "KeyError"),
    "a missing module": run("@unknown_module.py:heat @ring.h5", r"unknown_module\.py", "line 1", "a_package_that"),
    "a function of another number of arguments": run("@arguments.py:heat @ring.h5", r"arguments\.py", "update", "1 argument"),
    "a number in place of a function": run("@no_function.py:heat @ring.h5", r"no_function\.py", "update", "int"),
    "an unknown aggregate": run("@aggregate.py:heat @ring.h5", "'median'", "sum"),
    "an unknown type": run("@dtype.py:heat @ring.h5", "complex128", "float64"),
    "a field with a taken name": run("@reserved.py:heat @ring.h5", "'id'"),
    "a function that raises": user("raises", "ValueError", "too hot", "step 0"),
    "a function that raises uncompiled": user("raises", "too hot", r"user\.py", "line 12", "burn", options="--check"),
    "a vertex field that is not there": user("misses", "step|update", "colour", "in_degree", "--check", r"user\.py"),
    "a name that is not there": user("imports", "step|update", "sorted_by_hand"),
    "a name that is not there uncompiled": user("imports", "NameError", "sorted_by_hand", r"user\.py", options="--check"),
    "an update that gives text": user("text", "step|update", "unicode|text", "number|cannot be stored"),
    "an update that gives text uncompiled": user("text", "str", "cannot be stored", options="--check"),
    "an update that gives nothing": user("nothing", "step|update", "none", "number|cannot be stored"),
    "an update that gives nothing uncompiled": user("nothing", "NoneType", options="--check"),
    "an update that gives a list": user("row", "step|update", "list", "number|cannot be stored"),
    "an update that gives two values": user("two", "step|update", "2 values", "1 field"),
    "an update that gives two values uncompiled": user("two", "2", options="--check"),
    "an update that gives one value of two": user("one", "init", "1 value", "2 fields"),
    "a send that gives text": user("sends_text", "send"),
    "a message that is text": user("message_text", "message"),
    "rows of another width": user("widths", "3", "2"),
    "an edge field that is not there": user("no_weight", "length", "edge"),
    "a parameter that is not there": user("no_ctx", "temperature"),
    "a program without an end": user("endless", "--steps"),
    "a rule to end by that raises": user("until_raises", "until", "KeyError", "rule"),
    "a rule to end by on what is not there": user("until_wants", "until", "temperature"),
    "a relation that is not there": user("relations", "'knows'"),
    "a parameter of its own of another type": user("rated", "rate", "high", options="--set rate=high"),
    "a float for a whole number": user("rated", "n = 2.5", "int", options="--set n=2.5"),
    "a verifier for a user's program": user("rated", "--verify", options="--verify"),
    # ------------------------------------------------ outputs
    "a folder as output": Case("run wcc @ring.h5 -o @a-folder", ("a-folder", "folder")),
    "an output in no folder": Case("run wcc @ring.h5 -o @nowhere/out.h5", ("nowhere", "does not exist", "make it")),
    "an output under a file": Case("run wcc @ring.h5 -o @tiny.tsv/out.h5", (r"tiny\.tsv",)),
    "a text as output of run": Case("run wcc @ring.h5 -o @kept.txt", (r"kept\.txt exists", "--force")),
    "a text as output of convert": Case("convert @tiny.tsv -o @kept.txt", (r"kept\.txt exists", "--force")),
    "a text as output of generate": Case("generate ring --vertices 5 -o @kept.txt", (r"kept\.txt exists", "--force")),
    "a text as output of partition": Case("partition @ring.h5 --parts 2 -o @kept.txt", (r"kept\.txt exists", "--force")),
    "a text as output of export": Case("export @result.h5 -o @kept.txt", (r"kept\.txt exists", "--force")),
    "HDF5 that is not ours as output": Case("run wcc @ring.h5 -o @plain.h5", (r"plain\.h5 exists", "--force")),
    "a folder that cannot be written": Case("run wcc @ring.h5 -o /proc/out.h5", NO_PLACE),
    "a graph in a folder that cannot be written": Case("convert @tiny.tsv -o /proc/out.h5", NO_PLACE),
    "a text in a folder that cannot be written": Case("generate ring --vertices 5 -o /proc/out.tsv", NO_PLACE),
}  # fmt: skip


# The cases that are also started as a user does, each on its own: every family, and all that ends inside a step.
LAUNCHED = (  # of each place where a mistake is found one or two
    "gz cut short",
    "a word where an id belongs",
    "a missing file",
    "METIS with fewer vertices than it says",
    "npz of pickles",
    "a vertex that is not in the table",
    "labels without their key",
    "partition by a short file",
    "a graph cut short",
    "a pointer that goes back",
    "an external link",
    "an unknown verb",
    "an unknown parameter",
    "a source that is no vertex",
    "negative weights",
    "a file that fails",
    "a function that raises",
    "a function that raises uncompiled",
    "an update that gives text",
    "a rule to end by that raises",
    "an output under a file",
)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    bad_files.write_texts(folder)
    (folder / "a-folder").mkdir()
    (folder / "kept.txt").write_text(KEPT)
    make = [
        ["generate", "ring", "--vertices", 8, "--parts", 4, "-o", folder / "ring.h5"],
        ["generate", "ring", "--vertices", 4, "--parts", 4, "-o", folder / "ring4.h5"],
        ["generate", "ring", "--vertices", 8, "--parts", 4, "--weights", "0.5:1", "-o", folder / "weighted.h5"],
        ["generate", "ring", "--vertices", 3900, "-o", folder / "large.h5"],
        ["convert", folder / "negative.tsv", "-o", folder / "negative.h5"],
        ["run", "wcc", folder / "ring.h5", "-o", folder / "result.h5"],
    ]
    jobs.run_commands(1, make, folder)
    bad_files.break_graphs(folder)
    return folder


@pytest.fixture(scope="session")
def outcomes(files, tmp_path_factory):
    """``outcomes(ranks)``: of all cases, run one after the other on so many ranks; name -> (outcome, words, output)."""

    @functools.cache
    def on(ranks):
        folder = tmp_path_factory.mktemp(f"outcomes-{ranks}-")
        words = {}
        for number, (name, case) in enumerate(CASES.items()):
            output = folder / f"case-{number}" / "out.h5"
            output.parent.mkdir()
            output.write_bytes(SENTINEL)
            words[name] = case.words(files, output), output
        found = jobs.outcomes_of(ranks, [w for w, _ in words.values()], folder)
        return {name: (outcome, *words[name]) for name, outcome in zip(CASES, found, strict=True)}

    return on


def check_message(code, errors, says, shown):
    """One message, from rank 0, that holds the patterns. ``errors``: standard error of each rank."""
    assert "Traceback" not in "".join(errors), shown
    assert code == 2, f"exit code {code}\n{shown}"
    spoken = [line for line in errors[0].splitlines() if line.strip() and not line.startswith(NOTES)]
    assert len(spoken) == 1 and spoken[0].startswith("hpcmp: error: "), shown
    assert not any(errors[1:]), f"a rank other than 0 speaks\n{shown}"
    for pattern in says:
        assert re.search(pattern, spoken[0]), f"the message lacks {pattern!r}\n{shown}"
    assert len(spoken[0]) < LONGEST, shown


def check_output(output):
    assert os.listdir(output.parent) == [output.name], "files were left"
    assert output.read_bytes() == SENTINEL


def shown_as(argv, *texts):
    return f"$ hpcmp {' '.join(map(str, argv))}\n{''.join(texts)}"


def refuses(launch, ranks, argv, says):
    """Launch a command that must be refused, on so many ranks (1: alone)."""
    done = launch(None if ranks == 1 else ranks, *argv, timeout=LIMIT_S)
    shown = shown_as(argv, done.stdout, done.stderr)
    check_message(done.returncode, [done.stderr], says, shown)
    assert not launching.still_running(done), shown


@pytest.mark.parametrize("ranks", [1, 3], ids=lambda ranks: f"P{ranks}")
@pytest.mark.parametrize("name", CASES)
def test_mistake_is_refused_with_one_message(outcomes, name, ranks):
    outcome, argv, output = outcomes(ranks)[name]
    check_message(outcome["code"], outcome["stderr"], CASES[name].says, shown_as(argv, *outcome["stderr"]))
    check_output(output)


@pytest.mark.parametrize(
    "ranks, name",
    [*((3, name) for name in LAUNCHED[:: 1 if IS_LONG else 4]), *((1, name) for name in LAUNCHED[1::6])],
)
def test_mistake_ends_all_ranks_of_a_job(launch, files, tmp_path, name, ranks):
    output = tmp_path / "out" / "out.h5"
    output.parent.mkdir()
    output.write_bytes(SENTINEL)
    refuses(launch, ranks, CASES[name].words(files, output), CASES[name].says)
    check_output(output)


@pytest.mark.parametrize("ranks", [1, 3], ids=lambda ranks: f"P{ranks}")
def test_what_hpcmp_did_not_write_is_replaced_only_by_force(outcomes, files, tmp_path, ranks):
    outcomes(ranks)
    assert (files / "kept.txt").read_text() == KEPT
    output = tmp_path / "out.h5"
    output.write_text(KEPT)
    force = ["run", "wcc", files / "ring.h5", "--force", "-o", output]
    again = ["generate", "ring", "--vertices", 5, "-o", output]  # over a result, which is ours
    jobs.run_commands(ranks, [force, again, ["info", output]], tmp_path)


# ---------------------------------------------------------------- full disks


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def read_only_disk(small_disk):
    (small_disk / "out.h5").write_bytes(SENTINEL)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    return small_disk


@pytest.mark.parametrize("ranks", [1, 3], ids=lambda ranks: f"P{ranks}")
@pytest.mark.parametrize("argv", ["run wcc @large.h5 -o OUT", "generate ring --vertices 3900 -o OUT"])
def test_full_disk_is_told_before_writing(launch, files, small_disk, argv, ranks):
    output = small_disk / "out.h5"
    output.write_bytes(SENTINEL)
    (small_disk / "filler").write_bytes(bytes(52_000))
    says = (str(output), "bytes|space|room")
    refuses(launch, ranks, Case(argv, ()).words(files, output), says)
    assert output.read_bytes() == SENTINEL
    assert sorted(os.listdir(small_disk)) == ["filler", "out.h5"]


@pytest.mark.parametrize("ranks", [1, 3], ids=lambda ranks: f"P{ranks}")
def test_disk_that_fills_while_writing_keeps_the_old_file(launch, files, small_disk, ranks):
    # Ids and labels just fit, what HDF5 and the tables of steps need does not.
    output = small_disk / "out.h5"
    output.write_bytes(SENTINEL)  # one page
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    n_rows = 3900 * 16
    (small_disk / "filler").write_bytes(bytes(max(free - n_rows - 4096, 0) // 4096 * 4096))
    argv = ["run", "wcc", f"{files}/large.h5", "-o", output]
    refuses(launch, ranks, argv, (str(output), "cannot be written|room"))
    assert output.read_bytes() == SENTINEL
    assert sorted(os.listdir(small_disk)) == ["filler", "out.h5"]


@pytest.mark.parametrize("ranks", [1, 3], ids=lambda ranks: f"P{ranks}")
@pytest.mark.parametrize("argv", ["run wcc @ring.h5 -o OUT", "convert @tiny.tsv -o OUT", "partition @ring.h5 -o OUT"])
def test_read_only_disk_is_told(launch, files, read_only_disk, argv, ranks):
    output = read_only_disk / "out.h5"
    refuses(launch, ranks, Case(argv, ()).words(files, output), (str(output), "cannot be written"))
    check_output(output)


def test_disk_is_as_small_as_it_should_be(small_disk):
    with pytest.raises(OSError, match="No space"):
        Path(small_disk / "large").write_bytes(bytes(80_000))
