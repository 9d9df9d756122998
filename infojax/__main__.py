"""`python -m infojax` is the command `infojax`."""

import sys

from infojax.cli import main

if __name__ == "__main__":
    sys.exit(main())
