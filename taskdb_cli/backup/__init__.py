"""Backups of a database: where they are kept, what is known of them, and how long they stay.

`directory` names and finds the archives of a directory and lets one run at a time work on a label.
`files` puts a file in place whole or not at all, `records` keeps what is known of the archives beside
them, and `retention` says which of them may go.
"""
