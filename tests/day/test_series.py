"""How a host's series are told to promtool."""

from __future__ import annotations

import pytest

from tests.day.series import HOURS, LENGTH, RESET, STEP, Host, index

BEGIN, END = 6.0, 6.0 + 5 * STEP / 3600  # five samples


def written(host: Host) -> dict[str, str]:
    names = {key.name for key in (*host.gauges, *host.counters)}
    return {str(key) + "}": values for key, values in host.told(names, BEGIN, END).items()}


def test_a_gauge_is_written_in_runs_of_even_steps() -> None:
    host = Host()
    host.gauge("g", [float(i - index(BEGIN)) if i < index(BEGIN) + 3 else 7.5 for i in range(LENGTH)], a="x")
    assert written(host) == {'g{a="x",job="floodmark"}': "0+1x2 7.5+0x1"}


def test_a_counter_grows_by_its_rate_and_starts_anew_at_a_reset() -> None:
    host = Host()
    growth: list[float | None] = [0.1] * LENGTH
    growth[index(BEGIN) + 2] = RESET
    host.counter("c_total", growth)
    assert written(host) == {'c_total{job="floodmark"}': "3+3x1 0+3x2"}


def test_what_a_failed_scrape_lacks_is_marked_as_ended() -> None:
    host = Host()
    host.gauge("up", 1)
    host.gauge("g", 4)
    host.gauge("other", 4, job="spring")
    host.vanish(HOURS[index(BEGIN) + 1], HOURS[index(BEGIN) + 4])
    assert written(host) == {
        'up{job="floodmark"}': "1-1x1 0+0x1 1",
        'g{job="floodmark"}': "4 stale _x2 4",
        'other{job="spring"}': "4+0x4",
    }


def test_a_time_is_told_on_promtools_clock() -> None:
    host = Host()
    host.gauge("node_boot_time_seconds", index(BEGIN) * STEP + 60.0)
    assert written(host) == {'node_boot_time_seconds{job="floodmark"}': "60+0x4"}


def test_a_host_is_changed_only_in_what_it_has() -> None:
    host = Host()
    host.gauge("g", 4)
    with pytest.raises(LookupError, match="no h"):
        host.change("h", 5)


def test_a_copy_shares_what_is_not_changed() -> None:
    host = Host()
    host.gauge("g", 4)
    host.gauge("h", 4)
    other = host.copy()
    other.change("g", 5)
    assert written(host) != written(other)
    key = next(key for key in host.gauges if key.name == "h")
    assert other.gauges[key] is host.gauges[key]
