"""The command-line client: a program of its own, which sees what every client sees.

Only `mic` is different: it runs the model in its own process, without a server.
"""
