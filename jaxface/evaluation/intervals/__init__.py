"""Intervals over identities."""
