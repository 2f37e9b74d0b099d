"""Backups of a database: how they are taken, kept, verified and restored.

`archive` reads and writes archives, whose bytes `layout` describes. `stores` keeps their files: in a local
directory, where `atomic` puts a file in place whole or not at all, or in a bucket. `directory` finds them in
a store and lets one run at a time work on a label. `history` keeps what is known of them.
"""
