"""Which principal a presented token stands for: every key of the configuration and of the store, by digest.

A look-up costs the same for one key and for a hundred thousand, and what an attacker can time is a comparison of
digests he cannot steer. The store's keys are learned at the start and, as they change, several times a second
(`engine.treasury`). It does not know where in a request a token stands, nor what a key may do.
"""

import secrets
import time
from hashlib import sha256
from hmac import compare_digest

from engine.config import Config, Group
from engine.ephemeral import PREFIX, SECRET_BYTES, Ephemeral, Signer
from engine.keys import DIGEST_BYTES
from engine.keys import Key as ConfiguredKey
from engine.principal import Principal
from store.rows import Account, Key, News, Team

_NO_DIGEST = bytes(DIGEST_BYTES)

_begun = sha256()
"""Copied for each token: to begin one anew takes OpenSSL longer than all the rest of it."""

NO_GROUP = Group("", models=())
"""Of a group that the configuration does not know: no model exists in it."""


class Keyring:
    """The keys in force. Touched from the worker's loop only."""

    __slots__ = (
        "_accounts",
        "_config",
        "_configured",
        "_digests_of",
        "_keys",
        "_principals",
        "_stored",
        "_teams",
        "required",
        "signer",
    )

    def __init__(self, config: Config, *, secret: bytes = b"") -> None:
        """`secret` is what ephemeral keys are signed with; without one they are good for this keyring alone."""
        self._keys: dict[bytes, Key | ConfiguredKey] = {}
        self._accounts: dict[str, Account] = {}
        self._teams: dict[str, Team] = {}
        self._principals: dict[bytes, Principal] = {}
        """Those that were asked for, by digest; the others are made when they are."""
        self._stored: dict[str, Key] = {}
        """The store's keys, by id: one that is given another token loses the one it had, and one whose token the
        configuration has taken gets it back when that lets go of it.
        """
        self._digests_of: dict[str, list[bytes]] = {}
        """The principals that were made of an account."""
        self._config = config
        self._configured: dict[str, ConfiguredKey] = {}
        self.signer = Signer(secret or secrets.token_bytes(SECRET_BYTES))
        """Of ephemeral keys; workers that share a secret accept each other's."""
        self.required = False
        """Whether a key is asked for: there is one, or the configuration says so."""
        self.configure(config)

    def __repr__(self) -> str:
        return f"<Keyring {len(self._keys)} keys, {len(self._principals)} in use>"

    def __len__(self) -> int:
        return len(self._keys)

    def configure(self, config: Config) -> None:
        """Take the keys, groups and tiers of a configuration; the store's keys stay."""
        self._config = config
        self._keys = {key.digest: key for key in self._stored.values()}
        self._keys |= {key.digest: key for key in config.keys}
        self._configured = {key.id: key for key in config.keys}
        self._principals.clear()
        self._digests_of.clear()
        self.required = bool(self._keys) or config.accounts.required

    def learn(self, news: News) -> None:
        """Take what changed in the store; who is affected is made anew when he comes again."""
        for team in news.teams:
            self._teams[team.id] = team
        for account in news.accounts:
            self._accounts[account.id] = account
        for key in news.keys:
            # A key of the configuration stays in force whatever the store says of the same token.
            before = self._stored.get(key.id, key)
            for digest in {before.digest, key.digest}:
                if not isinstance(self._keys.get(digest), ConfiguredKey):
                    self._keys.pop(digest, None)
                    self._principals.pop(digest, None)
            self._keys.setdefault(key.digest, key)
            self._stored[key.id] = key
        changed = {account.id for account in news.accounts}
        teams = {team.id for team in news.teams}
        if teams:
            changed |= {account.id for account in self._accounts.values() if account.team in teams}
        for account_id in changed:
            for digest in self._digests_of.pop(account_id, ()):
                self._principals.pop(digest, None)
        self.required = bool(self._keys) or self._config.accounts.required

    def authenticate(self, token: bytes) -> Principal | None:
        """Return whom `token` stands for, or None. A miss takes the same steps as a hit."""
        digest = _digest_of(token)
        key = self._keys.get(digest)
        if not compare_digest(_NO_DIGEST if key is None else key.digest, digest) or key is None:
            return self._of_ephemeral(token) if token.startswith(PREFIX) else None
        return self._principals.get(digest) or self._make(key)

    def mint(self, principal: Principal, model: str, *, expires: int, session: bytes) -> str:
        """Return an ephemeral key on behalf of a principal."""
        return self.signer.mint(Ephemeral(principal.id, model, expires, session))

    def _of_ephemeral(self, token: bytes) -> Principal | None:
        ephemeral = self.signer.read(token, time.time())
        if ephemeral is None:
            return None
        if ephemeral.key is None:
            return None if self.required else Principal(None, ephemeral=ephemeral)
        key = self._configured.get(ephemeral.key) or self._stored.get(ephemeral.key)
        return None if key is None else self._made(key, ephemeral)

    def _make(self, key: Key | ConfiguredKey) -> Principal:
        made = self._principals[key.digest] = self._made(key)
        if isinstance(key, Key):
            self._digests_of.setdefault(key.account, []).append(key.digest)
        return made

    def _made(self, key: Key | ConfiguredKey, ephemeral: Ephemeral | None = None) -> Principal:
        if isinstance(key, ConfiguredKey):
            return Principal(key.id, ephemeral=ephemeral)
        account = self._accounts.get(key.account)
        assert account is not None, "the store has no key without an account"
        groups, tiers = self._config.groups, self._config.billing.tiers
        return Principal(
            key.id,
            key=key,
            account=account,
            team=self._teams.get(account.team) if account.team is not None else None,
            group=groups.get(key.group or account.group, NO_GROUP),
            markup_ppm=account.markup_ppm if account.markup_ppm is not None else tiers[0].markup_ppm,
            ephemeral=ephemeral,
        )


def _digest_of(token: bytes) -> bytes:
    """Return what `engine.keys.digest_of` does."""
    hashing = _begun.copy()
    hashing.update(token)
    return hashing.digest()
