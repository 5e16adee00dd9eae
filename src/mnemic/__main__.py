"""`python -m mnemic` is `mnemic`."""

from mnemic.cli import main

main(prog_name="mnemic")
