"""`python -m ladder.cli`."""

from ladder.cli import main

main()
