"""Benchmarks: each prints what it measured beside the goal. Never part of the tests."""
