"""`hedgerow demo`: the main job, seen at once. A real model, the gateway before it, one answer streamed through both.

    show.py         what happens, in which order: start the model and the gateway, ask, serve on until Ctrl-C
    screen.py       what of it is printed, and the snippets to copy
    account.py      who asks: an account with credit and a key, and what the first answer cost it
    local_model.py  the model: `python -m engine.demo.local_model` is its process, `local_model()` its parent's side
    child.py        a child process: started, listened to, ended; it never outlives us

Nothing else in the engine knows this package; the tests use its model.
"""


def run(*, port: int = 8080, once: bool = False) -> int:
    """Run the demo and return the exit code; see `show.run`."""
    from engine.demo import show  # noqa: PLC0415 - the model's process comes by here too, and shows nothing

    return show.run(port=port, once=once)
