"""Translation judged from outside: composed upstream streams, read by the official SDKs when they come out."""
