"""Models of agents that reach goals together without a central controller: one file each, to run, read and copy.

Each file has ``model``, which makes the agent types, and ``run``, which runs them on a graph; its first lines tell the
law that the result obeys.
"""
