from dialplan_sms.sms.counted import Counted


def test_the_first_is_noted_at_once_and_the_others_counted_each_minute() -> None:
    notes: list[str] = []
    now = [100.0]
    counted = Counted(notes.append, clock=lambda: now[0])
    for number in range(1000):
        counted("connection from {} refused", f"192.0.2.{number}")
    counted("another condition")
    now[0] += 59
    counted.tell()
    assert notes == ["connection from 192.0.2.0 refused", "another condition"]
    now[0] += 2
    counted.tell()
    counted.tell()
    assert notes[2:] == ["connection from 192.0.2.0 refused - the same 999 times more within 61 s"]


def test_a_condition_that_comes_again_later_is_noted_at_once() -> None:
    notes: list[str] = []
    now = [0.0]
    counted = Counted(notes.append, clock=lambda: now[0])
    counted("short")
    now[0] += 60
    counted.tell()
    counted("short")
    assert notes == ["short", "short"]
