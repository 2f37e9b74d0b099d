"""What taskdb does, apart from any way of asking for it.

A service is a function of a session and keyword arguments. Committing, printing and asking are the
caller's, and so are the time and the settings; services that maintain a whole database take the
`Database` instead.
"""
