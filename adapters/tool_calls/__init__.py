"""What every dialect needs to carry a tool call across: its id, its name, its arguments.

The dialects differ in what an id or a name may look like, in whether arguments are text or an object, in how they
arrive in pieces. Each module here decides one of these differences, for whoever reads or writes a dialect, and names
none.
"""
