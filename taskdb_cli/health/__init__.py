"""Say whether a database is fine, and whether it could be got back; change nothing."""

TIMEOUT = 30
"""Seconds that all checks together may take, unless somebody says otherwise."""
