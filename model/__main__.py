"""python -m model: see model.command."""

import sys

from model.interrupt import importing

with importing():
    from model.command import main

if __name__ == "__main__":
    sys.exit(main())
