"""Who holds a key: every key, account and team of the store in memory, by digest, renewed before each look-up.

The store hands out what changed since a version and nothing by digest, so the first look-up reads all of it and every
later one only what is new. A miss takes the same steps as a hit. Whether a key is in force is `engine.principal`'s
rule, as for requests to models: 401 whatever is wrong with it, and words that tell more only to somebody who has the
key. What a holder may see is not known here.
"""

from collections.abc import Iterator
from hmac import compare_digest

import trio
from msgspec import Struct

from adapters.errors import ClientError, Failure, Kind
from engine.keys import DIGEST_BYTES, digest_of
from engine.principal import Principal
from store.interface import Store
from store.rows import Account, Key, Team


class Holder(Struct, frozen=True):
    """A key that is in force, and who it belongs to."""

    key: Key
    account: Account
    team: Team | None

    @property
    def group(self) -> str:
        """The group that the key's requests are in."""
        return self.key.group or self.account.group


_NOBODY = Key(id="", account="", name="", digest=bytes(DIGEST_BYTES))
_NOBODYS = Account(id="", name="")


class Roster:
    """The rows of one store. Safe to use from many tasks at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.version = 0
        self._keys: dict[str, Key] = {}
        self._by_digest: dict[bytes, Key] = {}
        self._accounts: dict[str, Account] = {}
        self._teams: dict[str, Team] = {}
        self._lock = trio.Lock()
        self._begun = 0
        self._renewed = 0

    def __repr__(self) -> str:
        return f"<Roster {len(self._keys)} keys, version {self.version}>"

    async def identify(self, token: bytes, now: float, address: str) -> Holder:
        """Return the holder of `token`, as the store has it by now.

        Raises `ClientError`: 401 for a key that is not in force, 403 for one that may not be used from `address`.
        Raises `UnavailableError` as the store does; what was known before is not relied upon then.
        """
        await self._renew()
        digest = digest_of(token)
        key = self._by_digest.get(digest, _NOBODY)
        account = self._accounts.get(key.account, _NOBODYS)
        principal = Principal(key.id, key=key, account=account)
        if not compare_digest(key.digest, digest):
            raise ClientError(Failure(401, Kind.AUTHENTICATION, "incorrect API key", code="invalid_api_key"))
        principal.check(address, now)
        return Holder(key, account, self._teams.get(account.team or ""))

    def keys_of(self, account: str) -> Iterator[Key]:
        """Yield the keys of an account, also those not in force, as of the last look-up."""
        return (key for key in self._keys.values() if key.account == account)

    async def _renew(self) -> None:
        """Take in what changed before this was called. Callers who wait for each other ask the store once."""
        wanted = self._begun + 1
        async with self._lock:
            if self._renewed >= wanted:
                return
            self._begun += 1
            news = await self.store.news(None, self.version)
            self._teams.update((team.id, team) for team in news.teams)
            self._accounts.update((account.id, account) for account in news.accounts)
            for key in news.keys:
                self._put(key)
            self.version = news.version
            self._renewed = self._begun

    def _put(self, key: Key) -> None:
        before = self._keys.get(key.id)
        # Another key may have taken over the digest in the same news.
        if before is not None and self._by_digest.get(before.digest) is before:
            del self._by_digest[before.digest]
        self._keys[key.id] = self._by_digest[key.digest] = key
