"""Backups of a database: how they are taken, kept, verified and restored.

`archive` reads and writes archives, whose bytes `layout` describes. `directory` finds them and lets one run
at a time work on a label. `atomic` puts a file in place whole or not at all. `history` keeps what is known.
"""
