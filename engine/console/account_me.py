"""GET /v1/me: what the holder of a key has, pays and may, in this product's own shape.

    {
      "object": "account",
      "id", "name", "role": "user" | "admin", "team": {"id", "name"} | null,
      "currency": "USD",
      "balance", "leased", "spend_30_days": amounts
      "tier": {"index": 0, "markup": "0.4", "markup_ppm": 400000, "from": amount,
               "next": {"index", "markup", "markup_ppm", "from": amount, "missing": amount} | null} | null,
      "group": {"name", "price_ratio": "1", "price_ratio_ppm": 1000000},
      "caps": {"key": {"day": CAP, "month": CAP}, "account": {...}, "team": {...} | null},
      "key": {"id", "name", "shown", "scopes": {"surfaces": [], "models": [], "addresses": []}, "created", "expires_at",
              "rates": {"requests_per_minute", "tokens_per_minute", "in_flight_max"}}
    }

    CAP: {"limit": amount | null, "used": amount, "remaining": amount | null, "resets_at"}

An amount stands twice: as a decimal string of dollars under its name, and as a whole number of nano-dollars under its
name and `_nanos`; both are null where there is none. Numbers beyond nine million dollars exceed what JavaScript holds
exactly, the strings do not. Ratios stand as a string and as parts per million. Times are unix seconds, `expires_at` and
rates null where there is no limit; an empty list of scopes allows everything.

`leased` is the part of `balance` that workers hold for answers under way. `spend_30_days` and the tier's markup are of
the last count, which is made every few hours; `index` is the tier that this spend reaches by the table of now. `tier`
is null where no tiers are configured, a ratio null for a group that is not configured any more. Members may be added.
"""

from collections.abc import Sequence

from engine.console.account_roster import Holder
from engine.console.account_standing import ACCOUNT, KEY, TEAM, Cap, Standing
from engine.console.status import Billing
from engine.money import plain_dollars
from store.rows import Account, Key

CURRENCY = "USD"

WHOLE_PPM = 1_000_000


def me(standing: Standing, billing: Billing) -> dict[str, object]:
    """Return the answer's body."""
    holder, balance = standing.holder, standing.balance
    account, team = holder.account, holder.team
    return {
        "object": "account",
        "id": account.id,
        "name": account.name,
        "role": account.role,
        "team": None if team is None else {"id": team.id, "name": team.name},
        "currency": CURRENCY,
        **amount("balance", balance.balance_nanos),
        **amount("leased", balance.leased_nanos),
        **amount("spend_30_days", account.rolling_nanos),
        "tier": tier(account, billing.tiers),
        "group": group(holder, billing),
        "caps": {scope: caps(scope, standing.caps) for scope in (KEY, ACCOUNT, TEAM)},
        "key": key_shown(holder.key),
    }


def amount(name: str, nanos: int | None) -> dict[str, object]:
    """Return the two members of an amount."""
    return {name: None if nanos is None else plain_dollars(nanos), f"{name}_nanos": nanos}


def ratio(name: str, ppm: int | None) -> dict[str, object]:
    """Return the two members of a ratio."""
    return {name: None if ppm is None else plain_ratio(ppm), f"{name}_ppm": ppm}


def plain_ratio(ppm: int) -> str:
    """Return parts per million as a decimal number, with as many decimals as it takes: "0.4", "1"."""
    whole, rest = divmod(ppm, WHOLE_PPM)
    return f"{whole}.{rest:06}".rstrip("0").rstrip(".")


def tier(account: Account, tiers: Sequence[tuple[int, int]]) -> dict[str, object] | None:
    """Return the tier of what the account spent, and the next one. Its markup is the one that is charged."""
    if not tiers:
        return None
    # The first tier begins at 0; should it not, whoever is below it is in it nevertheless.
    index = max(sum(spend <= account.rolling_nanos for spend, _ in tiers) - 1, 0)
    charged = tiers[0][1] if account.markup_ppm is None else account.markup_ppm
    following = None
    if index + 1 < len(tiers):
        spend, markup = tiers[index + 1]
        following = {
            "index": index + 1,
            **ratio("markup", markup),
            **amount("from", spend),
            **amount("missing", max(spend - account.rolling_nanos, 0)),
        }
    return {"index": index, **ratio("markup", charged), **amount("from", tiers[index][0]), "next": following}


def group(holder: Holder, billing: Billing) -> dict[str, object]:
    """Return the group of the key's requests and what it multiplies prices with."""
    return {"name": holder.group, **ratio("price_ratio", billing.groups.get(holder.group))}


def caps(scope: str, all_caps: Sequence[Cap]) -> dict[str, object] | None:
    """Return the caps of one scope by period; None for the team of an account without one."""
    return {
        cap.period.value: {
            **amount("limit", cap.limit_nanos),
            **amount("used", cap.used_nanos),
            **amount("remaining", cap.remaining_nanos),
            "resets_at": cap.resets_at,
        }
        for cap in all_caps
        if cap.scope == scope
    } or None


def key_shown(key: Key) -> dict[str, object]:
    """Return what may be shown of a key: all but its digest."""
    return {
        "id": key.id,
        "name": key.name,
        "shown": key.shown,
        "scopes": {"surfaces": key.surfaces, "models": key.models, "addresses": key.addresses},
        "created": key.created,
        "expires_at": key.expires,
        "rates": {
            "requests_per_minute": key.requests_per_minute,
            "tokens_per_minute": key.tokens_per_minute,
            "in_flight_max": key.in_flight_max,
        },
    }
