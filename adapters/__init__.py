"""Wire formats and providers, pure: no trio, no sockets, no clock, no randomness that is not passed in.

A *dialect* is how a request, an answer, a stream and an error look on the wire; a *provider* is where an upstream
lives, how it is signed for and which dialects it speaks. The engine drives both; neither knows the engine or the
other.
"""
