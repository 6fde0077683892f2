"""No interleaving of files, messages, runs, crashes and losses leaves a file behind; the naive trigger leaves some."""

from __future__ import annotations

import random

from tests.unit.interleaved_world import World

SEEDS = range(150)
MOVES = 60


def play(seed: int, *, losses: bool, naive: bool = False) -> World:
    """Let a world run, come to rest and, where events were lost, be swept."""
    world = World(random.Random(seed), losses=losses, naive=naive)
    for _ in range(MOVES):
        world.move()
    world.drain()
    if losses:
        for _ in range(2):
            world.queue.append({"request": "sweep"})
            world.drain()
    return world


def describe(seed: int, world: World) -> str:
    return f"seed {seed}: pending {world.pending}, files {world.files}\n" + "\n".join(world.trace)


def test_without_losses_everything_is_done_when_the_messages_are_gone() -> None:
    for seed in SEEDS:
        world = play(seed, losses=False)
        everything = set(range(1, world.files + 1))
        assert not world.pending, describe(seed, world)
        assert world.curated == world.served == everything, describe(seed, world)
        assert len(world.runs) <= 2 * world.files + 4, describe(seed, world)


def test_with_losses_crashes_and_failures_a_sweep_leaves_no_file_behind() -> None:
    for seed in SEEDS:
        world = play(seed, losses=True)
        assert not world.pending, describe(seed, world)
        assert world.curated == world.served == set(range(1, world.files + 1)), describe(seed, world)


def test_the_naive_trigger_loses_files() -> None:
    lost = sum(bool(play(seed, losses=False, naive=True).pending) for seed in SEEDS)
    assert lost > len(SEEDS) // 20


def test_the_shortest_way_to_lose_a_file() -> None:
    """A file that arrives after the run has listed its input, and before the run ends."""
    for naive in (True, False):
        world = World(random.Random(0), losses=False, naive=naive, calm=True)
        world.arrive()
        for _ in range(2):
            world.deliver(1)
            while world.invocations:
                world.go_on(world.invocations[0])
            if world.files == 1:
                world.list_input(world.runs[0])
                world.arrive()
        world.drain()
        assert world.pending == ({2} if naive else set())
