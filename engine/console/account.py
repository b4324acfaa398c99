"""The account API: what the holder of a key may know about the account, and nobody else.

Every route asks for a key and answers about its account only; nothing can be changed here. `/v1/me` speaks this
product's own shape (`account_me`), the rest the one of a panel that many clients know (`account_panel`); an error comes
in the envelope of its path, which `Console.error` decides. Where the data is, and opening it, is the process' business:
until there is a store, and whenever it fails, the answer is 503.

    account_asked.py     what a request says
    account_roster.py    who holds a key
    account_standing.py  the wallet and the caps
    account_me.py        /v1/me
    account_panel.py     /api/...
"""

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from quart import Response, request
from quart_trio import QuartTrio

from adapters.errors import ClientError, Failure, Kind
from engine.console import account_panel
from engine.console.account_asked import credential, log_query
from engine.console.account_me import me
from engine.console.account_roster import Holder, Roster
from engine.console.account_standing import standing_of
from engine.console.app import Console, json
from engine.console.status import Billing
from store.interface import Store, UnavailableError

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2
"""What a 503 tells the client: a store is locked or full for about as long, or for good."""


class Call(NamedTuple):
    """One request whose key is in force, and what an answer is made from."""

    store: Store
    roster: Roster
    holder: Holder
    now: float


Answer = Callable[[Call], Awaitable[object]]


class AccountApi:
    """The routes' handlers. `open` gives them a store; there may be another one later."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._roster: Roster | None = None

    def __repr__(self) -> str:
        return f"<AccountApi {self._roster!r}>"

    def open(self, store: Store) -> None:
        """Answer from `store` from now on."""
        self._roster = Roster(store)

    def close(self) -> None:
        """Answer 503 from now on."""
        self._roster = None

    def mount(self, app: QuartTrio) -> None:
        """Add the routes to the console's app, each with and without a slash at its end but for `/v1/me`."""
        for path in ("/v1/me", "/api/v1/me"):
            app.add_url_rule(path, view_func=self._view(self.me), endpoint=path)
        for path, answer in (
            ("/api/user/self", self.user),
            ("/api/user/topup/info", self.top_up_info),
            ("/api/log/self", self.log),
            ("/api/log/self/stat", self.log_sums),
            ("/api/usage/token", self.key_usage),
        ):
            app.add_url_rule(path, view_func=self._view(answer), endpoint=path, strict_slashes=False)

    async def me(self, call: Call) -> object:
        """GET /v1/me."""
        return me(await standing_of(call.store, call.holder, call.now), self._billing())

    async def user(self, call: Call) -> object:
        """GET /api/user/self."""
        return await account_panel.user(call.store, call.holder, call.now)

    async def top_up_info(self, call: Call) -> object:
        """GET /api/user/topup/info."""
        return account_panel.top_up_info(self._billing())

    async def log(self, call: Call) -> object:
        """GET /api/log/self."""
        return await account_panel.log(call.store, call.roster, call.holder, log_query(request.args))

    async def log_sums(self, call: Call) -> object:
        """GET /api/log/self/stat."""
        return await account_panel.log_sums(call.store, call.roster, call.holder, log_query(request.args), call.now)

    async def key_usage(self, call: Call) -> object:
        """GET /api/usage/token."""
        return await account_panel.key_usage(call.store, call.holder, call.now)

    def _view(self, answer: Answer) -> Callable[[], Awaitable[Response]]:
        async def view() -> Response:
            try:
                return json(await answer(await self._identify()))
            except ClientError as exc:
                failure = exc.failure
                response = await self.console.error(failure.status, failure.message, failure.code or failure.kind.value)
                if failure.status == 401:
                    response.headers["www-authenticate"] = "Bearer"
                return response
            except UnavailableError as exc:
                logger.warning("the store is not available: %s", exc)
                response = await self.console.error(503, "accounts are not available now", "store_unavailable")
                response.headers["retry-after"] = str(RETRY_SECONDS)
                return response

        return view

    async def _identify(self) -> Call:
        """Return who asks. Raises `ClientError` for nobody, `UnavailableError` while that cannot be told."""
        token = credential(request.headers, request.query_string)
        if token is None:
            message = "no API key: send it as `Authorization: Bearer KEY`"
            raise ClientError(Failure(401, Kind.AUTHENTICATION, message, code="missing_api_key"))
        roster, now = self._roster, self.console.now()
        if roster is None:
            raise UnavailableError("it is not open")
        holder = await roster.identify(token, now, request.headers.get("x-forwarded-for", ""))
        return Call(roster.store, roster, holder, now)

    def _billing(self) -> Billing:
        status = self.console.status()
        return Billing() if status is None else status.billing
