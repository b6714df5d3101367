# SPDX-License-Identifier: Apache-2.0
"""The end of a run says where its time went, and the next one begins with what took longest."""

from types import SimpleNamespace

from tests.support.slowest_files import LongestFirst, SlowestFiles, Spent, machine_busy_s, table


def report(file, when, seconds, cpu_s, worker="gw0"):
    return SimpleNamespace(nodeid=f"{file}::test", when=when, duration=seconds, cpu_s=cpu_s, worker_id=worker)


def test_set_up_and_tests_are_told_apart_and_the_slowest_file_is_first():
    seen = SlowestFiles()
    for when, seconds in (("setup", 2.0), ("call", 1.0), ("teardown", 0.5)):
        seen.pytest_runtest_logreport(report("a.py", when, seconds, 0.25))
    seen.pytest_runtest_logreport(report("b.py", "call", 9.0, 1.0))
    assert [line.split() for line in table(seen.files)[1:]] == [
        ["9.0", "0.0", "9.0", "1.0", "1", "b.py"],
        ["3.5", "2.5", "1.0", "0.8", "1", "a.py"],
    ]
    assert table({"a.py": Spent()}) == []


def test_a_worker_is_idle_from_its_last_report_to_the_last_of_all():
    times = iter((0.0, 10.0, 45.0))
    seen = SlowestFiles(clock=lambda: next(times))
    seen.pytest_runtest_logreport(report("a.py", "call", 1, 1, "gw0"))
    seen.pytest_runtest_logreport(report("b.py", "call", 1, 1, "gw1"))
    assert seen.idle() == "gw0 35 s, gw1 0 s"


def test_files_that_took_long_start_first_and_the_order_within_a_file_stays():
    items = [SimpleNamespace(nodeid=name) for name in ("a.py::one", "new.py::one", "b.py::two", "b.py::one")]
    LongestFirst({"a.py": 1.0, "b.py": 30.0}).pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == ["b.py::two", "b.py::one", "a.py::one", "new.py::one"]


def test_the_machine_has_worked():
    assert machine_busy_s() > 0
