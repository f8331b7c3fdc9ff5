import threading
import time
from collections.abc import Callable

import pytest

from kidney.serving.inference.turns import LateError, Turns


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


def test_so_many_have_a_turn_at_a_time():
    turns = Turns(2)
    with (
        turns.turn(),
        turns.turn(),
        pytest.raises(LateError),
        turns.turn(time.monotonic() + 0.01),
    ):
        pass
    with turns.turn(time.monotonic() + 0.01):
        pass


def test_a_turn_is_given_back_where_its_work_fails():
    turns = Turns(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turns.turn(time.monotonic() + 1):
            raise ZeroDivisionError


def test_who_takes_many_turns_lets_each_who_waits_pass():
    turns, order = Turns(1), []
    waiting = threading.Event()

    def many() -> None:
        for number in range(4):
            with turns.turn():
                order.append(f"many{number}")
                if number == 0:
                    waiting.wait()

    def one(name: str) -> None:
        with turns.turn():
            order.append(name)

    threads = [threading.Thread(target=many)]
    threads[0].start()
    until(lambda: order == ["many0"])
    for count, name in enumerate("ab", start=1):
        threads.append(threading.Thread(target=one, args=(name,)))
        threads[-1].start()
        until(lambda count=count: len(turns._waiting) == count)
    waiting.set()
    for thread in threads:
        thread.join()
    assert order == ["many0", "a", "b", "many1", "many2", "many3"]


def test_who_is_late_leaves_the_queue():
    turns = Turns(1)
    with turns.turn():
        for _ in range(3):
            with pytest.raises(LateError), turns.turn(time.monotonic() + 0.01):
                pass
        assert not turns._waiting
    with pytest.raises(LateError), turns.turn(time.monotonic() - 1):
        pass
    with turns.turn(time.monotonic() + 1):
        pass
