"""What an alliance may expect before it is founded: seats, faults, coalitions, and how often it agrees (C6, C9).

`scenario` reads the file, `chances` is the arithmetic, `lots` the law of the draw, `forecast` puts them together,
`rehearsal` runs the production election beside it, `plots` draws. Nothing here is replicated, so chances are floats.
"""
