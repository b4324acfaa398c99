"""Tests of the running gateway."""
