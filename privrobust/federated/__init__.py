"""Federations of others: what they claim, and our rules and noise where they are."""
