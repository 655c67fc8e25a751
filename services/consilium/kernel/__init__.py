"""The words every service speaks: pure values and rules that two or more services share.

Nothing here reads a clock, a socket, a file, the environment or randomness (house rule; checked by the build).
The one exception is stated where it stands: the Umbral library draws its own randomness.
"""
