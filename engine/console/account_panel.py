"""The account in the shapes of new-api, whose dashboards and scripts many users have (QuantumNous/new-api).

`{"success", "message", "data"}` around everything but the view of one key, which says `code`. Amounts are in *quota*,
500,000 to the dollar, rounded down. Its ids are whole numbers and ours are text: a number made of the text stands for
it, the same one each time. What this product does not have (invitations, payment forms, channels) is there with its
neutral value, since clients look at these members without asking.

A log row is of type 2 (consumption), also when the request failed and cost nothing; `content` then says how it ended.
Top-ups are not in the request log, so types other than 0 and 2 have no rows.
"""

import msgspec

from engine.console.account_asked import LogQuery
from engine.console.account_roster import Holder, Roster
from engine.console.account_standing import ACCOUNT, KEY, spent_nanos, standing_of
from engine.console.status import Billing
from engine.keys import digest_of
from engine.money import NANOS
from store.interface import Store
from store.rows import Key, LogFilter, LogRow, Role

QUOTA_PER_DOLLAR = 500_000

ROLES = {Role.USER: 1, Role.ADMIN: 10}
ENABLED = 1
CONSUMPTION = 2
EVERY_TYPE = 0
FINE = "ok"
"""The outcome that needs no words; `engine.exchange` lists them."""

RATE_SECONDS = 60


def wrapped(value: object) -> dict[str, object]:
    """Return the envelope of an answer."""
    return {"success": True, "message": "", "data": value}


def quota(nanos: int) -> int:
    """Return an amount in quota, rounded down."""
    return nanos * QUOTA_PER_DOLLAR // NANOS


def number_of(name: str) -> int:
    """Return the whole number that stands for an id: 31 bits, which every client's integers hold; 0 for none."""
    return int.from_bytes(digest_of(name.encode())[:4], "big") >> 1 if name else 0


async def user(store: Store, holder: Holder, now: float) -> dict[str, object]:
    """Return /api/user/self. `request_count` is of the requests that the log still holds."""
    account = holder.account
    balance = await store.balance(account.id)
    spent = await spent_nanos(store, ACCOUNT, account.id, account.created, now)
    requests = await store.log_count(LogFilter(account=account.id))
    return wrapped(
        {
            "id": number_of(account.id),
            "username": account.name,
            "display_name": account.name,
            "role": ROLES[account.role],
            "status": ENABLED,
            "email": "",
            "group": account.group,
            "quota": quota(balance.balance_nanos),
            "used_quota": quota(spent),
            "request_count": requests,
            "aff_code": "",
            "aff_count": 0,
            "aff_quota": 0,
            "aff_history_quota": 0,
            "inviter_id": 0,
            "setting": "{}",
            "stripe_customer": "",
            "sidebar_modules": "",
            "permissions": {},
        }
    )


def top_up_info(billing: Billing) -> dict[str, object]:
    """Return /api/user/topup/info: nothing can be paid here. `min_topup` is in whole dollars, rounded up."""
    return wrapped(
        {
            "enable_online_topup": False,
            "enable_stripe_topup": False,
            "enable_creem_topup": False,
            "enable_waffo_topup": False,
            "enable_redemption": False,
            "creem_products": "[]",
            "pay_methods": [],
            "min_topup": -(-billing.top_up_nanos_min // NANOS),
            "stripe_min_topup": 0,
            "amount_options": [],
            "discount": {},
            "topup_link": "",
        }
    )


async def log(store: Store, roster: Roster, holder: Holder, query: LogQuery) -> dict[str, object]:
    """Return /api/log/self: one page of the account's requests, the newest first."""
    which = which_rows(roster, holder, query)
    rows: list[LogRow] = []
    total = 0
    if which is not None and query.type in {EVERY_TYPE, CONSUMPTION}:
        total = await store.log_count(which)
        rows = await store.logs(which, limit=query.page_rows, offset=query.offset)
    keys = {key.id: key for key in roster.keys_of(holder.account.id)} if rows else {}
    items = [log_item(row, holder, keys.get(row.key or "")) for row in rows]
    return wrapped({"items": items, "total": total, "page": query.page, "page_size": query.page_rows})


async def log_sums(store: Store, roster: Roster, holder: Holder, query: LogQuery, now: float) -> dict[str, object]:
    """Return /api/log/self/stat: what the rows cost, and how many requests and tokens the last minute had."""
    which = which_rows(roster, holder, query)
    if which is None:
        return wrapped({"quota": 0, "rpm": 0, "tpm": 0})
    spent = await store.usage(which, "account")
    minute = msgspec.structs.replace(which, since=now - RATE_SECONDS, until=None)
    recent = await store.usage(minute, "account")
    return wrapped(
        {
            "quota": quota(sum(row.amount_nanos for row in spent)),
            "rpm": sum(row.requests for row in recent),
            "tpm": sum(row.input_tokens + row.output_tokens for row in recent),
        }
    )


async def key_usage(store: Store, holder: Holder, now: float) -> dict[str, object]:
    """Return /api/usage/token. A key without caps of its own is unlimited; available is what it could spend now."""
    key = holder.key
    standing = await standing_of(store, holder, now)
    spent = quota(await spent_nanos(store, KEY, key.id, key.created, now))
    available = quota(standing.available_nanos())
    return {
        "code": True,
        "message": "ok",
        "data": {
            "object": "token_usage",
            "name": key.name,
            "total_granted": spent + available,
            "total_used": spent,
            "total_available": available,
            "unlimited_quota": key.cap_day_nanos is None and key.cap_month_nanos is None,
            "model_limits": dict.fromkeys(key.models, True),
            "model_limits_enabled": bool(key.models),
            "expires_at": key.expires or 0,
        },
    }


def which_rows(roster: Roster, holder: Holder, query: LogQuery) -> LogFilter | None:
    """Return what to ask the log for, always of the holder's own account; None when it can hold no such row."""
    account, key = holder.account.id, None
    if query.key_name is not None:
        key = next((key.id for key in roster.keys_of(account) if key.name == query.key_name), None)
        if key is None:
            return None
    return LogFilter(account=account, key=key, model=query.model, since=query.since, until=query.until)


def log_item(row: LogRow, holder: Holder, key: Key | None) -> dict[str, object]:
    """Return one row of the log. `other` is a JSON string there, too."""
    other = {
        "model_ratio": 0,
        "group_ratio": 0,
        "completion_ratio": 0,
        "cache_tokens": row.cached_tokens,
        "cache_ratio": 0,
        "model_price": 0,
        "frt": int(row.ttft_ms or 0),
        "request_path": "",
        "request_id": row.request_id,
    }
    return {
        "id": number_of(row.id),
        "user_id": number_of(holder.account.id),
        "created_at": int(row.time),
        "type": CONSUMPTION,
        "content": "" if row.outcome == FINE else f"{row.outcome} ({row.status})",
        "username": holder.account.name,
        "token_name": "" if key is None else key.name,
        "model_name": row.model or "",
        "quota": quota(row.amount_nanos),
        "prompt_tokens": row.input_tokens,
        "completion_tokens": row.output_tokens,
        "use_time": int(row.duration_ms // 1000),
        "is_stream": row.stream,
        "channel": 0,
        "token_id": number_of(row.key or ""),
        "group": "",
        "ip": row.address,
        "other": msgspec.json.encode(other).decode(),
    }
