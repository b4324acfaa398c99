"""Tests of the bench: what it plays and what it counts, never how fast."""
