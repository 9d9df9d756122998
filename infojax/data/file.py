"""Samples out of a file of the user's own: arrays of an `.npz`, or columns of a `.csv`.

| file | x, y |
|---|---|
| `.npz` | names of its arrays, (n,) or (n, d) each; an array `truth`, one number, is the true information in nats |
| `.csv` | columns by name or by number from 0, several as `[a, b]` or `"a,b"`; the first line may hold names |
"""

import csv
import difflib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infojax.types import Pairs, UserError

Columns = str | int | list[str | int] | None


def _array(path: Path, arrays: Any, side: str, name: str) -> np.ndarray:
    """One array of an .npz, as float64 (n, d)."""
    if name not in arrays.files:
        raise UserError(f"data.{side}={name} is not in {path}{_meant(f'data.{side}=', name, arrays.files)}")
    try:
        found = arrays[name]
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise UserError(
            f"the array {name} of {path} holds Python objects, which are not loaded from files; save plain numbers, "
            f"such as np.savez(path, {name}=np.asarray({name}, float))"
        ) from error
    if np.iscomplexobj(found):
        raise UserError(f"the array {name} of {path} is complex; give real parts and imaginary parts as two columns")
    if found.dtype.kind not in "biuf":
        raise UserError(f"the array {name} of {path} holds {found.dtype}, not numbers; save it as an array of numbers")
    if found.ndim not in (1, 2):
        raise UserError(f"the array {name} of {path} has the shape {found.shape}; samples are (n,) or (n, d)")
    return found.astype(np.float64).reshape(len(found), -1 if found.size else 1)


def _from_npz(path: Path, x: Columns, y: Columns) -> tuple[np.ndarray, np.ndarray, float | None]:
    for side, given in (("x", x), ("y", y)):
        if given is not None and not isinstance(given, str):
            raise UserError(f"data.{side}={given} is not the name of an array; give data.{side}=NAME for {path}")
    try:
        # Opened here, for numpy leaves a file open that it cannot read.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            pair = [_array(path, arrays, side, str(name or side)) for side, name in (("x", x), ("y", y))]
            truth = arrays["truth"] if "truth" in arrays.files else None
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"data.path={path} cannot be read as an .npz ({error}); write it anew by np.savez(path, x=x, y=y)"
        ) from error
    if truth is not None and (truth.size != 1 or truth.dtype.kind not in "iuf" or not np.isfinite(truth).all()):
        raise UserError(f"the array truth of {path} must be one finite number, the information in nats; leave it out")
    return pair[0], pair[1], None if truth is None else float(truth.reshape(()))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _from_csv(path: Path, x: Columns, y: Columns) -> tuple[np.ndarray, np.ndarray, None]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.path={path} cannot be read as text ({error}); save it as a .csv in UTF-8") from error
    first = text.partition("\n")[0]
    mark = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(), delimiter=mark)
    lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    if not lines:
        raise UserError(f"data.path={path} is empty; it must hold one sample a line, its numbers parted by commas")
    head = lines[0][1]
    # A first line without a single number holds names; one bad cell among numbers is a mistake.
    named = all(_number(cell) is None for cell in head)
    names, rows = (head, lines[1:]) if named else ([str(index) for index in range(len(head))], lines)
    if len(names) < 2:
        raise UserError(f"data.path={path} has one column; it needs one for x and one for y at least")
    for line, row in rows:
        if len(row) != len(names):
            raise UserError(f"line {line} of {path} has {len(row)} cells where the first has {len(names)}; mend it")
    chosen_y = [len(names) - 1] if y is None else _columns(path, "y", y, names)
    # A column without a name in a head with names is the row numbers that pandas writes.
    others = [column for column, name in enumerate(names) if name and column not in chosen_y]
    chosen_x = _columns(path, "x", x, names) if x is not None else others
    if not chosen_x:
        raise UserError(f"data.y={y} takes every column of {path}, so that none is left for x; give data.x too")
    table = np.empty((len(rows), len(names)))
    for column in dict.fromkeys((*chosen_x, *chosen_y)):
        for index, (line, row) in enumerate(rows):
            value = np.nan if not row[column] else _number(row[column])
            if value is None:
                raise UserError(
                    f"line {line} of {path} has {row[column]!r} in column {names[column]}, which is no number; mend "
                    "it, or leave the column out by data.x and data.y"
                )
            table[index, column] = value
    return table[:, chosen_x], table[:, chosen_y], None


def _columns(path: Path, side: str, given: str | int | Sequence[str | int], names: Sequence[str]) -> list[int]:
    """The numbers of the columns that were named or numbered."""
    entries = given.split(",") if isinstance(given, str) and given not in names else given
    found = []
    for entry in [entries] if isinstance(entries, str | int) else entries:
        name = entry.strip() if isinstance(entry, str) else entry
        if name in names:
            found.append(names.index(str(name)))
        elif str(name).isdecimal() and int(name) < len(names):
            found.append(int(name))
        else:
            raise UserError(f"data.{side}={name} is not a column of {path}{_meant('', str(name), names)}")
    if not found:
        raise UserError(f"data.{side}={given} names no column of {path}; there are {', '.join(names)}")
    return found


def _meant(prefix: str, name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=2)
    if near:
        return f"; did you mean {' or '.join(prefix + entry for entry in near)}?"
    return f"; there are {', '.join(names)}" if names else "; it holds nothing"


def _check_rows(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    if len(x) != len(y):
        raise UserError(f"x and y of {path} are {len(x)} and {len(y)} samples; they must be pairs, as many of each")
    if not x.size or not y.size:
        raise UserError(f"data.path={path} holds no samples; it must hold one pair of x and y for each")
    bad = np.flatnonzero(~(np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)))
    if len(bad):
        raise UserError(
            f"{len(bad)} of the {len(x)} samples of {path} have an empty, NaN or infinite entry, the first of them "
            f"sample {bad[0]} (counted from 0); fill them in, or leave these samples out"
        )


READERS = {".npz": _from_npz, ".csv": _from_csv}


def make(*, path: str, x: Columns = None, y: Columns = None) -> Pairs:
    """Samples of x and y from a file.

    Args:
        path: of an `.npz` or a `.csv`.
        x: the array of an .npz, by default `x`; columns of a .csv, by default all that are not y's.
        y: the array of an .npz, by default `y`; columns of a .csv, by default the last.

    Returns:
        The samples, in their order where all are asked for, else drawn without replacement, by the seed.

    Raises:
        UserError: a file or a part of it that is not there or not numbers; the sentence says where and how to mend it.
    """
    file = Path(path).expanduser()
    if file.suffix.lower() not in READERS:
        raise UserError(f"data.path={path} is neither .npz nor .csv; save it by np.savez(path, x=x, y=y)")
    if not file.is_file():
        beside = [entry.name for entry in file.parent.glob("*") if entry.suffix.lower() in READERS]
        near = difflib.get_close_matches(file.name, beside, n=1)
        hint = f"did you mean {file.parent / near[0]}?" if near else f"looked for {file.absolute()}"
        raise UserError(f"data.path={path} is not a file; {hint}")
    all_x, all_y, truth = READERS[file.suffix.lower()](file, x, y)
    _check_rows(file, all_x, all_y)
    count = len(all_x)

    def sample(seed: int, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
        if num_samples > count:
            raise UserError(
                f"num_samples={num_samples} is more than the {count} samples of {path}; give fewer, or null"
            )
        if num_samples == count:
            return all_x, all_y
        rows = np.sort(np.random.default_rng(seed).choice(count, num_samples, replace=False))
        return all_x[rows], all_y[rows]

    return Pairs(f"file/{file.name}", all_x.shape[1], all_y.shape[1], truth, count, sample)
