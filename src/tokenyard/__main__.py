"""`python -m tokenyard`: the same as the `tokenyard` command."""

from tokenyard.cli import main

main()
