"""The nouns of edgekit: inert, typed, framework-free. Everything else is built on them.

`core` imports no machine-learning framework and nothing else of edgekit.
"""
