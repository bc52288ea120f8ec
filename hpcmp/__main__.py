"""`python -m hpcmp` is `hpcmp`."""

from hpcmp.cli import main

main()
