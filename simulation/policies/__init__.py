"""What decides for an agent: the engine, camel-ai, the frequencies of its history, or a policy of a plug-in.

Importing this package registers the policies that come with Polyphony, before any plug-in.
"""

from polyphony.simulation.policies import builtin

__all__ = ["builtin"]
