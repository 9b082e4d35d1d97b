import time

from accounts.memory import Memory


def test_it_forgets_after_its_lifetime():
    memory = Memory[str](size=10, lifetime=0.01)
    memory.put("a", "apple")
    time.sleep(0.02)
    assert memory.get("a") is None
    assert len(memory) == 0


def test_the_oldest_goes_first():
    memory = Memory[str](size=2, lifetime=60)
    memory.put("a", "apple")
    memory.put("b", "banana")
    memory.put("a", "apple again")
    memory.put("c", "cherry")
    assert memory.get("b") is None
    assert memory.get("a") == "apple again"
    assert memory.get("c") == "cherry"


def test_it_drops_what_it_is_told_to():
    memory = Memory[str](size=10, lifetime=60)
    for key, value in {"a": "apple", "b": "banana", "c": "cherry"}.items():
        memory.put(key, value)
    memory.drop("a")
    memory.drop_where(lambda value: value == "banana")
    assert [memory.get(key) for key in "abc"] == [None, None, "cherry"]
    memory.clear()
    assert memory.get("c") is None
