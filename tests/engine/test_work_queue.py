"""Whose turn it is: urgency, deadlines, shares and company, with a scripted clock."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.work_queue import (
    BatchRules,
    Job,
    Work,
    WorkQueue,
    batch_rules,
)

SECOND = 16_000

ONE_AT_A_TIME = BatchRules(max_windows=1)


def job(work: Work, seconds: float = 4.0, *, due_in_s: float = 0.0) -> Job:
    return Job(n_samples=round(seconds * SECOND), work=work, due_in_s=due_in_s)


def file(seconds: float = 4.0) -> Job:
    return job(Work.FILE, seconds)


def final(seconds: float = 4.0) -> Job:
    return job(Work.STREAM_FINAL, seconds)


def partial(seconds: float = 4.0, *, due_in_s: float = 0.0) -> Job:
    return job(Work.STREAM_PARTIAL, seconds, due_in_s=due_in_s)


def queue_of(
    *jobs: Job, rules: BatchRules = ONE_AT_A_TIME, file_share: float = 0.1
) -> WorkQueue[Job]:
    """Queue jobs that all arrive at once."""
    queue: WorkQueue[Job] = WorkQueue(rules, file_share=file_share)
    for own in jobs:
        queue.submit(own, 0.0)
    return queue


def drain(queue: WorkQueue[Job], now: float = 1000.0) -> list[list[Job]]:
    batches = []
    while batch := queue.take_batch(now):
        batches.append(batch)
    return batches


class TestUrgency:
    def test_finals_go_before_partials_before_files(self) -> None:
        """Whatever the order in which they came."""
        own = [file(), partial(), final()]

        assert drain(queue_of(*own)) == [[own[2]], [own[1]], [own[0]]]

    def test_partials_go_by_deadline(self) -> None:
        """Counted from when they were submitted."""
        queue = queue_of()
        early, late = partial(due_in_s=1.0), partial(due_in_s=0.3)
        queue.submit(early, 10.0)
        queue.submit(late, 10.5)

        assert drain(queue) == [[late], [early]]

    def test_a_final_that_is_not_due_goes_with_the_partials(self) -> None:
        """A flood of audio takes no time from streams at the pace of speech."""
        early, own = final(), [partial(due_in_s=0.3), partial(due_in_s=5.0)]
        early.due_in_s = 3.0
        queue = queue_of(early, *own)

        assert drain(queue, now=1.0) == [[own[0]], [early], [own[1]]]

    def test_so_does_one_that_is_begun_on_suspicion(self) -> None:
        """However long it waits."""
        suspicion = job(Work.STREAM_SPECULATION, due_in_s=0.5)
        own = [partial(due_in_s=0.3), partial(due_in_s=0.8), final(), file()]

        assert drain(queue_of(suspicion, *own)) == [
            [own[2]],
            [own[0]],
            [suspicion],
            [own[1]],
            [own[3]],
        ]

    def test_what_has_the_same_urgency_shares_a_pass(self) -> None:
        """Whatever it is wanted for."""
        suspicion = job(Work.STREAM_SPECULATION)
        own = partial()

        rules = BatchRules(max_windows=8)
        assert drain(queue_of(suspicion, own, rules=rules)) == [[suspicion, own]]

    def test_finals_and_files_go_in_the_order_in_which_they_came(self) -> None:
        """Among themselves."""
        queue = queue_of()
        own = [final(), final(), file(), file()]
        for now, each in enumerate(own):
            queue.submit(each, now)

        assert drain(queue) == [[each] for each in own]

    def test_a_cancelled_window_is_never_taken(self) -> None:
        """Cancelling again, or too late, changes nothing."""
        own = [final(), final(), final()]
        queue = queue_of(*own)
        taken = queue.take_batch(1.0)

        for each in (own[0], own[1], own[1]):
            queue.cancel(each)

        assert taken == [own[0]]
        assert drain(queue) == [[own[2]]]

    def test_who_waits_too_long_can_be_taken_out(self) -> None:
        """By the time at which they came."""
        queue = queue_of()
        own = [file(), final(), partial()]
        for now, each in enumerate(own):
            queue.submit(each, now)

        assert queue.take_older(than=2.0) == [own[1], own[0]]
        assert drain(queue) == [[own[2]]]


class Device:
    """A model that takes a second for each window, and is never idle."""

    def __init__(self, queue: WorkQueue[Job]) -> None:
        self.queue = queue
        self.now = 0.0
        self.served: list[Job] = []

    def step(self) -> None:
        batch = self.queue.take_batch(self.now)
        seconds = float(len(batch))
        self.now += seconds
        self.queue.spent(batch, seconds)
        self.served += batch

    def share(self, work: Work) -> float:
        return sum(own.work == work for own in self.served) / len(self.served)


class TestShares:
    @pytest.mark.parametrize("file_share", [0.0, 0.1, 0.5])
    def test_files_get_their_share_of_the_time_while_streams_want_all_of_it(
        self, file_share: float
    ) -> None:
        """FILE_SHARE is kept to the second."""
        queue = queue_of(*(file() for _ in range(100)), file_share=file_share)
        device = Device(queue)
        for _ in range(100):
            queue.submit(partial(), device.now)
            device.step()

        assert device.share(Work.FILE) == pytest.approx(file_share, abs=0.02)

    def test_finals_give_way_only_to_files_that_are_owed_a_second(
        self,
    ) -> None:
        """But even they cannot starve files."""
        queue = queue_of(*(file() for _ in range(50)), file_share=0.2)
        device = Device(queue)
        for _ in range(50):
            queue.submit(final(), device.now)
            device.step()

        first = [own.work for own in device.served].index(Work.FILE)
        assert first == 4  # after four seconds at a quarter of a second for each
        assert device.share(Work.FILE) == pytest.approx(0.2, abs=0.03)

    def test_the_share_comes_out_of_the_time_of_partials(self) -> None:
        """A final that arrives meanwhile goes first."""
        queue = queue_of(file(), partial(), partial(), file_share=0.4)
        device = Device(queue)
        device.step()
        urgent = final()
        queue.submit(urgent, device.now)

        device.step()
        device.step()

        works = [own.work for own in device.served]
        assert works == [Work.STREAM_PARTIAL, Work.STREAM_FINAL, Work.FILE]

    def test_time_without_files_earns_them_nothing(self) -> None:
        """A share is not saved up for later."""
        queue = queue_of(file_share=0.5)
        device = Device(queue)
        for _ in range(20):
            queue.submit(partial(), device.now)
            device.step()

        for _ in range(10):
            queue.submit(file(), device.now)
            queue.submit(partial(), device.now)
        for _ in range(4):
            device.step()

        works = [own.work for own in device.served[20:]]
        assert works.count(Work.FILE) == 2

    def test_partials_that_wait_for_another_device_are_not_in_the_way(self) -> None:
        """Files take no time from them, and need not give it back."""
        quick = Job(n_samples=SECOND, work=Work.STREAM_PARTIAL, quick=True)
        queue = queue_of(file(), quick)
        (alone,) = queue.take_batch(0.0, quick=False)

        assert alone.work is Work.FILE
        assert not alone.contended

    def test_time_that_nobody_else_wanted_is_not_charged(self) -> None:
        """Files that ran alone are not made to wait for it afterwards."""
        queue = queue_of(*(file() for _ in range(30)), file_share=0.5)
        device = Device(queue)
        for _ in range(20):
            device.step()

        for _ in range(4):
            queue.submit(partial(), device.now)
        for _ in range(4):
            device.step()

        works = [own.work for own in device.served[20:]]
        assert works.count(Work.FILE) == 2

    @given(
        st.lists(st.sampled_from([Work.STREAM_FINAL, Work.STREAM_PARTIAL])),
        st.floats(0.05, 0.9),
    )
    def test_no_file_starves(self, others: Sequence[Work], file_share: float) -> None:
        """However many streams come, in whatever order."""
        waits = file()
        queue = queue_of(waits, file_share=file_share)
        device = Device(queue)
        # Owed a second, and the pass that is under way.
        enough = 2 + int(2 / (file_share / (1 - file_share)))
        endless = [*others, *(enough * [Work.STREAM_FINAL])]
        for work in endless:
            queue.submit(job(work), device.now)
            device.step()

        assert device.served.index(waits) <= enough

    def test_files_may_be_put_last(self) -> None:
        """Whatever they are owed, and however long they wait."""
        queue = queue_of(file(), final(), partial())
        queue.put_files_last()
        queue.spent([], seconds=1000)

        assert queue.take_batch(0)[0].work == Work.STREAM_FINAL
        queue.spent([], seconds=1000)
        assert queue.take_batch(0)[0].work == Work.STREAM_PARTIAL

    def test_a_share_of_everything_is_refused(self) -> None:
        """Streams would never have their turn."""
        with pytest.raises(ValueError, match="file_share"):
            WorkQueue[Job](ONE_AT_A_TIME, file_share=1.0)


class TestCompany:
    def test_windows_of_about_the_same_length_share_a_pass(self) -> None:
        """Others keep their place and go next."""
        own = [partial(s) for s in (10, 2, 9, 8, 2.5)]

        batches = drain(queue_of(*own, rules=BatchRules(max_windows=8)))

        assert batches == [[own[0], own[2], own[3]], [own[1], own[4]]]

    def test_a_pass_holds_no_more_windows_than_allowed(self) -> None:
        """BATCH_SIZE."""
        queue = queue_of(*(file() for _ in range(7)), rules=BatchRules(max_windows=3))

        assert [len(batch) for batch in drain(queue)] == [3, 3, 1]

    def test_a_pass_holds_no_more_audio_than_pays(self) -> None:
        """Padding counts; one window alone is always taken."""
        rules = BatchRules(max_windows=8, max_samples=20 * SECOND)
        queue = queue_of(*(file(s) for s in (9, 10, 8, 30)), rules=rules)

        in_seconds = [[own.n_samples / SECOND for own in b] for b in drain(queue)]

        assert in_seconds == [[9, 10], [8], [30]]

    def test_the_less_urgent_ride_along_only_while_that_is_free(self) -> None:
        """A final does not wait for a file's computation."""
        rules = BatchRules(max_windows=8, max_free_samples=12 * SECOND)
        own = [final(4), final(4), file(4), file(4)]

        assert drain(queue_of(*own, rules=rules)) == [own[:3], own[3:]]

    def test_the_more_urgent_may_ride_along_with_a_file_whose_turn_it_is(self) -> None:
        """They only gain by it."""
        queue = queue_of(
            file(), file(), partial(2), rules=BatchRules(max_windows=8), file_share=0.5
        )
        queue.spent(queue.take_batch(1.0), 1.0)  # the partial; files are owed a second
        queue.submit(partial(), 1.0)

        works = [own.work for own in queue.take_batch(1.0)]

        assert works == [Work.FILE, Work.FILE, Work.STREAM_PARTIAL]

    def test_on_a_cpu_batches_are_small_and_nobody_rides_along(self) -> None:
        """Long windows gain nothing there, and the first would wait for the last."""
        rules = batch_rules("cpu", max_windows=8)
        own = [final(4), final(4), final(4), partial(4), file(30), file(30)]

        batches = drain(queue_of(*own, rules=rules))

        assert batches == [own[:2], own[2:3], own[3:4], own[4:5], own[5:]]

    def test_elsewhere_batches_are_as_large_as_allowed(self) -> None:
        """And short windows of the less urgent come for nothing."""
        rules = batch_rules("cuda:0", max_windows=8)
        own = [final(4), final(4), partial(4), partial(4), partial(4), file(30)]

        batches = drain(queue_of(*own, rules=rules))

        assert batches == [own[:4], own[4:5], own[5:]]

    def test_memory_is_the_limit_where_it_is_known(self) -> None:
        """Unless the operator has set another."""
        room = 60 * SECOND

        known = batch_rules("cuda:0", max_windows=None, max_samples=room)
        unknown = batch_rules("cuda:0", max_windows=None)
        told = batch_rules("cuda:0", max_windows=3, max_samples=room)
        own = [file(4) for _ in range(20)]

        for rules, sizes in (
            (known, [15, 5]),
            (unknown, [8, 8, 4]),
            (told, [3] * 6 + [2]),
        ):
            batches = drain(queue_of(*own, rules=rules))
            assert [len(batch) for batch in batches] == sizes

    @given(
        st.lists(st.tuples(st.sampled_from(Work), st.floats(0.1, 40))),
        st.integers(1, 9),
        st.one_of(st.none(), st.integers(0, 100 * SECOND)),
        st.floats(0, 0.9),
    )
    def test_everything_is_taken_exactly_once(
        self,
        arrivals: Sequence[tuple[Work, float]],
        max_windows: int,
        max_samples: int | None,
        file_share: float,
    ) -> None:
        """Whatever the rules."""
        own = [job(work, seconds) for work, seconds in arrivals]
        rules = BatchRules(max_windows=max_windows, max_samples=max_samples)

        batches = drain(queue_of(*own, rules=rules, file_share=file_share))

        taken = [each for batch in batches for each in batch]
        assert len(taken) == len(own)
        assert set(map(id, taken)) == set(map(id, own))


class TestTwoModels:
    """A quick model hears partials, a strong one all else."""

    def queue(self) -> tuple[WorkQueue[Job], Job, Job, Job]:
        queue = queue_of(rules=BatchRules(max_windows=8, max_free_samples=100 * SECOND))
        quick = Job(n_samples=SECOND, work=Work.STREAM_PARTIAL, quick=True, due_in_s=2)
        own = (quick, partial(1.0, due_in_s=1.0), final(1.0))
        for each in own:
            queue.submit(each, 0.0)
        return queue, *own

    def test_no_batch_has_windows_of_both(self) -> None:
        """Even where riding along is free."""
        queue, quick, other, due = self.queue()

        assert drain(queue) == [[due, other], [quick]]

    def test_a_model_with_a_device_of_its_own_gets_only_its_windows(self) -> None:
        """Whatever is more urgent for the other one."""
        queue, quick, other, due = self.queue()

        assert queue.take_batch(1.0, quick=True) == [quick]
        assert not queue.has_for(quick=True)
        assert queue.has_for(quick=False)
        assert queue.take_batch(1.0, quick=True) == []
        assert queue.take_batch(1.0, quick=False) == [due, other]
        assert not queue.has_for(quick=None)
