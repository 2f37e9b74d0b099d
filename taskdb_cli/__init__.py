"""Keep users and their tasks in SQLite or PostgreSQL, from the command line."""

__version__ = "0.2.0"
