# PYTHON_ARGCOMPLETE_OK
"""`python -m npr.cli`: the command line."""

import sys

from npr.cli import main

if __name__ == "__main__":
    sys.exit(main())
