"""Attacks from outside, each seeded: what they find is counted, and a short part of each runs with the tests."""
