"""Labels may be told by place or by name, and mean the same number."""

from tokenyard.telemetry.metrics import EngineMetrics, GatewayMetrics


def test_labels_by_place_and_by_name_are_one_number() -> None:
    metrics = EngineMetrics()
    for _ in range(2):
        metrics.finished.labels("stop").inc()
        metrics.finished.labels(finished_reason="stop").inc()
    assert b'request_success_total{finished_reason="stop"} 4.0' in metrics.render()


def test_what_was_looked_up_before_is_what_is_rendered() -> None:
    metrics = GatewayMetrics()
    for _ in range(3):
        metrics.first_token.labels("m").observe(0.05)
        metrics.tokens.labels("m", "prompt").inc(7)
    told = metrics.render()
    assert b'time_to_first_token_seconds_count{model="m"} 3.0' in told
    assert b'tokens_total{kind="prompt",model="m"} 21.0' in told
