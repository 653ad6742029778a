"""Simulate which server each stream goes to: arrivals, ends, refusals, a lost node.

A discrete-event simulation: streams arrive at random (Poisson), last for some time
(lognormal) and are given to one of the servers by the balancer's rule. A server that is
full refuses; the client tries again, a few times. A node may be lost: its streams end,
at once or when their clients notice, and all of them connect again.

Rules are HAProxy's: `leastconn` (a tie is broken at random, HAProxy takes turns),
`random(2)`, `roundrobin`, and `source`, a hash of the client's address. `leastconn` of
several balancers is that of HAProxies that do not know of each other's streams.

Pure: no I/O and no clock; chance comes from a seed.
"""

import heapq
import math
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

Rule = Literal["leastconn", "random(2)", "roundrobin", "source"]
RULES: Final[tuple[Rule, ...]] = ("leastconn", "random(2)", "roundrobin", "source")

# After how many seconds a client that was refused asks again.
_AGAIN_S: Final = 2.0

# Streams whose clients notice a node that says no more, by their own pings.
_SILENT_S: Final = (20.0, 40.0)
# HAProxy's `timeout connect`; and its checks until a node that says no more is out.
_CONNECT_S: Final = 2.0
_MARK_DOWN_S: Final = 5.0
# Clients that were cut off connect again within so many seconds.
_RECONNECT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Loss:
    """A node that is lost.

    Attributes:
        at_s: When.
        n_servers: Servers of the node: the first ones.
        silent: Whether nothing says so to clients: power or network are gone. Else
            processes are killed, and connections are reset.
        back_at_s: When the node is back.
    """

    at_s: float
    n_servers: int
    silent: bool = False
    back_at_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Fleet:
    """Servers, their streams, and the balancer.

    Attributes:
        n_servers: Number of servers.
        n_streams: Streams at once, on average.
        rule: How the balancer chooses.
        max_streams: Streams after which a server refuses; 0: it never does.
        n_balancers: Balancers that do not know of each other's streams.
        mean_s: Mean length of a stream.
        sigma: Standard deviation of the logarithm of its length.
        n_addresses: Addresses from which clients come: many from a busy office, one
            from a single person, by Zipf's law with exponent 1.
        tries: How often a client asks that is refused.
        loss: A node that is lost.
    """

    n_servers: int
    n_streams: int
    rule: Rule = "leastconn"
    max_streams: int = 0
    n_balancers: int = 1
    mean_s: float = 300.0
    sigma: float = 1.0
    n_addresses: int = 2000
    tries: int = 5
    loss: Loss | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """A stream's time on a server, in seconds since the simulation began."""

    server: int
    start_s: float
    end_s: float


@dataclass(slots=True)
class Course:
    """What happened.

    Attributes:
        visits: All times of streams on servers.
        sampled_s: Times of the samples.
        counts: Streams of every server at each of these times, (n_samples, n_servers);
            none of one that is lost, whatever the balancer believes.
        n_tries: How often clients asked for a place.
        n_refused: How often there was none.
        n_given_up: Clients that asked `tries` times in vain.
        outages_s: For each stream that a lost node had, how long it had no server.
    """

    visits: list[Visit] = field(default_factory=list)
    sampled_s: list[float] = field(default_factory=list)
    counts: list[list[int]] = field(default_factory=list)
    n_tries: int = 0
    n_refused: int = 0
    n_given_up: int = 0
    outages_s: list[float] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Stream:
    ends_s: float
    address: int
    balancer: int
    server: int = -1
    since_s: float = 0.0
    tries: int = 0
    lost_s: float | None = None


class Simulation:
    """One run.

    Args:
        fleet: The servers and their streams.
        seed: Of chance.
    """

    def __init__(self, fleet: Fleet, *, seed: int = 0) -> None:
        self._fleet = fleet
        self._rng = np.random.default_rng(seed)
        self._course = Course()
        self._events: list[tuple[float, int, str, _Stream | None]] = []
        self._n_events = 0
        n = fleet.n_servers
        self._counts = np.zeros(n, np.int64)
        # What each balancer knows: only its own streams.
        self._known = np.zeros((fleet.n_balancers, n), np.int64)
        self._dead = np.zeros(n, bool)
        self._down = np.zeros(n, bool)  # and the balancer knows it
        self._turn = 0
        # In the order in which they came, so that chance is the same each time.
        self._on: list[dict[_Stream, None]] = [{} for _ in range(n)]
        weights = 1 / np.arange(1, fleet.n_addresses + 1)
        self._shares = np.cumsum(weights / weights.sum())
        # A good hash gives each address some server, whatever the others get.
        self._hashed = self._rng.integers(0, 2**31, fleet.n_addresses)

    def run(self, seconds: float, *, warm_up_s: float, every_s: float = 1.0) -> Course:
        """Simulate; what happens in the time to warm up is left out.

        Args:
            seconds: Seconds after that.
            warm_up_s: Some mean lengths of a stream: the first streams are placed
                while all servers are empty.
            every_s: Time between samples.
        """
        fleet = self._fleet
        end_s = warm_up_s + seconds
        for _ in range(self._rng.poisson(fleet.n_streams)):
            # Of those that are there, long ones are more; part of each is over.
            biased = self._length_s(longer=True)
            self._schedule(0.0, "ask", self._new(biased * self._rng.random()))
        self._schedule(self._pause_s(), "arrive")
        for k in range(math.ceil(seconds / every_s)):
            self._schedule(warm_up_s + k * every_s, "sample")
        if (loss := fleet.loss) is not None:
            self._schedule(loss.at_s, "lose")
            silence_s = _MARK_DOWN_S if loss.silent else 0.0
            self._schedule(loss.at_s + silence_s, "mark down")
            if loss.back_at_s < end_s:
                self._schedule(loss.back_at_s, "back")
        is_warm = False
        while self._events and self._events[0][0] < end_s:
            now, _, kind, stream = heapq.heappop(self._events)
            if not is_warm and now >= warm_up_s:
                is_warm = True
                self._course.n_tries = self._course.n_refused = 0
                self._course.n_given_up = 0
            self._do(now, kind, stream)
        for streams in self._on:
            for stream in streams:
                self._note_visit(stream, end_s)
        return self._course

    def _do(self, now: float, kind: str, stream: _Stream | None) -> None:
        match kind:
            case "arrive":
                self._schedule(now + self._pause_s(), "arrive")
                self._ask(now, self._new(now + self._length_s()))
            case "ask" if stream is not None:
                self._ask(now, stream)
            case "leave" if stream is not None:
                if self._is_there(stream):
                    self._take_away(stream, now)
            case "notice" if stream is not None:
                if self._is_there(stream):  # has not ended meanwhile
                    self._cut(stream, now)
            case "sample":
                self._course.sampled_s.append(now)
                served = np.where(self._dead, 0, self._counts)
                self._course.counts.append(served.tolist())
            case "lose":
                self._lose(now)
            case "mark down":
                self._down |= self._dead
            case "back":
                self._dead[:] = False
                self._down[:] = False

    def _new(self, ends_s: float) -> _Stream:
        address = int(np.searchsorted(self._shares, self._rng.random()))
        balancer = int(self._rng.integers(self._fleet.n_balancers))
        return _Stream(ends_s, min(address, self._fleet.n_addresses - 1), balancer)

    def _length_s(self, *, longer: bool = False) -> float:
        """Draw a length; `longer`: by how many are there, not by how many come."""
        sigma = self._fleet.sigma
        mu = math.log(self._fleet.mean_s) - sigma**2 / 2
        return float(self._rng.lognormal(mu + sigma**2 * longer, sigma))

    def _pause_s(self) -> float:
        rate = self._fleet.n_streams / self._fleet.mean_s
        return float(self._rng.exponential(1 / rate))

    def _ask(self, now: float, stream: _Stream) -> None:
        """Find a place for a stream."""
        course = self._course
        if now >= stream.ends_s:
            return
        stream.tries += 1
        course.n_tries += 1
        server = self._choose(stream)
        limit = self._fleet.max_streams
        if server is not None and self._dead[server]:
            # No answer; the balancer tries another after its time to connect.
            stream.tries -= 1
            course.n_tries -= 1
            self._schedule(now + _CONNECT_S, "ask", stream)
        elif server is None or (limit and self._counts[server] >= limit):
            course.n_refused += 1
            if stream.tries < self._fleet.tries:
                self._schedule(now + _AGAIN_S, "ask", stream)
            else:
                course.n_given_up += 1
        else:
            self._give_place(stream, server, now)

    def _choose(self, stream: _Stream) -> int | None:
        up = np.flatnonzero(~self._down)
        if not len(up):
            return None
        known = self._known[stream.balancer]
        match self._fleet.rule:
            case "leastconn":
                of_up = known[up]
                fewest = up[of_up == of_up.min()]
                return int(fewest[int(self._rng.random() * len(fewest))])
            case "random(2)":
                one, other = up[(self._rng.random(2) * len(up)).astype(int)]
                return int(one if known[one] <= known[other] else other)
            case "roundrobin":
                self._turn += 1
                return int(up[self._turn % len(up)])
            case "source":
                return int(up[self._hashed[stream.address] % len(up)])

    def _give_place(self, stream: _Stream, server: int, now: float) -> None:
        if stream.lost_s is not None:
            self._course.outages_s.append(now - stream.lost_s)
            stream.lost_s = None
        stream.server, stream.since_s = server, now
        self._counts[server] += 1
        self._known[stream.balancer, server] += 1
        self._on[server][stream] = None
        self._schedule(stream.ends_s, "leave", stream)

    def _take_away(self, stream: _Stream, now: float) -> None:
        self._note_visit(stream, now)
        self._counts[stream.server] -= 1
        self._known[stream.balancer, stream.server] -= 1
        del self._on[stream.server][stream]

    def _is_there(self, stream: _Stream) -> bool:
        return stream.server >= 0 and stream in self._on[stream.server]

    def _lose(self, now: float) -> None:
        loss = self._fleet.loss
        assert loss is not None
        self._dead[: loss.n_servers] = True
        for server in range(loss.n_servers):
            for stream in [*self._on[server]]:
                stream.lost_s = now
                if loss.silent:
                    # The server has it no more, though nobody knows.
                    self._note_visit(stream, now)
                    later_s = now + self._rng.uniform(*_SILENT_S)
                    self._schedule(later_s, "notice", stream)
                else:
                    self._cut(stream, now)

    def _cut(self, stream: _Stream, now: float) -> None:
        """Have a stream connect again, as a new one with the rest of its time."""
        self._take_away(stream, now)
        again = replace(stream, server=-1, tries=0)
        wait_s = float(self._rng.uniform(0, _RECONNECT_S))
        self._schedule(now + wait_s, "ask", again)

    def _note_visit(self, stream: _Stream, now: float) -> None:
        # One on a node that is silent has been noted when the node was lost.
        if stream.lost_s in (None, now):
            self._course.visits.append(Visit(stream.server, stream.since_s, now))

    def _schedule(self, at_s: float, kind: str, stream: _Stream | None = None) -> None:
        self._n_events += 1
        heapq.heappush(self._events, (at_s, self._n_events, kind, stream))
