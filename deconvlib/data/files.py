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

from deconvlib.data.names import called, division, holds_guesses, like_parts

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
# what the columns of a table of labels may be called
FILE = """filename file_name filenames file filepath file_path filepaths path image image_name image_file image_path image_id
    imageid img img_name img_path photo picture id_code id""".split()
LABEL = """label labels class class_name classname target category species breed dx diagnosis classid class_id label_id
    category_id""".split()
PART = ("split", "subset", "partition", "set", "data_set", "dataset")
LARGEST = 2**28  # bytes of an image's file: in an archive a few kilobytes may claim any number


class Folder:
    """The files below a folder or inside a .zip, without hidden files: one view of both."""

    def __init__(self, path):
        # place: the folder that an archive stands for, as train/ for train.zip; below: the folder inside that this is
        self.path, self.place, self.below, self.head, self.table = path, "", "", path.name, None
        if path.suffix.lower() in (".csv", ".tsv"):  # its images lie beside it or below
            self.path, self.table = path.parent, path.name
        if path.suffix.lower() in SUFFIXES and path.is_file():  # an image by itself
            self.path, listed, self.passed = path.parent, {path.name: path.name}, []
        else:
            listed, self.passed = _in_folder(self.path) if self.path.is_dir() else (_in_archive(path), [])
        shown = [name for name in listed if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
        # {name relative to `below`: name relative to `path`}; the name of a folder ends in /
        self.names = {name: listed[name] for name in sorted(shown)}
        # all of the root, what of it was used, and what is to be said; of every folder inside as well
        self.every, self.used, self.notes = self.names, set(), []

    def __str__(self):
        return str(self.path / self.below)

    def images(self):
        return [name for name in self.names if name.lower().endswith(SUFFIXES)]

    def tables(self):
        """The tables that may hold labels, beside the images or their folders; not those with somebody's answers."""
        found = [name for name in self.names if re.fullmatch(r"[^/]+\.[ct]sv|val_annotations\.txt", name, re.I)]
        return [name for name in found if name == self.table or (not self.table and not holds_guesses(name))]

    def unwrapped(self):
        """This folder, or the one in it that it only wraps."""
        heads, images = self._heads(), self.images()
        if len(heads) == 1 and images and all(name.count("/") > 1 for name in images):
            return self._inside(*heads).unwrapped()
        return self

    def parts(self):
        """{"train", "val" or "test": Folder} of a folder that is divided, into folders or archives; {} where it is not."""
        archives = {name for name in self.names if re.fullmatch(r"[^/]+\.zip", name, re.I)} if self.path.is_dir() else set()
        found = {}
        for part, head in division(self._heads() | archives, self).items():
            found[part] = self._archive(head, part) if head in archives else self._inside(head, part).unwrapped()
            found[part].head = head
        if archives:  # a table beside them names their files as those of folders
            every = self.every | {inner.place + name: raw for inner in found.values() for name, raw in inner.every.items()}
            for inner in found.values():
                inner.every = every
        return found

    def parts_of_table(self):
        """As `parts`, where the table of labels has a column that divides the images, or each part has a table."""
        told = _told(self)
        found = {part for _, part in told.values()} - {"rest", None}
        if "train" not in found or len(found) < 2:
            return {}
        self.notes.append("divided by the table of labels")
        return {part: self._only([name for name, (_, of) in told.items() if of == part], part) for part in found}

    def _only(self, images, head):
        inner = copy.copy(self)
        inner.names, inner.head = {name: self.names[name] for name in (*images, *self.tables())}, head
        return inner

    def _heads(self):
        return {name.partition("/")[0] for name in self.names if "/" in name}

    def _inside(self, head, part=None):
        start = f"{head}/"
        inner = copy.copy(self)  # with the same listing: an archive's 50,000 names are read once
        inner.below += start
        inner.names = {name[len(start) :]: raw for name, raw in self.names.items() if name.startswith(start) and name != start}
        inner.names |= {table: self.names[table] for table in self._tables_for(inner, part)}
        return inner

    def _archive(self, head, part):
        inner = Folder(self.path / self.names[head]).unwrapped()
        inner.place = f"{self.below}{head[:-4]}/"
        tables = self._tables_for(inner, part)
        # a path is opened outside of the archive; a new dict, for `every` lists what is inside
        inner.names = inner.names | {table: self.path / self.names[table] for table in tables}
        self.used.update(self.names[name] for name in (head, *tables))
        return inner

    def _tables_for(self, inner, part):
        """The tables that are meant for the part: train.csv may lie beside train/, and labels.csv beside images/."""
        named = {} if inner.tables() else {table: called(table)[0] for table in self.tables()}
        own = [table for table, of in named.items() if part is None or of == part]
        return own or [table for table, of in named.items() if of is None]

    def use(self, names):
        self.used.update(self.names[name] for name in names)

    @contextlib.contextmanager
    def reader(self):
        """A function that opens a file by its name; ValueError for one that is larger than any image."""
        with contextlib.nullcontext() if self.path.is_dir() else zipfile.ZipFile(self.path) as archive:

            def opened(name):
                raw = self.names[name]
                if not archive or isinstance(raw, Path):
                    return _opened(self.path / raw)
                _check_size(archive.getinfo(raw).file_size)
                return archive.open(raw)

            yield opened

    def fingerprint(self, files):
        """A text that changes with the files' names, sizes and times."""
        paths = [self.path / self.names[name] for name in files] if self.path.is_dir() else [self.path]
        stats = [path.stat() for path in paths if path.exists()]  # a link to nothing is refused by its name, when it is read
        return "\n".join([str(self.path.resolve()), self.below, *files, *(f"{s.st_size} {s.st_mtime_ns}" for s in stats)])


def _opened(path):
    size = path.stat().st_size
    if not path.is_file():  # a pipe would never end
        raise ValueError("it is not a regular file")
    _check_size(size)
    return path.open("rb")


def _check_size(size):
    if size > LARGEST:
        raise ValueError(f"its {size / 1e6:,.0f} MB are more than the {LARGEST / 1e6:,.0f} that are read")


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
                listed[printable(name).removeprefix("./")] = name
    listed.pop("", None)
    return listed, [printable(told) for told in (*passed, *map(str, refused))]


def printable(name):
    """The name of a file without what no encoding has, which stands for bytes of another encoding than this system's."""
    return name.encode(errors="backslashreplace").decode()


def _in_archive(path):
    if not path.is_file() or not zipfile.is_zipfile(path):
        kinds = "a folder, a .zip, an .npz or a .csv of labels"
        raise ValueError(f"{path} is not {kinds} (or it is cut short); images go in a folder a class")
    with zipfile.ZipFile(path) as archive:  # some tools write .\\cat\\1.png, or ./cat/1.png
        return {name.replace("\\", "/").removeprefix("./"): name for name in archive.namelist()}


def parts(path):
    """({part: Folder}, [Folders that hold them]); parts are "train", "val" and "test", or "whole" if it is not divided."""
    whole = Folder(path)
    found = whole.parts()
    if not found and not whole.table:
        whole = whole.unwrapped()
        found = whole.parts()
    found = found or whole.parts_of_table() or {"whole": whole}
    return found, [whole, *(folder for folder in found.values() if folder.path != whole.path)]


def notes(wholes):
    """What else is to be said of these folders, each once."""
    return dict.fromkeys(note for whole in wholes for note in whole.notes)


def left_out(wholes):
    """What of these folders is not used: "left out: 20 files: 12 .heic, 8 .txt"; "" where there is nothing."""
    kinds, passed = Counter(), [told for whole in wholes for told in whole.passed]
    for whole in wholes:
        rest = [name for name, raw in whole.names.items() if not name.endswith("/") and raw not in whole.used]
        kinds.update(_kind(name.rpartition("/")[0] if whole is wholes[0] else whole.path.name, name) for name in rest)
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
    """(files, labels, class names): of class folders, or of the table of labels, if there is one that says otherwise.

    A label is the number of its name in alphabetical order; in a table whose names are numbers, in their order. Where
    nothing tells the classes: (all images, None, ()). Raises ValueError for a table that cannot be read, or that names only
    some images and gives them other classes than the folders do.
    """
    told = {name: name.partition("/")[0] for name in folder.images() if "/" in name}
    table = {name: label for name, (label, _) in _told(folder).items()}
    if table and (folder.table or any(label != told.get(name) for name, label in table.items())):
        if len(set(told.values())) > 1 and not folder.table:
            if len(table) < len(folder.images()):
                said = f"the table of labels names {len(table):,} of {len(folder.images()):,} images, unlike the class folders"
                raise ValueError(f"{folder}: {said}; give the path of the table, or remove it")
            _note(folder, "the classes are those of the table, not the folders")
        told = table
    if not told:
        return folder.images(), None, ()
    names = sorted(set(told.values()), key=int if told is table and all(map(str.isdecimal, told.values())) else None)
    if told is not table and len(names) > 1 and (odd := like_parts(names)):
        _note(folder, f"read as classes, not as parts: {', '.join(map(repr, odd))}")
    label = {name: number for number, name in enumerate(names)}
    return list(told), np.array([label[name] for name in told.values()]), tuple(names)


def _note(folder, text):
    if text not in folder.notes:
        folder.notes.append(text)


def _told(folder):
    """{image: (class name, part or None)} by the folder's table of labels; {} where none has such columns."""
    found, strange, images, below = {}, "", folder.images(), folder.place + folder.below
    for table in folder.tables():
        rows = _rows(folder, table)
        own = below + table in folder.every or called(table)[0]  # else it may mean files of other parts
        known = [below + name for name in images] if own else folder.every
        count = Counter(end for name in known if rows and name.lower().endswith(SUFFIXES) for end in _ends(name))
        told = {}
        for name in images if rows else ():
            end = next((end for end in _ends(below + name) if end in rows), None)
            if end and count[end] > 1:
                raise ValueError(
                    f"{folder}: {table} names {end}, and there are {count[end]} of it; give their folders too, or remove it"
                )
            if end:
                told[name] = rows[end]
        if told:
            found[table] = told
        elif rows and own and images:
            strange = f"{folder}: {table} names none of its images; it names {next(iter(rows))!r}"
    parts = [called(table)[0] for table in found]
    if len(found) > 1 and (None in parts or len(set(parts)) < len(parts)):
        raise ValueError(f"{folder} holds several tables of labels, {', '.join(found)}: give the path of one")
    heads = {name.partition("/")[0] for name in images if "/" in name}
    if strange and not found and (folder.table or len(heads) < 2):
        raise ValueError(strange)
    folder.use(found)
    told = {name: row for rows in found.values() for name, row in rows.items()}
    if len(told) < sum(map(len, found.values())):
        raise ValueError(f"{folder}: some images stand in two of {', '.join(found)}; keep one row of each image")
    return told


def _ends(name):
    """a/b/1.png, a/b/1, b/1.png, b/1, 1.png, 1: how a table may call the file."""
    steps = name.split("/")
    for first in range(len(steps)):
        end = "/".join(steps[first:])
        yield from (end, end.rpartition(".")[0])


def _rows(folder, table):
    """{file as the table calls it: (class name, part or None)}; {} where its columns tell neither."""
    try:
        with folder.reader() as opened, opened(table) as file:
            text = re.sub(r"\A(sep=.)?\s*", "", file.read().decode("utf-8-sig"))  # Excel names the separator before all else
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        columns = ("file", "label") if table.lower().endswith(".txt") else None  # of Tiny ImageNet: it has no header
        rows = csv.DictReader(io.StringIO(text, newline=""), columns, delimiter=delimiter, skipinitialspace=True)
        named = {re.sub(r"\W+", "_", column.strip().lower()): column for column in rows.fieldnames or () if column}
        file, label, part = (next((named[name] for name in names if name in named), None) for names in (FILE, LABEL, PART))
        if folder.table and not (file and label):
            raise ValueError(f"its columns are {', '.join(named)}; call one filename, one label")
        told = {}
        for row in rows if file and label else ():
            name, value = ((row[column] or "").strip() for column in (file, label))
            name = name.replace("\\", "/").removeprefix("./")
            if not (name and value):
                continue
            new = value, called((row[part] or "") if part else table)[0]
            for what, *two in zip(("labels", "parts"), told.setdefault(name, new), new, strict=True):
                if two[0] != two[1]:
                    raise ValueError(f"it gives {name} two {what}, {two[0]!r} and {two[1]!r}")
        return told
    except (OSError, ValueError, csv.Error) as error:
        why = f"it is not UTF-8, at byte {error.start}" if isinstance(error, UnicodeDecodeError) else error
        raise ValueError(f"{folder}: {table} is no table of labels: {why}; mend or remove it") from error


def check_classes(folder, names):
    """Raises ValueError where `folder`, with classes of these names, gives a classifier nothing to learn."""
    known, left = ", ".join(SUFFIXES), left_out([folder])
    left = f"; {left}" if left else ""
    if not folder.images():
        raise ValueError(f"{folder} holds no images ({known}){left}")
    if folder.table and folder.every.get(folder.table) not in folder.used:
        raise ValueError(f"{folder}: {folder.table} names none of its images")
    heads = {name.partition("/")[0] for name in folder.names if "/" in name}
    empty = sorted(heads - set(names))
    if empty and names and heads >= set(names):
        raise ValueError(f"{folder}: the class folder {empty[0]!r} holds no images ({known}); fill or remove it{left}")
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no class folders"
        odd = [table for table in folder.tables() if folder.names[table] not in folder.used]
        also = f"; {odd[0]} has other columns" if odd else ""
        raise ValueError(
            f"{folder} holds {found}; a classifier needs two or more folders of images, one a class, "
            f"or a labels.csv beside the images, with the columns filename and label{also}"
        )
