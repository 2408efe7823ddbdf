"""`python -m minigen`: the command line."""

from .cli import main

main()
