"""Noisy and dark rooms in a chain, seen from within: the grid world of adversarial surprise, on the device and fast.

After the MiniGrid rooms of Fickinger et al., "Explore and Control with Adversarial Surprise" (2021). Rooms stand on a
lattice whose lines are drawn for every episode; a door leads from each room to the next of the chain, which winds
through the lattice. A room is dark (nothing of it is seen), or its floor is noisy (in every step each tile takes one
of 6 colours at random), or it is plain. A switch in a noisy room freezes the colours of that room's floor for good.

    actions        0 turn left, 1 turn right, 2 step forward, 3 toggle the door or the switch ahead
    observation    [view, view, 3]: object, colour and state of the tiles ahead as symbols; the body stands in the
                   middle of the last row and looks up, its right hand at the right

    object   0 unseen   1 floor        2 wall   3 door               4 switch           5 goal
    colour   0          0, noisy 0–5   5        4                    3                  1
    state    0          0              0        1 closed, 0 open     1 noise, 0 frozen  0

Walls end the view: a body in a room sees that room with its walls and doors, a body in a doorway both rooms. That is
what MiniGrid shows, less what it shows through doors from afar. No grid is stored: the tiles of a view are computed
from the rectangles, and the colours of noise are a hash of the tile and of a random word that its room draws in every
step, which makes frozen colours the ones last shown.
"""

import itertools
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infojax.types import Array, Count, Environment, EnvSpec, Key, Metrics, UnitInterval, UserError

LEFT, RIGHT, FORWARD, TOGGLE = range(4)
UNSEEN, FLOOR, WALL, DOOR, SWITCH, GOAL = range(6)
COLOURS = 6
NOWHERE = -1  # the coordinates of what does not exist


class Layout(NamedTuple):
    """What does not change within an episode; x is the column and y the row, from the top left."""

    lines: Array  # [R, 4] int32: x and y of the walls at the left and top, then at the right and bottom of each room
    switches: Array  # [R, 2] int32, NOWHERE where a room has none
    doors: Array  # [R + 1, 2] int32: door r leads from room r − 1 to room r; the first and the last do not exist
    goal: Array  # [2] int32
    dark: Array  # [R] bool
    noisy: Array  # [R] bool


class RoomsState(NamedTuple):
    layout: Layout
    position: Array  # [2] int32
    direction: Array  # 0 east, 1 south, 2 west, 3 north
    room: Array  # in a doorway the one that the body came from
    beyond: Array  # in a doorway the other room, else `room`
    is_open: Array  # [R + 1] bool, of doors
    frozen: Array  # [R] bool, the switch was used
    words: Array  # [R] uint32, from which the colours of noise are made
    visited: Array  # [R] bool


def chain(num_rooms: int) -> tuple[tuple[int, int], ...]:
    """Column and row of every room on the lattice: as square as possible, rows filled to and fro."""
    columns = math.ceil(math.sqrt(num_rooms))
    places = [divmod(room, columns) for room in range(num_rooms)]
    return tuple((column if row % 2 == 0 else columns - 1 - column, row) for row, column in places)


def make(
    *,
    num_rooms: Count = 4,
    min_size: Count = 3,
    max_size: Count = 6,
    grid_size: Count | None = None,
    dark_probability: UnitInterval = 0.5,
    noisy_probability: UnitInterval = 0.5,
    switches: UnitInterval = 1.0,
    doors: Literal["open", "closed"] = "open",
    goal: bool = False,
    view_size: Count = 7,
    layout_seed: int | None = None,
    episode_length: Count = 128,
) -> Environment:
    """Rooms in a chain, of `min_size` to `max_size` tiles a side without walls, drawn anew for every episode.

    A room is dark with `dark_probability`, else noisy with `noisy_probability` (of all rooms: both add up to at most
    1); of the noisy ones a share of `switches` has a switch. With `goal` a tile of the last room gives the reward 1
    and ends the episode, else rewards are 0. With `layout_seed` all episodes have one layout, from random poses in the
    first room.

    Measures: `room` (place in the chain, from 0), `rooms_visited` and `furthest_room` of this episode, `noise_off`
    (share of noisy rooms that are frozen; 1 where none is noisy), `in_noise` (1 in a room whose noise is on),
    `in_uncontrollable_noise` (and that has no switch), `room_entropy` (nats of the noise in view: the visible tiles
    that change x log 6).
    """
    places = chain(num_rooms)
    columns, rows = (1 + max(place[axis] for place in places) for axis in range(2))
    needed = max(columns, rows) * (max_size + 1) + 1
    size = needed if grid_size is None else grid_size
    _check(num_rooms, min_size, max_size, size, needed, dark_probability + noisy_probability, view_size)
    middle = view_size // 2
    # Tiles of a view: how far ahead, and how far to the right.
    ahead = jnp.asarray(np.arange(view_size)[::-1].repeat(view_size), jnp.int32)
    aside = jnp.asarray(np.tile(np.arange(-middle, middle + 1), view_size), jnp.int32)

    def draw(key: Key) -> Layout:
        keys = jax.random.split(key, 8)
        lines_x, lines_y = (
            _lines(keys[axis], number, min_size, max_size, size) for axis, number in enumerate((columns, rows))
        )
        at = np.asarray(places)
        lines = jnp.stack([lines_x[at[:, 0]], lines_y[at[:, 1]], lines_x[at[:, 0] + 1], lines_y[at[:, 1] + 1]], axis=-1)
        openings = _doors(keys[2], lines, places)
        kind = jax.random.uniform(keys[3], (num_rooms,))
        dark = kind < dark_probability
        noisy = ~dark & (kind < dark_probability + noisy_probability)
        # A switch stands in nobody's way: not before a door, and rooms are at least 2 tiles wide.
        taken = jnp.concatenate([openings[:-1, None], openings[1:, None]], axis=1)
        places_of_switches = jax.vmap(lambda key, lines, taken: _free_tile(key, lines, taken, max_size, 1))(
            jax.random.split(keys[4], num_rooms), lines, taken
        )
        has_switch = noisy & (jax.random.uniform(keys[5], (num_rooms,)) < switches)
        placed = jnp.where(has_switch[:, None], places_of_switches, NOWHERE)
        target = _free_tile(keys[6], lines[-1], placed[-1:], max_size, 0)
        return Layout(lines, placed, openings, target if goal else jnp.full_like(target, NOWHERE), dark, noisy)

    def reset(key: Key) -> tuple[RoomsState, Array]:
        layout_key, place_key, direction_key, word_key = jax.random.split(key, 4)
        layout = draw(layout_key if layout_seed is None else jax.random.key(layout_seed))
        taken = jnp.stack([layout.switches[0], layout.goal])
        state = RoomsState(
            layout=layout,
            position=_free_tile(place_key, layout.lines[0], taken, max_size, 0),
            direction=jax.random.randint(direction_key, (), 0, 4, jnp.int32),
            room=jnp.zeros((), jnp.int32),
            beyond=jnp.zeros((), jnp.int32),
            is_open=jnp.full((num_rooms + 1,), doors == "open"),
            frozen=jnp.zeros((num_rooms,), bool),
            words=jnp.full((num_rooms,), jax.random.bits(word_key, (), jnp.uint32)),
            visited=jnp.arange(num_rooms) == 0,
        )
        return state, observe(state)

    def view(state: RoomsState) -> tuple[Array, Array, Array, Array]:
        """Object, colour, state and "its colour changes" of the tiles in view, each [view x view]."""
        layout = state.layout
        forward_x, forward_y = _heading(state.direction)
        x = state.position[0] + ahead * forward_x - aside * forward_y
        y = state.position[1] + ahead * forward_y + aside * forward_x
        visible, floor, switch, waiting, noisy, changing = (jnp.zeros(x.shape, bool) for _ in range(6))
        word = jnp.zeros(x.shape, jnp.uint32)
        for room in (state.room, state.beyond):
            lines = layout.lines[room]
            lit = ~layout.dark[room]
            within = _within(lines, x, y, 0) & lit
            inside = _within(lines, x, y, 1) & lit
            noise = inside & layout.noisy[room]
            here = _is_at(layout.switches[room], x, y) & lit
            visible, floor, switch, noisy = visible | within, floor | inside, switch | here, noisy | noise
            waiting = waiting | (here & ~state.frozen[room])
            changing = changing | (noise & ~state.frozen[room])
            word = jnp.where(noise, state.words[room], word)
        door, closed = jnp.zeros(x.shape, bool), jnp.zeros(x.shape, bool)
        # The doors of the room, and the far one of the room beyond.
        far = jnp.where(state.beyond > state.room, state.beyond + 1, state.beyond)
        for index in (state.room, state.room + 1, far):
            here = _is_at(layout.doors[index], x, y)
            door, closed = door | here, closed | (here & ~state.is_open[index])
        target = _is_at(layout.goal, x, y)
        plain = floor & ~switch & ~target
        colour = jnp.where(noisy, _colour(word, x, y, size), 0)
        objects = jnp.where(target, GOAL, FLOOR)
        objects = jnp.where(floor, objects, jnp.where(door, DOOR, WALL))
        objects = jnp.where(visible, jnp.where(switch, SWITCH, objects), UNSEEN)
        colours = jnp.where(target, 1, colour)
        colours = jnp.where(floor, colours, jnp.where(door, 4, 5))
        colours = jnp.where(visible, jnp.where(switch, 3, colours), 0)
        return objects, colours, visible & (closed | waiting), plain & changing

    def observe(state: RoomsState) -> Array:
        objects, colours, states, _ = view(state)
        # Stacked directly, XLA's CPU compiler would compute each tile anew, element by element, for every channel.
        packed = jax.lax.optimization_barrier(objects | (colours << 3) | (states.astype(jnp.int32) << 6))
        channels = (packed[:, None] >> jnp.array([[0, 3, 6]], jnp.int32)) & 7
        return channels.astype(jnp.float32).reshape(view_size, view_size, 3)

    def step(state: RoomsState, action: Array, key: Key) -> tuple[RoomsState, Array, Array, Array]:
        layout = state.layout
        turn = jnp.where(action == LEFT, 3, jnp.where(action == RIGHT, 1, 0)).astype(jnp.int32)
        forward_x, forward_y = _heading(state.direction)
        x, y = state.position[0] + forward_x, state.position[1] + forward_y
        # What is ahead: the body stands in a room or in a doorway, so nothing but its two rooms matters.
        in_room, in_beyond = (_within(layout.lines[room], x, y, 1) for room in (state.room, state.beyond))
        at_switch = (layout.switches[:, 0] == x) & (layout.switches[:, 1] == y)
        at_door = (layout.doors[:, 0] == x) & (layout.doors[:, 1] == y)
        passable = (in_room | in_beyond) & ~jnp.any(at_switch) | jnp.any(at_door & state.is_open)
        moves = (action == FORWARD) & passable
        position = jnp.where(moves, jnp.stack([x, y]), state.position)
        # A doorway of room r is that of door r, to the room before, or of door r + 1, to the room after.
        to_before = jnp.all(layout.doors[state.room] == jnp.stack([x, y]))
        leaves = jnp.any(at_door)
        entered = jnp.where(in_room, state.room, state.beyond)
        room = jnp.where(moves & ~leaves, entered, state.room)
        reached = jnp.where(leaves, jnp.where(to_before, state.room - 1, state.room + 1), entered)
        beyond = jnp.where(moves, reached, state.beyond)
        toggles = action == TOGGLE
        frozen = state.frozen | (toggles & at_switch)
        is_open = state.is_open
        if doors == "closed":
            is_open = is_open ^ (toggles & at_door)
        words = jnp.where(frozen, state.words, jax.random.bits(key, (), jnp.uint32))
        state = RoomsState(
            layout=layout,
            position=position,
            direction=(state.direction + turn) % 4,
            room=room,
            beyond=beyond,
            is_open=is_open,
            frozen=frozen,
            words=words,
            visited=state.visited | (jnp.arange(num_rooms) == room),
        )
        arrived = jnp.all(position == layout.goal)
        return state, observe(state), arrived.astype(jnp.float32), arrived

    def measures(state: RoomsState) -> Metrics:
        layout, room = state.layout, state.room
        sources = jnp.sum(layout.noisy.astype(jnp.float32))
        silent = jnp.sum((layout.noisy & state.frozen).astype(jnp.float32))
        noise = layout.noisy[room] & ~state.frozen[room]
        changing = view(state)[3]
        return {
            "room": room.astype(jnp.float32),
            "rooms_visited": jnp.sum(state.visited.astype(jnp.float32)),
            "furthest_room": jnp.max(jnp.where(state.visited, jnp.arange(num_rooms), 0)).astype(jnp.float32),
            "noise_off": jnp.where(sources > 0, silent / jnp.maximum(sources, 1), 1),
            "in_noise": noise.astype(jnp.float32),
            "in_uncontrollable_noise": (noise & (layout.switches[room, 0] == NOWHERE)).astype(jnp.float32),
            "room_entropy": jnp.sum(changing.astype(jnp.float32)) * math.log(COLOURS),
        }

    spec = EnvSpec(
        observation_shape=(view_size, view_size, 3),
        action_shape=(),
        num_actions=4,
        low=(),
        high=(),
        episode_length=episode_length,
        name="rooms",
        position_names=("x", "y"),
        # Tiles are centred on whole numbers.
        position_low=(-0.5, -0.5),
        position_high=(size - 0.5, size - 0.5),
        shortest_episode=min(4 * num_rooms, episode_length) if goal else episode_length,
        num_categories=6,
        cells=(size, size),
    )
    return Environment(spec, reset, step, lambda state: state.position.astype(jnp.float32), measures)


def _check(rooms: int, low: int, high: int, size: int, needed: int, probability: float, view: int) -> None:
    if low < 2:
        raise UserError(f"min_size is {low}, in which a switch can block the way; set min_size to 2 or more")
    if low > high:
        raise UserError(f"min_size is {low} and max_size {high}; set max_size to {low} or more")
    if size < needed:
        raise UserError(
            f"grid_size is {size}, but {rooms} rooms of up to {high} tiles need {needed}; set grid_size to null"
        )
    if probability > 1 + 1e-6:
        raise UserError(f"dark_probability and noisy_probability add up to {probability:g}; make it at most 1")
    if view % 2 == 0:
        raise UserError(f"view_size is {view}, which has no middle; set view_size to an odd number")


def _heading(direction: Array) -> tuple[Array, Array]:
    """One step ahead along x and y."""
    east_west = jnp.where(direction == 0, 1, jnp.where(direction == 2, -1, 0))
    return east_west, jnp.where(direction == 1, 1, jnp.where(direction == 3, -1, 0))


def _within(lines: Array, x: Array, y: Array, margin: int) -> Array:
    """Whether tiles lie in a room, with its walls (margin 0) or without (margin 1)."""
    left, top, right, bottom = (lines[side] for side in range(4))
    return (x >= left + margin) & (x <= right - margin) & (y >= top + margin) & (y <= bottom - margin)


def _is_at(place: Array, x: Array, y: Array) -> Array:
    return (x == place[0]) & (y == place[1])


def _colour(word: Array, x: Array, y: Array, size: int) -> Array:
    """One of 6 colours for each tile: the finaliser of MurmurHash3 (Appleby, 2011) of a room's word and the tile."""
    tile = (y * size + x).astype(jnp.uint32)
    mixed = word + tile * np.uint32(0x9E3779B9)
    mixed = (mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    mixed = mixed ^ (mixed >> np.uint32(16))
    return (((mixed >> np.uint32(16)) * np.uint32(COLOURS)) >> np.uint32(16)).astype(jnp.int32)


def _lines(key: Key, number: int, low: int, high: int, size: int) -> Array:
    """[number + 1] coordinates of the lattice's lines: rooms of random sizes, at a random place of the grid."""
    size_key, place_key = jax.random.split(key)
    sizes = jax.random.randint(size_key, (number,), low, high + 1, jnp.int32)
    ends = jnp.concatenate([jnp.zeros((1,), jnp.int32), jnp.cumsum(sizes + 1, dtype=jnp.int32)])
    return ends + jax.random.randint(place_key, (), 0, size - ends[-1], jnp.int32)


def _doors(key: Key, lines: Array, places: tuple[tuple[int, int], ...]) -> Array:
    """[R + 1, 2]: a random tile of the wall between each room and the next, and NOWHERE before and after."""
    nowhere = jnp.full((2,), NOWHERE, jnp.int32)
    doors = [nowhere]
    for room, (here, there) in enumerate(itertools.pairwise(places)):
        axis = 0 if here[0] != there[0] else 1  # across which they are neighbours
        side = axis + 2 if there[axis] > here[axis] else axis
        along = jax.random.randint(
            jax.random.fold_in(key, room), (), lines[room, 1 - axis] + 1, lines[room, 3 - axis], jnp.int32
        )
        doors.append(jnp.stack([lines[room, side], along] if axis == 0 else [along, lines[room, side]]))
    return jnp.stack([*doors, nowhere])


def _free_tile(key: Key, lines: Array, taken: Array, most: int, distance: int) -> Array:
    """A random floor tile [2] of a room, further than `distance` (in steps) from all that is `taken` [n, 2]."""
    tile = np.stack(np.divmod(np.arange(most * most), most), axis=-1)
    tiles = jnp.asarray(tile, jnp.int32) + (lines[None, :2] + 1)
    steps = jnp.sum(jnp.abs(tiles[:, None] - taken[None]), axis=-1)
    free = jnp.all(tiles < lines[None, 2:], axis=-1) & jnp.all(steps > distance, axis=-1)
    return tiles[jnp.argmax(jnp.where(free, jax.random.uniform(key, (most * most,)), -1))]
