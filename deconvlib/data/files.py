"""Folders and archives of images: what they hold, which part of them tests, and which class each image has."""

import contextlib
import copy
import csv
import io
import os
import re
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
CALLED = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
PARTS = {f"{name}{end}": part for part, names in CALLED.items() for name in names for end in ("", "_set")}
# what the columns of a table of labels may be called
FILE = ("filename", "file_name", "file", "filepath", "file_path", "path", "image", "image_name", "image_id", "id")
LABEL = ("label", "class", "class_name", "target", "category")
LARGEST = 2**28  # bytes of an image's file: in an archive a few kilobytes may claim any number


class Folder:
    """The files below a folder or inside a .zip, without hidden files: one view of both."""

    def __init__(self, path):
        self.path, self.below, self.head, self.table = path, "", path.name, None
        if path.suffix.lower() == ".csv":  # its images lie beside it or below
            self.path, self.table = path.parent, path.name
        listed, self.passed = _in_folder(self.path) if self.path.is_dir() else (_in_archive(path), [])
        shown = [name for name in listed if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
        # {name relative to `below`: name relative to `path`}; the name of a folder ends in /
        self.names = {name: listed[name] for name in sorted(shown)}
        self.every, self.used = self.names, set()  # all of the root, and what of it was used; of every folder inside as well

    def __str__(self):
        return str(self.path / self.below)

    def images(self):
        return [name for name in self.names if name.lower().endswith(SUFFIXES)]

    def tables(self):
        """The tables of labels that lie beside the images or their folders."""
        return [self.table] if self.table else [name for name in self.names if re.fullmatch(r"[^/]+\.csv", name, re.I)]

    def unwrapped(self):
        """This folder, or the one in it that it only wraps."""
        heads, images = self._heads(), self.images()
        if len(heads) == 1 and images and all(name.count("/") > 1 for name in images):
            return self._inside(*heads).unwrapped()
        return self

    def parts(self):
        """{"train", "val" or "test": folder} of a folder that is divided; {} where it is not."""
        found = {}
        for head in sorted(self._heads()):
            part = PARTS.get(head.lower())
            if part in found:
                raise ValueError(f"{self} holds both {found[part].head!r} and {head!r}; keep one of them")
            if part:
                found[part] = self._inside(head, part).unwrapped()
                found[part].head = head
        return found if len(found) > 1 else {}

    def _heads(self):
        return {name.partition("/")[0] for name in self.names if "/" in name}

    def _inside(self, head, part=None):
        start = f"{head}/"
        inner = copy.copy(self)  # with the same listing: an archive's 50,000 names are read once
        inner.below += start
        inner.names = {name[len(start) :]: raw for name, raw in self.names.items() if name.startswith(start) and name != start}
        if not inner.tables():  # train.csv may lie beside train/, and labels.csv beside images/
            named = {table: PARTS.get(table[:-4].lower()) for table in self.tables()}
            own = [table for table, of in named.items() if of == part] or [table for table, of in named.items() if not of]
            inner.names |= {table: self.names[table] for table in own}
        return inner

    @contextlib.contextmanager
    def reader(self):
        """A function that opens a file by its name; ValueError for one that is larger than any image."""
        with contextlib.nullcontext() if self.path.is_dir() else zipfile.ZipFile(self.path) as archive:

            def opened(name):
                raw = self.names[name]
                size = archive.getinfo(raw).file_size if archive else (self.path / raw).stat().st_size
                if size > LARGEST:
                    raise ValueError(f"its {size / 1e6:,.0f} MB are more than the {LARGEST / 1e6:,.0f} that are read")
                return archive.open(raw) if archive else (self.path / raw).open("rb")

            yield opened

    def fingerprint(self, files):
        """A text that changes with the files' names, sizes and times."""
        stats = [(self.path / self.names[name]).stat() for name in files] if self.path.is_dir() else [self.path.stat()]
        return "\n".join([str(self.path.resolve()), self.below, *files, *(f"{s.st_size} {s.st_mtime_ns}" for s in stats)])


def _in_folder(path):
    """{name: name} of what is below the folder, and what was passed over: folders reached a second time, or not readable."""
    listed, seen, waiting, passed, refused = {}, set(), [str(path)], [], []
    while waiting:  # the folders themselves before the links to them
        for root, folders, files in os.walk(waiting.pop(0), onerror=refused.append):
            if (real := os.path.realpath(root)) in seen:
                folders.clear()
                passed.append(f"{root} is listed already")
                continue
            seen.add(real)
            waiting += sorted(link for folder in folders if os.path.islink(link := os.path.join(root, folder)))
            inside = Path(root).relative_to(path).as_posix() + "/"
            for name in (inside, *(inside + file for file in files)):
                listed[name.removeprefix("./")] = name
    listed.pop("", None)
    return listed, passed + [str(error) for error in refused]


def _in_archive(path):
    if not zipfile.is_zipfile(path):
        kinds = "a folder, a .zip, an .npz or a .csv of labels"
        raise ValueError(f"{path} is not {kinds} (or it is cut short); images go in a folder a class")
    with zipfile.ZipFile(path) as archive:  # some tools write .\\cat\\1.png, or ./cat/1.png
        return {name.replace("\\", "/").removeprefix("./"): name for name in archive.namelist()}


def parts(path):
    """({part: Folder}, [Folders that hold them]); parts are "train", "val" and "test", or "whole" if it is not divided."""
    archives = {PARTS[file.stem.lower()]: file for file in path.glob("*.[zZ][iI][pP]") if file.stem.lower() in PARTS}
    if "train" in archives:
        found = {part: Folder(file).unwrapped() for part, file in archives.items()}
        return found, list(found.values())
    whole = Folder(path)
    if whole.table:
        return {"whole": whole}, [whole]
    whole = whole.unwrapped()
    return whole.parts() or {"whole": whole}, [whole]


def left_out(wholes):
    """What of these folders is not used: "left out: 20 files: 12 .heic, 8 .txt"; "" where there is nothing."""
    kinds, passed = Counter(), [told for whole in wholes for told in whole.passed]
    for whole in wholes:
        rest = [name for name, raw in whole.names.items() if not name.endswith("/") and raw not in whole.used]
        kinds.update(_kind(whole.path.name if len(wholes) > 1 else name.rpartition("/")[0], name) for name in rest)
    count, shown = kinds.total(), kinds.most_common(6)
    more = count - sum(number for _, number in shown)
    named = [f"{number:,} {kind}" for kind, number in shown] + ([f"{more:,} others"] if more else [])
    said = [f"{count:,} file{'s' * (count > 1)}: {', '.join(named)}"] if count else []
    said += [f"{len(passed)} folder{'s' * (len(passed) > 1)}: {passed[0]}"] if passed else []
    return f"left out: {'; '.join(said)}" if said else ""


def _kind(place, name):
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        return suffix or "without a suffix"
    return f"{suffix} in {place.partition('/')[0]!r}" if place else f"{suffix} beside the folders"


def labelled(folder):
    """(files, labels, class names): of class folders; where there are fewer than two, of the table of labels, if there is one.

    A label is the number of its name in alphabetical order; in a table whose names are numbers, in their order. Where
    nothing tells the classes: (all images, None, ()). Raises ValueError for a table that cannot be read.
    """
    told = {name: name.partition("/")[0] for name in folder.images() if "/" in name}
    table = _told(folder) if folder.table or len(set(told.values())) < 2 else {}
    told = table or told
    files = list(told) or folder.images()
    folder.used.update(folder.names[name] for name in files)
    if not told:
        return files, None, ()
    numbers = table and all(name.isdecimal() for name in table.values())
    names = sorted(set(told.values()), key=int if numbers else None)
    label = {name: number for number, name in enumerate(names)}
    return files, np.array([label[name] for name in told.values()]), tuple(names)


def _told(folder):
    """{image: class name} by the folder's table of labels; {} where none has such columns."""
    tables = {table: rows for table in folder.tables() if (rows := _rows(folder, table))}
    if len(tables) > 1:
        raise ValueError(f"{folder} holds several tables of labels, {', '.join(tables)}: give the path of one")
    told = {}
    for table, rows in tables.items():
        own = folder.below + table in folder.every or table[:-4].lower() in PARTS  # else it may mean files of other parts
        known = [folder.below + name for name in folder.images()] if own else folder.every
        count = Counter(end for name in known if name.lower().endswith(SUFFIXES) for end in _ends(name))
        for name in folder.images():
            end = next((end for end in _ends(folder.below + name) if end in rows), None)
            if end and count[end] > 1:
                raise ValueError(f"{folder}: {table} names {end}, and there are {count[end]} of it; give their folders too")
            if end:
                told[name] = rows[end]
        if folder.images() and not told:
            raise ValueError(f"{folder}: {table} names none of its images; it names {next(iter(rows))!r}")
        folder.used.add(folder.names[table])
    return told


def _ends(name):
    """a/b/1.png, a/b/1, b/1.png, b/1, 1.png, 1: how a table may call the file."""
    steps = name.split("/")
    for first in range(len(steps)):
        end = "/".join(steps[first:])
        yield from (end, end.rpartition(".")[0])


def _rows(folder, table):
    """{file as the table calls it: class name}; {} where its columns tell neither."""
    try:
        with folder.reader() as opened, opened(table) as file:
            lines = io.StringIO(file.read().decode("utf-8-sig"), newline="")
        delimiter = max(",;\t", key=lines.readline().count)
        lines.seek(0)
        rows = csv.DictReader(lines, delimiter=delimiter)
        called = {re.sub(r"\W+", "_", column.strip().lower()): column for column in rows.fieldnames or () if column}
        file, label = (next((called[name] for name in names if name in called), None) for names in (FILE, LABEL))
        if folder.table and not (file and label):
            raise ValueError(f"its columns are {', '.join(called)}; call one filename, one label")
        told = {}
        for row in rows if file and label else ():
            name, value = ((row[column] or "").strip() for column in (file, label))
            name = name.replace("\\", "/").removeprefix("./")
            if name and value and told.setdefault(name, value) != value:
                raise ValueError(f"it gives {name} two labels, {told[name]!r} and {value!r}")
        return told
    except (ValueError, csv.Error) as error:  # of another encoding as well
        raise ValueError(f"{folder}: {table} is no table of labels: {error}") from error


def check_classes(folder, names):
    """Raises ValueError where `folder`, with classes of these names, gives a classifier nothing to learn."""
    known, left = ", ".join(SUFFIXES), left_out([folder])
    left = f"; {left}" if left else ""
    if not folder.images():
        raise ValueError(f"{folder} holds no images ({known}){left}")
    heads = {name.partition("/")[0] for name in folder.names if "/" in name}
    empty = sorted(heads - set(names))
    if empty and names and heads >= set(names):
        raise ValueError(f"{folder}: the class folder {empty[0]!r} holds no images ({known}); fill or remove it{left}")
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no class folders"
        raise ValueError(
            f"{folder} holds {found}; a classifier needs two or more folders of images, one a class, "
            "or a labels.csv beside the images, with the columns filename and label"
        )
