"""`atelier bench`: how fast a model runs on this machine, in a process of its own and without a server.

`arguments` are the flags; `texts` and `media` ask, `runs` is what they measure; `machine` where; `report` the tables.
Runs the engine through `inference.direct`; imports no Django.
"""
