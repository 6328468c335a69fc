"""The connections of one worker: how many there may be, from one address and in all, and none that never reads."""

import asyncio
import ipaddress
from collections import Counter
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

# How often what was not sent yet is looked at.
LOOK_S = 5.0
# In so long a reader must have taken so much, or all there is: slower than any link that a plant has.
SLOWEST_S = 20.0
SLOWEST_BYTES = 20 * 1024


@dataclass(frozen=True)
class Bounds:
    """Of one worker; 0 is no bound.

    slowest_s: in which a reader must have taken `SLOWEST_BYTES`.
    """

    connections: int = 0
    for_each_address: int = 0
    look_s: float = LOOK_S
    slowest_s: float = SLOWEST_S


UNBOUNDED = Bounds()


@dataclass
class _Unsent:
    """What a connection had not taken when it was last seen to have taken enough."""

    size: int
    since: float


class Connections:
    """Counts them, and hangs up on those that do not read what they asked for."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._held: Counter[str] = Counter()
        self._unsent: dict[Any, _Unsent] = {}
        self._transports: set[Any] = set()
        self._look_at: asyncio.TimerHandle | None = None

    def enter(self, transport: Any, address: str | None) -> str | None:
        """One more connection. Why it may not stay, if so: it is counted all the same, until `leave`."""
        place = place_of(address)
        self._held[place] += 1
        self._transports.add(transport)
        if self._look_at is None:
            self._look_at = asyncio.get_running_loop().call_later(self._bounds.look_s, self._look)
        if 0 < self._bounds.connections < len(self._transports):
            return f"{self._bounds.connections} connections are open, as many as this server takes"
        if 0 < self._bounds.for_each_address < self._held[place]:
            return f"{self._bounds.for_each_address} connections from this address are open, as many as one may have"
        return None

    def leave(self, transport: Any, address: str | None) -> None:
        """A connection is closed."""
        self._transports.discard(transport)
        self._unsent.pop(transport, None)
        self._held.subtract([place_of(address)])
        if self._held[place_of(address)] <= 0:
            del self._held[place_of(address)]

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._look_at = loop.call_later(self._bounds.look_s, self._look) if self._transports else None
        now = loop.time()
        for transport in list(self._transports):
            size = transport.get_write_buffer_size()
            seen = self._unsent.get(transport)
            if not size:
                self._unsent.pop(transport, None)
            elif seen is None or size <= seen.size - SLOWEST_BYTES:
                self._unsent[transport] = _Unsent(size, now)
            # More is added only when what was there is gone: it grows when a reader falls behind at first.
            elif size > seen.size:
                seen.size = size
            elif now - seen.since >= self._bounds.slowest_s:
                # A close would wait for the reader.
                transport.abort()


def place_of(address: str | None) -> str:
    """Where an address counts: of IPv6 a client is given 2^64 of them.

    >>> place_of("10.0.0.7"), place_of("2001:db8::1") == place_of("2001:db8::2")
    ('10.0.0.7', True)
    """
    if address is None or ":" not in address:
        return address or ""
    ip = ipaddress.IPv6Address(address.partition("%")[0])
    return str(ip.ipv4_mapped) if ip.ipv4_mapped else str(ipaddress.IPv6Network((ip, 64), strict=False))


_ALL: "WeakKeyDictionary[Any, Connections]" = WeakKeyDictionary()


def connections_of(server: Any, bounds: Bounds) -> Connections:
    """Those of a server's state, for all its protocols together."""
    return _ALL.setdefault(server, Connections(bounds))
