"""python -m app serve | keys | people | dashboard | simulate | export | backup | restore | verify.

Exit code 0 done, 1 the server could not start, 2 wrong usage or settings.
"""

import sys

from app.lasting import lasting

with lasting():
    from app.command import main

if __name__ == "__main__":
    sys.exit(main())
