"""Tests of the demo: its children, its model, and the whole of it."""
