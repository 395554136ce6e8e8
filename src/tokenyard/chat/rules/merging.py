"""How long pieces of text are gathered before they are sent on as one event.

An event costs a wake-up and a system call for each reader, however short it is. A calm server
sends each piece at once; one that falls behind gathers for longer, step by step up to a quarter of
a second, which a reader hardly sees and which spares seven wake-ups of eight.
"""

WINDOWS_SECONDS = (0.0, 0.025, 0.05, 0.1, 0.25)
# A piece that waited for longer than this on its way says that the server is behind.
_BEHIND_SECONDS = 0.05
_CALM_SECONDS = 0.01


def choose_window(window_seconds: float, lag_seconds: float) -> float:
    """The next window, one step longer or shorter than the last, or the same.

    lag_seconds: how much longer than the window the oldest piece took from the model server into
    the log.
    """
    place = WINDOWS_SECONDS.index(window_seconds)
    if lag_seconds > _BEHIND_SECONDS:
        place = min(place + 1, len(WINDOWS_SECONDS) - 1)
    elif lag_seconds < _CALM_SECONDS:
        place = max(place - 1, 0)
    return WINDOWS_SECONDS[place]
