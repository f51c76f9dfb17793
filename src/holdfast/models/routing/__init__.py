"""Purpose: which model is asked, and what happens when it fails: names, tiers, benches, failover, handoff.

Knows: the names people give models, what a model is known to take, how models fail.
Must not know: the log, runs, money; how any provider is spoken to.
Start reading at: `chain.py` for what comes after a failure, then `targets.py`, what a run asks through.
"""
