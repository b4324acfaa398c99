"""Sessions over WebSockets: realtime, and Responses over a socket. Opened, relayed, metered, cut off in time.

`opening` decides whether there will be a session: what can be refused is refused by an HTTP status, before the client's
handshake is answered; an upstream is connected first, and another candidate asked when one does not accept. `relaying`
is the session: two directions in one nursery, frames as they came, limits, closing. `purse` holds the session to its
budgets, response by response. `secrets` mints the ephemeral keys that browsers use.

What frames mean is `adapters.sessions`' business, what a WebSocket is `engine.websocket`'s.
"""
