"""How fast passwords may be tried: slowly for whoever guesses, and nobody is locked out by another's guesses for long.

Counted are failures alone, by name and by address. A person whose name is under attack from elsewhere is let in all the
same from an address where that person has signed in before.
"""

import threading
import time
from collections import OrderedDict
from functools import cached_property

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.refusals import Refusal, ServiceCode

# Ten in a minute forgive a shift of typing errors; at that rate a thousand guesses take well over an hour.
FAILURES = RateLimitItemPerMinute(10)
# Of an address, whatever the names: a whole line's people may share one.
ADDRESS_FAILURES = RateLimitItemPerMinute(30)
MOST_KNOWN = 10_000


class Throttle:
    """One worker's memory of failed attempts."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    # It starts a thread: only where somebody signs in.
    @cached_property
    def _failures(self) -> MovingWindowRateLimiter:
        return MovingWindowRateLimiter(MemoryStorage())

    def require(self, name: str, address: str) -> None:
        """Whether a password may be tried now. Raises `Refusal` (rate_limited)."""
        for limit, *key in self._counted(name, address):
            if not self._failures.test(limit, *key):
                reset = self._failures.get_window_stats(limit, *key).reset_time
                wait_s = max(1, round(reset - time.time()))
                raise Refusal(
                    ServiceCode.RATE_LIMITED, "too many attempts to sign in have failed; wait a moment", wait_s
                )

    def failed(self, name: str, address: str) -> None:
        """Count one."""
        for limit, *key in self._counted(name, address):
            self._failures.hit(limit, *key)

    def succeeded(self, name: str, address: str) -> None:
        """The person is known at this address from here on."""
        with self._lock:
            self._known[name, address] = None
            self._known.move_to_end((name, address))
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)

    def _counted(self, name: str, address: str) -> list[tuple[RateLimitItemPerMinute, str, str]]:
        own = ("person", f"{name}\n{address}") if (name, address) in self._known else ("person", name)
        return [(FAILURES, *own), (ADDRESS_FAILURES, "address", address)]
