"""Commands for who runs the gateway: accounts, teams, keys, credit, the ledger, what was used.

Each opens the store's file itself, also while a server works on it, does one thing and closes it; a server has news of
it within a second. `desk` is what all of them stand on: their common options, how they end, what they print. `answer`
is what they print, `readings` how the words of the command line are read, `finding` who is meant by a name.

Nothing is decided here that the store decides: what contradicts what is there, it refuses, in a sentence that is
passed on.
"""
