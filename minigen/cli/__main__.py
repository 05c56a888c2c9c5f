"""`python -m minigen.cli` is `minigen`, where the command is not on the path."""

import sys

from minigen.cli import main

if __name__ == "__main__":
    sys.exit(main())
