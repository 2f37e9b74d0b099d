"""The command line: `taskdb NOUN VERB` is the function VERB of the module NOUN in this package."""
