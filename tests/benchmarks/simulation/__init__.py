"""How far a store carries: a simulation of many hosts, on service times that were recorded with one worker.

`exchanges.py` (beside this package) records what one exchange costs the server and the client, `idle.py` what a fleet
without jobs costs; `recorded.json` is the last record. `events.py` is the clock and what there is to queue for,
`fleet.py` what workers do with it, `report.py` what is said of it.
"""
