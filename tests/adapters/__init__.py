"""The pure half: dialects, providers and what they share, tested with bytes and values alone."""
