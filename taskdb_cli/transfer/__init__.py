"""Records from files: read, checked one by one, and brought in all at once or not at all.

A file is read once, outside any transaction: `reading` finds the records, `batch` keeps the valid
ones aside and reports the others. Then `tasks` and `users` bring a batch into the database through
a temporary table (`staging`), by statements that each handle all of it.
"""
