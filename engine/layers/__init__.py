"""The layers around every exchange, one function each; `engine.pipeline` holds their order.

A layer that cannot wait is a plain function: it happens whole or not at all, and cancellation cannot cut it.
"""
