"""python -m app serve | keys | people | dashboard | simulate | export | backup | restore | verify.

Exit code 0 done, 1 the server could not start, 2 wrong usage or settings.
"""

import gc
import sys

# What imports make stays: looking for garbage among it took a fifth of a start, and a part of every later search.
gc.disable()

from app.command import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    sys.exit(main())
