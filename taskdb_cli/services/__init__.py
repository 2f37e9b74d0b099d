"""What taskdb does, apart from any way of asking for it.

A service is a function of a session and keyword arguments. It never commits, prints, asks, or reads
the clock or the environment; services that maintain a whole database take the `Database` instead.
"""
