"""`python -m distmatch`."""

from distmatch.cli import main

main()
