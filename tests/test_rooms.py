"""Noisy and dark rooms: views against tiles painted one by one, walls, doors, switches, noise, and measures."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax import testing
from infojax.envs import rooms
from infojax.types import UserError

UNSEEN, FLOOR, WALL, DOOR, SWITCH, GOAL = range(6)
STEPS = [(1, 0), (0, 1), (-1, 0), (0, -1)]
MIXED = {"dark_probability": 0.3, "noisy_probability": 0.5, "switches": 0.6, "goal": True, "doors": "closed"}
COUNT, LENGTH, GOING_HOME = 64, 128, 8


@pytest.fixture(scope="module")
def walk():
    """Random walks that go ahead more than they turn: states, observations, rewards, measures [T, B], in numpy."""
    environment = rooms.make(**MIXED, min_size=2, max_size=4, grid_size=25)
    testing.check_environment(environment)

    def step(state, key):
        action_key, step_key = jax.random.split(key)
        action = jax.random.choice(action_key, jnp.array([0, 1, 2, 2, 2, 3], jnp.int32), (COUNT,))
        after, *rest = jax.vmap(environment.step)(state, action, jax.random.split(step_key, COUNT))
        return after, (state, action, after, *rest, jax.vmap(environment.measures)(after))

    def run(key):
        state, _ = jax.vmap(environment.reset)(jax.random.split(key, COUNT))
        # Some begin in a corner of the last room, where the goal is.
        last = jnp.full((GOING_HOME,), 3, jnp.int32)
        state = state._replace(
            position=state.position.at[:GOING_HOME].set(state.layout.lines[:GOING_HOME, 3, :2] + 1),
            room=state.room.at[:GOING_HOME].set(last),
            beyond=state.beyond.at[:GOING_HOME].set(last),
        )
        return jax.lax.scan(step, state, jax.random.split(key, LENGTH))[1]

    walked = jax.jit(run, compiler_options=testing.QUICK)(jax.random.key(0))
    return environment, jax.tree.map(np.asarray, walked)


def one(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def paint(layout, size=25):
    """The grid of objects [y, x] of a layout, and which rooms each tile belongs to."""
    grid, owners = np.full((size, size), UNSEEN), {}
    for room, (left, top, right, bottom) in enumerate(layout.lines):
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                edge = x in (left, right) or y in (top, bottom)
                grid[y, x] = WALL if edge else FLOOR
                owners.setdefault((x, y), set()).add(room)
    for x, y in layout.doors[1:-1]:
        grid[y, x] = DOOR
    for x, y in layout.switches:
        if x >= 0:
            grid[y, x] = SWITCH
    if layout.goal[0] >= 0:
        grid[layout.goal[1], layout.goal[0]] = GOAL
    return grid, owners


def inside(layout, x, y):
    """The rooms on whose floor a tile lies."""
    return [r for r, (a, b, c, d) in enumerate(layout.lines) if a < x < c and b < y < d]


def eyes(layout, x, y):
    """The rooms that a body at (x, y) is in: one, or the two of a doorway."""
    for door in range(1, len(layout.doors) - 1):
        if (x, y) == tuple(layout.doors[door]):
            return {door - 1, door}
    return set(inside(layout, x, y))


def expected_view(state, view=7):
    """Object and state of every tile, None for the colour where it is noise."""
    layout = state.layout
    grid, owners = paint(layout)
    (px, py), (fx, fy) = state.position, STEPS[state.direction]
    seeing = {room for room in eyes(layout, px, py) if not layout.dark[room]}
    found = np.zeros((view, view, 3), int)
    for row in range(view):
        for column in range(view):
            forward, right = view - 1 - row, column - view // 2
            x, y = px + forward * fx - right * fy, py + forward * fy + right * fx
            if not owners.get((x, y), set()) & seeing:
                continue
            thing = grid[y, x]
            colour = {FLOOR: 0, WALL: 5, DOOR: 4, SWITCH: 3, GOAL: 1}[thing]
            marker = 0
            if thing == FLOOR and layout.noisy[inside(layout, x, y)[0]]:
                colour = -1
            if thing == DOOR:
                marker = int(not state.is_open[[tuple(door) for door in layout.doors].index((x, y))])
            if thing == SWITCH:
                marker = int(not state.frozen[inside(layout, x, y)[0]])
            found[row, column] = thing, colour, marker
    return found


def test_the_view_is_that_of_tiles_painted_one_by_one(walk):
    _, (_, _, after, observation, *_) = walk
    directions, doorways, dark = set(), 0, 0
    for time in range(0, LENGTH, 3):
        for body in range(0, COUNT, 3):
            state = one(after, time, body)
            wanted, seen = expected_view(state), observation[time, body]
            noise = wanted[..., 1] < 0
            np.testing.assert_array_equal(seen[..., [0, 2]], wanted[..., [0, 2]])
            np.testing.assert_array_equal(seen[..., 1][~noise], wanted[..., 1][~noise])
            assert ((seen >= 0) & (seen < 6) & (seen == np.round(seen))).all()
            where = eyes(state.layout, *state.position)
            directions.add(int(state.direction))
            doorways += len(where) == 2
            if all(state.layout.dark[room] for room in where):
                dark += 1
                assert (seen == 0).all()  # darkness hides all
    assert directions == {0, 1, 2, 3}
    assert doorways > 10
    assert dark > 50


def test_bodies_move_and_turn_as_told_and_only_walls_switches_and_closed_doors_stop_them(walk):
    _, (before, action, after, _, reward, terminated, _) = walk
    blocked = {WALL: 0, SWITCH: 0, DOOR: 0}
    opened = 0
    grids = [paint(one(before.layout, 0, body))[0] for body in range(COUNT)]
    for time in range(LENGTH):
        for body in range(COUNT):
            old, new, chosen = one(before, time, body), one(after, time, body), int(action[time, body])
            assert new.direction == (old.direction + {0: 3, 1: 1}.get(chosen, 0)) % 4
            x, y = old.position + STEPS[old.direction]
            thing = grids[body][y, x]
            doors = [tuple(door) for door in old.layout.doors]
            shut = thing == DOOR and not old.is_open[doors.index((x, y))]
            stops = thing in (WALL, SWITCH, UNSEEN) or shut
            moved = chosen == 2 and not stops
            assert tuple(new.position) == ((x, y) if moved else tuple(old.position))
            if chosen == 2 and stops:
                blocked[thing] += 1
            flipped = np.flatnonzero(new.is_open != old.is_open)
            if chosen == 3 and thing == DOOR:
                assert flipped.tolist() == [doors.index((x, y))]
                opened += 1
            else:
                assert flipped.size == 0
            if reward[time, body] or terminated[time, body]:
                assert reward[time, body] == 1
                assert terminated[time, body]
                assert grids[body][tuple(new.position[::-1])] == GOAL
            else:
                assert grids[body][tuple(new.position[::-1])] != GOAL
    assert min(blocked.values()) > 10, blocked
    assert opened > 20
    assert reward.any()


def test_toggling_a_switch_freezes_its_own_room_and_no_other(walk):
    _, (before, action, after, *_) = walk
    used = 0
    for time in range(LENGTH):
        for body in range(COUNT):
            old, new = one(before, time, body), one(after, time, body)
            ahead = tuple(old.position + STEPS[old.direction])
            rooms_ahead = [r for r, place in enumerate(old.layout.switches) if tuple(place) == ahead]
            wanted = old.frozen.copy()
            if action[time, body] == 3 and rooms_ahead:
                used += not wanted[rooms_ahead[0]]
                wanted[rooms_ahead[0]] = True
            np.testing.assert_array_equal(new.frozen, wanted)
    assert used > 10


def test_measures_are_those_counted_by_hand(walk):
    _, (before, _, after, _, _, _, measures) = walk
    unlike = set()
    for body in range(GOING_HOME, COUNT, 2):
        layout = one(before.layout, 0, body)
        current, visited = 0, {0}
        for time in range(LENGTH):
            state = one(after, time, body)
            where = eyes(layout, *state.position)
            if len(where) == 1:
                (current,) = where
            visited.add(current)
            noise = bool(layout.noisy[current] and not state.frozen[current])
            sources = [state.frozen[room] for room in range(4) if layout.noisy[room]]
            wanted = {
                "room": current,
                "rooms_visited": len(visited),
                "furthest_room": max(visited),
                "noise_off": np.mean(sources) if sources else 1,
                "in_noise": noise,
                "in_uncontrollable_noise": noise and layout.switches[current][0] < 0,
            }
            for name, value in wanted.items():
                assert measures[name][time, body] == pytest.approx(float(value), abs=1e-6), name
                unlike.add((name, float(value)))
            if time % 8 == 0:
                view, (px, py), (fx, fy) = expected_view(state), state.position, STEPS[state.direction]
                changing = 0
                for row, column in zip(*np.nonzero(view[..., 1] < 0), strict=True):
                    forward, right = 6 - row, column - 3
                    x, y = px + forward * fx - right * fy, py + forward * fy + right * fx
                    changing += not state.frozen[inside(layout, x, y)[0]]
                assert measures["room_entropy"][time, body] == pytest.approx(changing * math.log(6), rel=1e-5)
    assert {name for name, _ in unlike} | {"room_entropy"} == set(measures)
    assert all(len([pair for pair in unlike if pair[0] == name]) > 1 for name in wanted)


def test_every_room_can_be_reached_and_sizes_and_kinds_are_as_asked_for(walk):
    environment, _ = walk
    states, _ = jax.jit(jax.vmap(environment.reset), compiler_options=testing.QUICK)(
        jax.random.split(jax.random.key(5), 400)
    )
    states = jax.tree.map(np.asarray, states)
    for index in range(50):
        layout = one(states.layout, index)
        grid, _ = paint(layout)
        start = tuple(one(states, index).position)
        assert inside(layout, *start) == [0]
        assert grid[start[::-1]] == FLOOR
        reached, queue = {start}, [start]
        while queue:
            x, y = queue.pop()
            for dx, dy in STEPS:
                near = (x + dx, y + dy)
                if near not in reached and grid[near[::-1]] in (FLOOR, DOOR, GOAL):
                    reached.add(near)
                    queue.append(near)
        free = {(x, y) for y, x in zip(*np.nonzero(np.isin(grid, (FLOOR, DOOR, GOAL))), strict=True)}
        assert reached == free  # every tile, hence every room
        assert len(layout.doors) == 5
        assert (grid == DOOR).sum() == 3
        for room, place in enumerate(layout.switches):
            assert place[0] < 0 or inside(layout, *place) == [room]
        assert inside(layout, *layout.goal) == [3]
    lines = states.layout.lines
    sizes = np.stack([lines[..., 2] - lines[..., 0], lines[..., 3] - lines[..., 1]]) - 1
    assert (sizes.min(), sizes.max()) == (2, 4)
    assert (lines.min(), lines.max()) == (0, 24)
    dark, noisy = states.layout.dark, states.layout.noisy
    has_switch = states.layout.switches[..., 0] >= 0
    assert not (dark & noisy).any()
    assert not (has_switch & ~noisy).any()
    # 1,600 rooms: four standard errors are 0.05; of the noisy ones 0.07.
    assert abs(dark.mean() - 0.3) < 0.05
    assert abs(noisy.mean() - 0.5) < 0.05
    assert abs(has_switch[noisy].mean() - 0.6) < 0.07
    assert len(np.unique(lines.reshape(400, -1), axis=0)) > 300


def test_noise_is_uniform_and_independent_until_its_switch_freezes_what_was_shown():
    environment = rooms.make(num_rooms=2, min_size=6, noisy_probability=1.0, dark_probability=0.0, layout_seed=1)

    def run(key):
        def step(state, key):
            state, observation, *_ = environment.step(state, jnp.int32(0), key)
            return state, observation

        state, _ = environment.reset(jax.random.key(3))
        # One body stands in the middle of a room and turns round for ever.
        state = state._replace(position=state.layout.lines[0, :2] + jnp.array([3, 3], jnp.int32))
        awake, first = jax.lax.scan(step, state, jax.random.split(key, 4000))
        other, _ = jax.lax.scan(step, awake._replace(frozen=jnp.array([False, True])), jax.random.split(key, 4))
        _, second = jax.lax.scan(step, awake._replace(frozen=jnp.array([True, False])), jax.random.split(key, 8))
        return state, first, awake, other, second

    state, first, awake, other, second = jax.tree.map(
        np.asarray, jax.jit(run, compiler_options=testing.QUICK)(jax.random.key(2))
    )
    assert tuple(state.layout.switches[0]) >= (0, 0)
    shown = first[int(3 - (state.direction + 1) % 4) :: 4][:900]  # always north
    floor = (shown[..., 0] == FLOOR).all(axis=0)
    colours = shown[..., 1][:, floor].astype(int)
    assert colours.shape[1] >= 11
    counts = np.stack([np.bincount(tile, minlength=6) for tile in colours.T])
    expected = len(colours) / 6
    # Chi-square of each tile with 5 degrees of freedom (above 30 once in 70,000), and of all tiles together.
    statistic = ((counts - expected) ** 2 / expected).sum(-1)
    assert statistic.max() < 30
    assert statistic.sum() < 5 * len(counts) + 5 * math.sqrt(10 * len(counts))
    # One step after another and one tile beside another: independent, so equal in one case of six.
    for same in (colours[1:] == colours[:-1], colours[:, 1:] == colours[:, :-1]):
        assert abs(same.mean() - 1 / 6) < 5 * math.sqrt(5 / 36 / same.size)
    # Frozen: what was shown last, for good; the other room's switch changed nothing here.
    np.testing.assert_array_equal(second[:4], second[4:])
    # Four turns on, the body looks where it looked when the noise was last on.
    np.testing.assert_array_equal(second[3][..., :2], first[-1][..., :2])
    np.testing.assert_array_equal(second[3][..., 2], 0)
    assert second[3][..., 1][second[3][..., 0] == FLOOR].std() > 0
    assert other.words[0] != awake.words[0]
    assert other.words[1] == awake.words[1]


def test_one_seed_of_the_layout_fixes_it_for_all_episodes():
    environment = rooms.make(layout_seed=7)
    reset = jax.jit(jax.vmap(environment.reset), compiler_options=testing.QUICK)
    states, _ = reset(jax.random.split(jax.random.key(0), 16))
    for leaf in jax.tree.leaves(states.layout):
        assert (np.asarray(leaf) == np.asarray(leaf)[:1]).all()
    assert len(np.unique(np.asarray(states.position), axis=0)) > 4
    assert environment.spec.cells == (15, 15)  # two rooms of up to 6 tiles and three walls a side
    assert environment.spec.num_categories == 6


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"min_size": 1}, "min_size"),
        ({"min_size": 7}, "max_size"),
        ({"grid_size": 14}, "grid_size"),
        ({"dark_probability": 0.6}, "dark_probability"),
        ({"view_size": 6}, "view_size"),
    ],
)
def test_what_cannot_be_built_is_refused(wrong, name):
    with pytest.raises(UserError, match=name):
        rooms.make(**wrong)
