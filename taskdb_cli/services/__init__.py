"""What taskdb does with rows, for the command line, the API and programs alike.

A service is a function of a session and keyword arguments. Committing, printing and asking are the
caller's, and so are the time and the settings; services that maintain a whole database take the
`Database` instead.
"""
