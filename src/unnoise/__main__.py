"""``python -m unnoise`` is the command line."""

from unnoise.cli import main

main()
