"""The command-line client: a program of its own, which sees what every client sees.

Only `mic`, and others with `--local`, run the model in their own process, without a
server.
"""
