"""The load of servers of several makes, from what they publish."""

import pytest

from tokenyard.gateway.rules.admission import Class, Room, judge_load
from tokenyard.upstreams.load import LoadReader
from tokenyard.vocabulary.load import Load

VLLM = """# HELP vllm:num_requests_running Running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 5.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:time_to_first_token_seconds_sum{engine="0"} 10.0
vllm:time_to_first_token_seconds_count{engine="0"} 4.0
"""


def test_what_servers_tell() -> None:
    assert LoadReader().read(VLLM) == Load(3, 5, 0.25, 0.0)
    own = VLLM.replace("vllm:", "tokenyard_engine_")
    assert LoadReader().read(own) == Load(3, 5, 0.25, 0.0)
    llama = "llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\n"
    assert LoadReader().read(llama) == Load(1, 2, 0.0)
    assert LoadReader().read("process_cpu_seconds_total 1\nnonsense\n") is None


def test_what_is_told_under_two_names_counts_once() -> None:
    both = VLLM + VLLM.replace("vllm:", "tokenyard_engine_")
    assert LoadReader().read(both) == Load(3, 5, 0.25, 0.0)
    assert LoadReader().read(VLLM + VLLM) == Load(6, 10, 0.5, 0.0)


def test_the_share_of_the_prefix_cache_in_all_prompt_tokens() -> None:
    vllm = f"{VLLM}vllm:prefix_cache_queries_total 80\nvllm:prefix_cache_hits_total 20\n"
    assert LoadReader().read(vllm) == Load(3, 5, 0.25, 0.0, 0.25)
    own = (
        f"{VLLM}tokenyard_engine_prompt_tokens_total 40\n"
        "tokenyard_engine_prompt_tokens_cached_total 30\n"
    )
    assert LoadReader().read(own) == Load(3, 5, 0.25, 0.0, 0.75)


def test_the_wait_for_a_first_token_is_that_of_the_latest_requests() -> None:
    reader = LoadReader()
    reader.read(VLLM)
    later = VLLM.replace('_sum{engine="0"} 10.0', '_sum{engine="0"} 16.0').replace(
        '_count{engine="0"} 4.0', '_count{engine="0"} 6.0'
    )
    assert reader.read(later) == Load(3, 5, 0.25, 3.0)
    assert reader.read(later) == Load(3, 5, 0.25, 0.0)


ROOM = Room(256, waiting_max=10, kv_share_max=0.9, first_token_seconds=20.0, lower_share=0.5)


@pytest.mark.parametrize(
    ("load", "interactive", "lower"),
    [
        (Load(64, 0, 1.0, 99.0), True, True),
        (Load(1, 4, 0.1), True, True),
        (Load(1, 5, 0.1), True, False),
        (Load(1, 10, 0.1), False, False),
        (Load(1, 1, 0.5), True, False),
        (Load(1, 1, 0.9), False, False),
        (Load(1, 1, 0.1, 10.0), True, False),
        (Load(1, 1, 0.1, 20.0), False, False),
    ],
)
def test_the_lower_class_is_shed_first(load: Load, interactive: bool, lower: bool) -> None:
    assert (judge_load([load], ROOM, Class.INTERACTIVE) is None) is interactive
    assert (judge_load([load], ROOM, Class.LOWER) is None) is lower


def test_one_server_with_room_is_enough_and_silence_is_no_reason_to_refuse() -> None:
    full = Load(1, 99, 1.0, 40.0)
    assert judge_load([full, Load(0, 0, 0.0)], ROOM, Class.LOWER) is None
    assert judge_load([], ROOM, Class.LOWER) is None
    busy = judge_load([full], ROOM, Class.INTERACTIVE)
    assert busy is not None
    assert busy.retry_after_seconds == 40.0
