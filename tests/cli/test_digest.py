"""`hpcmp digest`: what is printed is what the rows have."""

import pytest
import samples

from hpcmp import analysis
from hpcmp.cli import digest
from hpcmp.errors import FormatError
from hpcmp.io import h5


def test_the_digest_of_a_result_and_of_a_graph_is_printed(tmp_path, capsys):
    for path in (samples.write_run(tmp_path / "r.h5"), samples.write_graph(tmp_path / "g.h5")):
        assert samples.run_verb(digest, path) == 0
        assert capsys.readouterr().out == f"{analysis.open(path).digest}\n"
        samples.run_verb(digest, path, "--json")
        assert samples.printed_json(capsys)["digest"] == analysis.open(path).digest


def test_it_is_the_digest_that_the_run_printed(tmp_path):
    import hpcmp

    result = hpcmp.run(samples.hops(), samples.graph(), 3, check=True)
    result.write(tmp_path / "r.h5")
    assert analysis.open(tmp_path / "r.h5").compute_digest() == result.digest


def test_a_changed_row_is_refused(tmp_path, capsys):
    path = samples.write_run(tmp_path / "r.h5")
    bad = samples.changed(path, tmp_path / "bad.h5", lambda f: f["hops"].__setitem__(4, 4.0))
    with pytest.raises(FormatError, match="bad.h5: the rows have the digest .*, the file says .*it was changed"):
        samples.run_verb(digest, bad)
    assert capsys.readouterr().out == ""


def test_a_changed_digest_is_refused(tmp_path):
    path = samples.write_run(tmp_path / "r.h5")
    bad = samples.changed(path, tmp_path / "bad.h5", lambda f: h5.set_attributes(f, {"digest": "0" * 64}))
    with pytest.raises(FormatError, match="the file says 0000000000000000"):
        samples.run_verb(digest, bad)
