"""Imports: records from files, all of them or none.

A file is read once, outside any transaction. `files` finds the records. `staging` keeps the valid ones in a
temporary file and reports the others. Then `tasks` and `users` write them to the database through a
temporary table, with statements that each handle all records.
"""
