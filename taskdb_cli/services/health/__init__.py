"""Say whether a database is fine, and whether it could be got back; change nothing."""
