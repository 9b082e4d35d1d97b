"""`python -m atelier COMMAND`: how the supervisor starts its children, whatever is or isn't on the PATH."""

from atelier.cli import main

main()
