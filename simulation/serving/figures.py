"""What the server counts, as Prometheus reads it. No figure names a model or a client."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Figures:
    """Counts of one server."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("polyphony_requests", "Requests by status.", ["status"], registry=registry)
        self.refused = Counter("polyphony_refused", "Requests that found the queue full.", registry=registry)
        self.prompt_tokens = Counter("polyphony_prompt_tokens", "Prompt tokens read.", registry=registry)
        self.output_tokens = Counter("polyphony_output_tokens", "Tokens drawn.", registry=registry)
        self.in_work = Gauge("polyphony_in_work", "Answers in work.", registry=registry)
        self.waiting = Gauge("polyphony_waiting", "Answers that wait.", registry=registry)
        self.adapters_loaded = Gauge("polyphony_adapters_loaded", "Adapters copied into slots.", registry=registry)
        self.adapter_seconds = Gauge(
            "polyphony_adapter_load_seconds", "Seconds that copying adapters into slots took.", registry=registry
        )
        self.first_token = Histogram(
            "polyphony_first_token_seconds", "From a request to its first token.", buckets=SECONDS, registry=registry
        )
        self.duration = Histogram(
            "polyphony_answer_seconds", "From a request to its end.", buckets=SECONDS, registry=registry
        )

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)
