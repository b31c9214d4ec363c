from defectkit.watching import as_part, tell, watch_nothing, watching


def test_what_is_told_is_seen_by_who_watches():
    shares: list[float] = []
    tell(0.1)  # Nobody does.
    with watching(watch_nothing):
        tell(0.2)
    with watching(shares.append):
        tell(0.25)
        with as_part(0.5, 1.0):
            tell(0.0)
            with as_part(0.0, 0.5):
                tell(1.0)
        tell(1.0)
    tell(0.9)
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_a_part_that_nobody_watches_is_told_to_nobody():
    with as_part(0.0, 0.5):
        tell(1.0)


def test_another_watcher_takes_the_place_of_the_first_for_its_block():
    outer: list[float] = []
    inner: list[float] = []
    with watching(outer.append):
        with watching(inner.append):
            tell(0.5)
        tell(1.0)
    assert (outer, inner) == ([1.0], [0.5])
