"""The routes that clients name themselves, `provider/model` or a listed model: the most recently used ones are kept.

Their candidates hold the health of what no alias names, and names come from clients: so there is a bound, and what goes
first is what was not asked for longest. A route with an attempt in flight stays, or its health would be counted twice.
"""

from collections import OrderedDict
from collections.abc import Iterator

from engine.route import Route

CANDIDATES_MAX = 1_000
"""Candidates, not routes, since each holds some 3 KB of health."""

PASSED_OVER_MAX = 16
"""So many busy routes are looked at when room is needed, not all of them: then the bound gives way instead."""


class RecentRoutes:
    """Routes by (provider, upstream model), the least recently used first."""

    __slots__ = ("_count", "_routes", "candidates_max")

    def __init__(self, candidates_max: int = CANDIDATES_MAX) -> None:
        self.candidates_max = candidates_max
        self._routes: OrderedDict[tuple[str, str], Route] = OrderedDict()
        self._count = 0

    def __repr__(self) -> str:
        return f"<RecentRoutes {len(self._routes)} with {self._count} candidates>"

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def __reversed__(self) -> Iterator[Route]:
        return reversed(self._routes.values())

    def find(self, provider: str, model: str) -> Route | None:
        """Return the route that was added, if it is still there; it is the most recent one now."""
        key = provider, model
        route = self._routes.get(key)
        if route is not None:
            self._routes.move_to_end(key)
        return route

    def add(self, provider: str, model: str, route: Route) -> None:
        """Keep a route that is not there yet, and let others go for it."""
        self._routes[provider, model] = route
        self._count += len(route.candidates)
        for _ in range(PASSED_OVER_MAX):
            if self._count <= self.candidates_max or len(self._routes) == 1:
                return
            key, oldest = self._routes.popitem(last=False)
            if oldest is route or not oldest.is_idle:
                self._routes[key] = oldest
            else:
                self._count -= len(oldest.candidates)
