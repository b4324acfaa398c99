"""What the providers serve: their model lists, fetched in the background.

A provider without configured models is asked for its list at the start, after a reload, and every `REFRESH_SECONDS`. A
provider that does not answer keeps the list it had, and is asked again sooner; nothing a client does waits for any of
this.
"""

import logging
from collections.abc import Awaitable, Callable

import trio

from adapters import registry
from adapters.errors import GatewayError
from engine.endpoint import Endpoint
from engine.gateway import Gateway
from engine.route import Candidate
from engine.upstream import Attempt

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 3600.0
RETRY_SECONDS = 60.0
FETCH_SECONDS_MAX = 20.0
LIST_BYTES_MAX = 8 << 20
MODELS_MAX = 5_000
NAME_CHARACTERS_MAX = 256
"""What is kept of a list: the largest aggregators have some hundred models with names below 100 characters."""

LOGGED_CHARACTERS_MAX = 200


class Catalogue:
    """Keeps the endpoints' catalogues fresh. `changed` is told all the names at the start and whenever they change."""

    def __init__(self, gateway: Gateway, changed: Callable[[list[str]], Awaitable[None]]) -> None:
        self._gateway = gateway
        self._changed = changed
        self._wake = trio.Event()
        self._told: list[str] | None = None

    def wake(self) -> None:
        """Look again now: the configuration changed."""
        self._wake.set()

    async def run(self) -> None:
        """Refresh for ever; stops between two steps when cancelled, leaving every catalogue whole."""
        while True:
            self._wake = trio.Event()
            await self._tell()
            seconds = await self._refresh()
            await self._tell()
            with trio.move_on_after(seconds):
                await self._wake.wait()

    async def _refresh(self) -> float:
        """Ask every provider at once, each in its own time; return after how many seconds to ask again."""
        router = self._gateway.router
        silent: list[str] = []

        async def ask(endpoint: Endpoint) -> None:
            models = await fetch(endpoint)
            if models is None:
                silent.append(endpoint.name)
            elif models:
                # In one step: a name is listed only together with who serves it.
                endpoint.catalogue = models
                router.index()
                await self._tell()

        async with trio.open_nursery() as nursery:
            for endpoint in router.endpoints.values():
                if endpoint.config.discover and not endpoint.config.models:
                    nursery.start_soon(ask, endpoint)
        return RETRY_SECONDS if silent else REFRESH_SECONDS

    async def _tell(self) -> None:
        models = [entry.id for entry in self._gateway.router.models()]
        if models != self._told:
            self._told = models
            await self._changed(models)


async def fetch(endpoint: Endpoint) -> tuple[str, ...] | None:
    """Return the provider's model names, None when it did not tell."""
    provider = endpoint.config.provider
    asked = [name for name, _ in endpoint.config.dialects]
    own = [name for name, _ in provider.dialects if name in asked]
    dialect = registry.dialect((own or asked)[0])
    attempt = Attempt(
        Candidate(endpoint, ""),
        endpoint.message("GET", provider.models_path, b"", stream=False, headers=dialect.REQUIRED_REQUEST_HEADERS),
        head_bytes_max=endpoint.limits.upstream_head_bytes_max,
        tap=None,
    )
    try:
        with trio.fail_after(FETCH_SECONDS_MAX):
            await attempt.wait_head()
            models = dialect.read_models(await attempt.read_whole(LIST_BYTES_MAX))
    except (GatewayError, ValueError, trio.TooSlowError) as exc:
        # The upstream's own words may hold anything, line ends and terminal codes included.
        said = ascii(str(exc))[:LOGGED_CHARACTERS_MAX] if str(exc) else f"no answer for {FETCH_SECONDS_MAX:g} s"
        logger.info("the model list of %s: %s", endpoint.name, said)
        return None
    finally:
        attempt.close()
    return tuple(name for name in models if len(name) <= NAME_CHARACTERS_MAX)[:MODELS_MAX]
