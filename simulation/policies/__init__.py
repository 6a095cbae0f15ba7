"""What decides for an agent: the engine, camel-ai, or the frequencies of its history."""
