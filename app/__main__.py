"""python -m app serve | keys | people | dashboard | simulate | export | backup | restore | verify.

Exit code 0 done, 1 the server could not start, 2 wrong usage or settings, 130 stopped by Ctrl-C.
"""

import sys

from app.lasting import lasting
from model.interrupt import importing

with importing(), lasting():
    from app.command import main

if __name__ == "__main__":
    sys.exit(main())
