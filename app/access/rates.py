"""How many requests a minute a key may make: counted in this process, by the library `limits`.

A window that slides: what was counted in the minute before counts in part, so that the end of a minute lets no double
burst through. It takes the same memory and time for any rate.
"""

import math
import time
from functools import cached_property, lru_cache

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.access.principal import Principal
from app.refusals import Refusal, ServiceCode

# A key has one rate; old ones of keys that were made anew go.
RATES_KEPT = 4096


@lru_cache(RATES_KEPT)
def _a_minute(requests: int) -> RateLimitItem:
    return RateLimitItemPerMinute(requests)


class Rates:
    """Counts the requests of each key. per_minute: of keys that say nothing of it themselves, 0 for no bound."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute

    # It starts a thread: only where a key has a rate.
    @cached_property
    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        return SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, principal: Principal) -> None:
        """One more request. Raises `Refusal` (rate_limited), and counts nothing then."""
        rate = principal.rate_per_minute
        if rate is None:
            rate = self._per_minute if principal.kind == "key" else 0
        if not rate or self._limiter.hit(_a_minute(rate), principal.id):
            return
        later = self._limiter.get_window_stats(_a_minute(rate), principal.id).reset_time - time.time()
        raise Refusal(
            ServiceCode.RATE_LIMITED,
            f"{principal.kind} {principal.name!r} may make {rate} requests a minute; wait, or give it another rate",
            retry_after_s=max(1, math.ceil(later)),
        )
