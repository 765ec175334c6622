"""`python -m evaluate prefetch`: networks' weights, fetched on a machine that has internet to where
evaluation looks for them on one that has none."""

import errno
import glob
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import torch

from evaluate.features import inception
from evaluate.metrics import lpips
from evaluate.metrics.weights import digest_in, find_file, hub_folder, places, prefetching
from evaluate.registry import lpips_keys
from study.errors import RunFailed, StudyError, describe_os_error, one_line
from study.expansion import load_study
from study.files import sha256
from study.network import TIMEOUT_SECONDS, answers_within
from study.progress import say
from train.staging import amount

# Seconds after which a file that is still being fetched was left by a process that was killed.
_ABANDONED = 3600.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Weights:
    """A published file: what it is for, and the URL before its name."""

    use: str
    file: str
    origin: str


Files = Mapping[str, Weights]

# By the words of `evaluation.lpips` and `evaluation.features`.
FILES: Files = {
    word: Weights(f"LPIPS ({trunk.title})", trunk.file, lpips.ORIGIN)
    for word, trunk in lpips.TRUNKS.items()
} | {"inception": Weights("FID, KID, ... (Inception)", inception.FILE, inception.ORIGIN)}


@dataclass(frozen=True)
class Wanted:
    """A file by its word, and the folder it is to be found in before torch's hub cache; without
    one, in the cache alone."""

    word: str
    folder: Path | None


class NotFetched(RunFailed):
    """A file could not be had; others may."""


def wanted_files(
    names: list[str], study: Path | None, budget: str | None, weights: Path | None
) -> list[Wanted]:
    """The files that are named, or that a study's runs ask for, or all.

    StudyError where both are given, or the study is not right.
    """
    if names and study:
        raise StudyError("--study says which files are wanted: no names with it")
    if budget and not study:
        raise StudyError("--budget is of a study: give that by --study")
    if study is None:
        return [Wanted(word, weights) for word in dict.fromkeys(names or FILES)]
    wanted: dict[Wanted, None] = {}
    for cell in load_study(study, budget).cells:
        how = cell.run.config.evaluation
        words = [*lpips_keys(how.lpips).values(), *how.features]
        wanted |= {Wanted(word, weights): None for word in words if word in FILES}
        if cell.run.config.engine.select == "LPIPS":
            # Training looks in the cache alone.
            wanted[Wanted("vgg", None)] = None
    # The cache's first: what it has is copied into a folder.
    return sorted(wanted, key=lambda want: want.folder is not None)


def check_source(text: str) -> str:
    """The URL before the files' names that `--from` gives: a mirror's, or a folder's.

    StudyError where it is neither.
    """
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, say
        is_url = False
    if is_url:
        return text.rstrip("/") + "/"
    if "://" not in text and Path(text).is_dir():
        return Path(text).resolve().as_uri() + "/"
    raise StudyError(f"--from {text}: neither a folder that is there nor an http(s) URL")


def look_at(path: Path) -> tuple[bool, str]:
    """Whether a file is whole, all of it read, and a line about it."""
    try:
        size, found = path.stat().st_size, sha256(path)
    except OSError as error:
        return False, describe_os_error(error)
    want = digest_in(path.name)
    about = f"{path}, {amount(size)}, SHA-256 {found}"
    if found.startswith(want):
        return True, about
    return False, f"{about}, which should begin with {want}: cut short, or another file"


def check(wanted: list[Wanted], files: Files = FILES) -> int:
    """Print what evaluation would find of each file, and where it looks; the exit status."""
    lacking: dict[Path | None, None] = {}
    for want in wanted:
        weights = files[want.word]
        path = find_file(weights.file, want.folder)
        whole, about = look_at(path) if path else (False, f"{weights.file}, for {weights.use}")
        print(f"{want.word}: {'whole' if whole else 'damaged' if path else 'missing'}: {about}")
        if not whole:
            lacking[want.folder] = None
    for folder in dict.fromkeys(want.folder for want in wanted):
        print(f"looked in {places(folder)}")
    for folder in lacking:
        print(f"{prefetching(folder)} fetches what is missing or damaged")
    if not wanted:
        print("no weights are asked for")
    return 1 if lacking else 0


def prefetch(
    wanted: list[Wanted],
    source: str | None = None,
    files: Files = FILES,
    timeout: float = TIMEOUT_SECONDS,
) -> None:
    """Fetch what is not there, or not whole, and print a line for each file.

    `source`: the URL before the files' names, in place of where they were published. `timeout`:
    seconds without an answer. RunFailed at the end where some could not be had, StudyError where
    their folder cannot be written into.
    """
    failed: list[str] = []
    silent: set[str] = set()
    for want in wanted:
        weights = files[want.word]
        path = (want.folder or hub_folder()) / weights.file
        if path.is_dir():
            raise StudyError(f"{path}: a folder stands where the file should")
        if path.exists():
            whole, about = look_at(path)
            if whole:
                print(f"{want.word}: whole: {about}")
                continue
            say(f"{want.word}: damaged: {about}; it is fetched anew")
        url = _nearest(weights, want.folder, source)
        try:
            _fetch(url, path, timeout, silent)
        except NotFetched as error:
            failed.append(weights.file)
            say(
                f"{want.word}: not fetched: {url}: {one_line(error)}; fetch it elsewhere and copy "
                f"it to {path}, or name a mirror or a folder that has it by --from"
            )
            continue
        print(f"{want.word}: fetched: {look_at(path)[1]}")
    if not wanted:
        print("no weights are asked for")
    if failed:
        raise RunFailed(f"prefetch: not fetched: {', '.join(failed)}")


def _nearest(weights: Weights, folder: Path | None, source: str | None) -> str:
    """The URL to take a file from: what torch's cache has need not come over the network."""
    cached = hub_folder() / weights.file
    if source is None and folder is not None and cached.is_file() and look_at(cached)[0]:
        return cached.resolve().as_uri()
    return (source or weights.origin) + weights.file


def _fetch(url: str, path: Path, timeout: float, silent: set[str]) -> None:
    """Download a file; it takes its name when it is whole, and nothing is left where it is not.

    A host that gives no answer is put into `silent`, and not asked again. NotFetched for what the
    network or the other end is to blame; RunFailed for a full disk; StudyError for a folder that
    cannot be written into.
    """
    host = urlsplit(url).netloc
    if host in silent:
        raise NotFetched("not tried again, since there was no answer before")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        with answers_within(timeout):
            torch.hub.download_url_to_file(
                url, str(path), digest_in(path.name), progress=sys.stderr.isatty()
            )
    except RuntimeError as error:
        raise NotFetched(f"what came is another file, or was cut short: {error}") from None
    except (OSError, HTTPException, ValueError) as error:
        if host and isinstance(error, URLError | TimeoutError) and not isinstance(error, HTTPError):
            silent.add(host)
        raise _trouble(error, path) from None


def _clear(path: Path) -> None:
    """Remove what torch left of earlier tries, under names that it never takes again."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()


def _trouble(error: Exception, path: Path) -> StudyError:
    """What ends the writing of `path`, or, as NotFetched, the fetching of it."""
    if isinstance(error, HTTPError):
        return NotFetched(f"the answer was {error.code} {error.reason}")
    if isinstance(error, URLError):
        return NotFetched(_in_words(error.reason))
    if isinstance(error, HTTPException | ValueError):
        return NotFetched(f"the answer makes no sense: {_in_words(error)}")
    assert isinstance(error, OSError)
    if error.errno in _FULL:
        return RunFailed(f"{path}: {error.strerror}; nothing of it was left")
    if error.filename is None:  # not a file's but a connection's
        return NotFetched(_in_words(error))
    return StudyError(f"{path}: cannot be written: {error.strerror}; --weights names a folder")


def _in_words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError):
        return describe_os_error(reason)
    return one_line(Exception(reason))
